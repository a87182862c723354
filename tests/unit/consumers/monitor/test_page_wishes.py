"""What a page may say: everything else is refused, and nothing of it raises anything but our own error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamstream_consumers.monitor.web.errors import PageMessageError
from beamstream_consumers.monitor.web.wishes import (
    MAX_REQUEST_BYTES,
    Acknowledgement,
    ClosePane,
    Hide,
    PixelWish,
    Step,
    View,
    read_wish,
)

PANE: dict[str, Any] = {
    "t": "pane", "pane": 1, "source": "bt/det", "kind": "hit", "rect": [-10, 0.5, 100, 200], "canvas": [800, 600],
    "masked": True, "pool": "mean", "full": False, "roi": [1, 2, 3, 4], "at": {"stream": "run_1", "id": 7},
}  # fmt: skip


def said(**changes: Any) -> str:
    return json.dumps({**PANE, **changes})


def test_a_pane_says_all_that_it_wants() -> None:
    assert read_wish(said()) == View(
        pane=1, source="bt/det", kind="hit", rect=(-10.0, 0.5, 100.0, 200.0), canvas=(800, 600), masked=True,
        pool="mean", full=False, roi=(1.0, 2.0, 3.0, 4.0), at=("run_1", 7),
    )  # fmt: skip
    follows = read_wish(said(roi=None, at=None))
    assert isinstance(follows, View)
    assert (follows.roi, follows.at) == (None, None)


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ('{"t":"step","pane":0,"by":-10}', Step(0, -10)),
        ('{"t":"close","pane":3}', ClosePane(3)),
        ('{"t":"ack","pane":0,"seq":12}', Acknowledgement(0, 12)),
        ('{"t":"hide","hidden":true}', Hide(True)),
        ('{"t":"px","pane":0,"x":-1,"y":5}', PixelWish(0, -1, 5)),
    ],
)
def test_the_other_messages_are_read(text: str, wish: object) -> None:
    assert read_wish(text) == wish


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "[]",
        "null",
        "7",
        "{}",
        '{"t":null}',
        '{"t":["pane"]}',
        '{"t":"control"}',
        '{"t":"step","pane":0}',
        '{"t":"step","pane":0,"by":1,"more":1}',
        '{"t":"step","pane":0,"by":2}',
        '{"t":"step","pane":4,"by":1}',
        '{"t":"step","pane":-1,"by":1}',
        '{"t":"step","pane":true,"by":1}',
        '{"t":"step","pane":0.0,"by":1}',
        '{"t":"ack","pane":0,"seq":-1}',
        '{"t":"ack","pane":0,"seq":NaN}',
        '{"t":"ack","pane":0,"seq":1e999}',
        '{"t":"hide","hidden":1}',
        '{"t":"px","pane":0,"x":1.5,"y":0}',
        '{"t":"px","pane":0,"x":99999999,"y":0}',
        "[" * 4000,
        '{"t":' * 800,
        '{"t":"close","pane":' + "9" * 4000 + "}",
        said(rect=[0, 0, 10]),
        said(rect=[0, 0, 10, "20"]),
        said(rect=[0, 0, 0, 10]),
        said(rect=[10, 0, 5, 10]),
        said(rect=[0, 0, 1e30, 10]),
        said(rect=[0, 0, True, 10]),
        said(rect=None),
        said(rect={"0": 1}),
        said(rect=[0, 0, float("nan"), 1]),
        said(rect=[0, 0, float("inf"), 1]),
        said(canvas=[0, 100]),
        said(canvas=[100.5, 100]),
        said(canvas=[100, 10**9]),
        said(kind="all"),
        said(kind=["hit"]),
        said(pool="min"),
        said(pool={}),
        said(masked=1),
        said(full=None),
        said(source=""),
        said(source=5),
        said(source="x" * 600),
        said(roi=[0, 0, 0, 0]),
        said(at="run_1"),
        said(at={"stream": "run_1"}),
        said(at={"stream": "run_1", "id": -1}),
        said(at={"stream": "run_1", "id": 2**63}),
        said(at={"stream": "run_1", "id": 1, "more": 2}),
        said(source="x" * MAX_REQUEST_BYTES),
    ],
)
def test_what_no_page_of_ours_says_is_refused(text: str) -> None:
    with pytest.raises(PageMessageError) as error:
        read_wish(text)
    assert len(str(error.value)) < 500


def test_the_length_is_that_in_bytes() -> None:
    text = said(source="µ" * 300, at={"stream": "µ" * 300, "id": 1})
    padded = text[:-1] + " " * (MAX_REQUEST_BYTES - len(text.encode())) + "}"
    assert len(padded.encode()) == MAX_REQUEST_BYTES
    assert isinstance(read_wish(padded), View)
    with pytest.raises(PageMessageError, match="4096 bytes"):
        read_wish(padded.replace("\\u00b5", "µ") + " " * 3000)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.fixed_dictionaries({name: st.just(value) | JSON for name, value in PANE.items()}))
def test_whatever_a_field_holds_it_is_read_or_refused(message: dict[str, Any]) -> None:
    try:
        wish = read_wish(json.dumps(message))
    except PageMessageError:
        return
    assert isinstance(wish, View | Step | ClosePane | Acknowledgement | Hide | PixelWish)
