"""Functions as processors: what they may return, and how they are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beamstream import Address, Frame, Header, SourceAddress
from beamstream.errors import UsageError
from beamstream.parameters import ParameterError
from beamstream.service import FunctionProcessor, Result, StreamStart, outputs
from beamstream.service.processing.function import ResultTypeError, as_result
from beamstream.service.processing.loading import (
    FunctionImportError,
    FunctionKindError,
    FunctionNotFoundError,
    load_processor,
)

ADDRESS = Address("bt", "det", "run")
START = StreamStart(address=ADDRESS, metadata={}, n_expected=None, broker="")
HEADER = Header(payload_bytes=3, checksum=0, timestamp_ns=0, metadata={"n": 1})
FRAME = Frame(address=ADDRESS, message_id=7, header=HEADER, payload=b"abc")
ARRAY = np.arange(3)


@pytest.mark.parametrize(
    ("returned", "expected"),
    [
        (None, None),
        (3, {"value": 3}),
        (True, {"value": True}),
        ("hit", {"value": "hit"}),
        (np.float32(1.5), {"value": 1.5}),
        ({"at": (np.int64(2), 3), "more": {"x": np.bool_(True)}}, {"at": [2, 3], "more": {"x": True}}),
    ],
)
def test_small_results_become_metadata_of_plain_values(returned: object, expected: object) -> None:
    result = as_result("f", returned)
    assert (result and result.metadata) == expected
    for value in (result.metadata if result else {}).values():
        assert not isinstance(value, np.generic)


def test_arrays_frames_and_results_stay_what_they_are() -> None:
    for returned in (ARRAY, (ARRAY, {"n": np.int8(4)})):
        result = as_result("f", returned)
        assert result is not None
        assert result.array is ARRAY
        assert result.metadata == ({"n": 4} if isinstance(returned, tuple) else {})
    passed_on = as_result("f", FRAME)
    assert passed_on is not None
    assert (passed_on.frame, passed_on.metadata) == (FRAME, {"n": 1})
    whole = Result(metadata={"x": 1})
    assert as_result("f", whole) is whole


@pytest.mark.parametrize("returned", [object(), [1, 2], (ARRAY, 3), {1, 2}, b"x"])
def test_anything_else_is_refused_by_name(returned: object) -> None:
    with pytest.raises(ResultTypeError, match=f"find returned a {type(returned).__name__}"):
        as_result("find", returned)


def above(frame: Frame, *, threshold: int = 5) -> int | None:
    return frame.message_id if frame.message_id > threshold else None


def test_keyword_only_arguments_are_parameters_that_can_be_tuned() -> None:
    processor = FunctionProcessor(above, {"threshold": 6})
    assert processor.process(FRAME)["above"].metadata == {"value": 7}
    processor.tune({"threshold": 7})
    assert processor.process(FRAME) == {}
    with pytest.raises(ParameterError, match="did you mean 'threshold'"):
        FunctionProcessor(above, {"treshold": 6})


def test_results_go_to_a_source_named_after_the_function_or_as_it_is_told() -> None:
    assert FunctionProcessor(above).open(START)["above"].address == Address("bt", "det-above", "run")
    to = SourceAddress("bt", "mine")
    assert FunctionProcessor(above, to=to).open(START)["above"].address == Address("bt", "mine", "run")


@outputs("hits", "sums")
def sort(frame: Frame) -> Any:
    return {"sums": 3, "hits": None}


def test_a_function_with_several_outputs_returns_a_result_for_each() -> None:
    processor = FunctionProcessor(sort, to=SourceAddress("bt", "mine"))
    assert {name: str(one.address) for name, one in processor.open(START).items()} == {
        "hits": "bt/mine-hits/run",
        "sums": "bt/mine-sums/run",
    }
    assert {name: one.metadata for name, one in processor.process(FRAME).items()} == {"sums": {"value": 3}}
    with pytest.raises(ResultTypeError, match="a int where a dict by output is needed"):
        FunctionProcessor(outputs("a", "b")(lambda _: 3)).process(FRAME)


MODULE = """
from beamstream.service import Output, derived_address

def find_hits(frame, *, threshold: int = 3):
    return frame.message_id > threshold

class Counting:
    name = "counting"
    def __init__(self, *, step: int = 2, to=None):
        self.step, self.to = step, to
    def open(self, stream):
        return {"n": Output(address=derived_address(stream.address, "n", self.to))}
    def process(self, frame):
        return {}
    def status(self):
        return {}

def make_counting(*, step: int = 2):
    return Counting(step=step)

def make_nothing():
    return 3

number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"analysis_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    (tmp_path / "lacking_analysis.py").write_text("import nothing_of_this_name")
    (tmp_path / "broken_analysis.py").write_text("def f(frame) return 3")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*__import__("sys").path])
    return name


def test_functions_classes_and_factories_are_found_in_the_current_directory(module: str) -> None:
    found = load_processor(f"{module}:find_hits", {"threshold": 9})
    assert found.process(FRAME)["find_hits"].metadata == {"value": False}
    to = SourceAddress("bt", "mine")
    counting = load_processor(f"{module}:Counting", {"step": 3}, to)
    assert (counting.step, counting.to) == (3, to)  # type: ignore[attr-defined]
    assert load_processor(f"{module}:make_counting", {}).step == 2  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"--to bt/mine: .*:make_counting has no argument 'to'"):
        load_processor(f"{module}:make_counting", {}, to)


@pytest.mark.parametrize(
    ("text", "error", "why"),
    [
        ("{module}:find_hit", FunctionNotFoundError, "has no 'find_hit'; did you mean 'find_hits'"),
        ("{module}:Counting.nothing", FunctionNotFoundError, "has no 'nothing'"),
        ("laking_analysis:f", FunctionNotFoundError, "no module 'laking_analysis'; did you mean 'lacking_analysis'"),
        ("no_such_thing_at_all.x:f", FunctionNotFoundError, "current directory, or installed"),
        ("find_hits", FunctionNotFoundError, "MODULE:FUNCTION"),
        ("a/b.py:f", FunctionNotFoundError, "MODULE:FUNCTION"),
        ("lacking_analysis:f", FunctionImportError, "nothing_of_this_name.*lacking_analysis.py, line 1"),
        ("broken_analysis:f", FunctionImportError, "SyntaxError.*broken_analysis.py, line 1"),
        ("{module}:number", FunctionKindError, "is a int"),
        ("{module}:make_nothing", FunctionKindError, "makes a int"),
    ],
)
def test_what_cannot_be_run_is_said_in_words(module: str, text: str, error: type[Exception], why: str) -> None:
    with pytest.raises(error, match=why):
        load_processor(text.format(module=module), {})
