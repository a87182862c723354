"""Parameters that change while services run: on a real server, taken over by real processes, stamped into results."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from beamstream import Address, Consumer, Producer, SourceAddress
from beamstream.cli.root import run
from beamstream.errors import UsageError
from beamstream.parameters import (
    LargeValueGoneError,
    ParameterRangeError,
    Parameters,
    ParametersNotFoundError,
    UnknownParameterError,
    Value,
)
from beamstream.parameters import store as storing
from beamstream.parameters.changes import announce_parameters, change_parameters
from beamstream.parameters.store import ParameterStore
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.service import tuning as tuning_module
from beamstream.service.tuning import Tuning
from beamstream.state import read_state
from beamstream.testing.waiting import wait_until

SCRIPT = Path(__file__).with_name("tuned_process.py")
SOURCE = SourceAddress("bt", "det")
STREAM = SOURCE.stream("run")
COUNTS = Address("bt", "det-count", "run")


def analysis(
    frame: object,
    *,
    threshold: float = 8.0,
    geometry: str = "",
    mask: npt.NDArray[Any] | None = None,
) -> None: ...


class Analysis:
    """Remembers what it is told; a geometry that says ``broken`` it cannot use."""

    def __init__(self, **options: object) -> None:
        self.parameters = Parameters.of(analysis).starting_with(options)
        self.values: Mapping[str, Value] = {}

    def tune(self, values: Mapping[str, Value]) -> None:
        if values["geometry"] == "broken":
            raise UsageError("the geometry has no panels")
        self.values = values


@pytest.fixture
def store(broker: str) -> Iterator[ParameterStore]:
    server = Server(broker)
    yield ParameterStore(server, SOURCE, "peaks")
    server.close()


@pytest.fixture
def begin(broker: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., tuple[Analysis, Tuning]]]:
    """Begin to use parameters, as a service does; every call of `look` is one at the server."""
    monkeypatch.setattr(tuning_module, "LOOK_EVERY_S", 0.0)
    server = Server(broker)

    def one(**options: object) -> tuple[Analysis, Tuning]:
        processor = Analysis(**options)
        tuning = Tuning(processor, server, SOURCE, "peaks")
        tuning.begin()
        return processor, tuning

    yield one
    server.close()


# --- versions -------------------------------------------------------------------------------------------------------


def test_a_change_is_taken_over_at_the_next_look_and_recorded(store, begin):
    processor, tuning = begin(threshold=10)
    assert processor.values["threshold"] == 10.0
    assert not tuning.look()
    change_parameters(store, {"threshold": 12})
    assert processor.values["threshold"] == 10.0
    assert tuning.look()
    assert processor.values["threshold"] == 12.0
    assert tuning.stamp({"n": 3}, "out") == {
        "n": 3,
        "parameters": 2,
        "parameter_values": {"threshold": 12.0, "geometry": "", "mask": None},
    }
    assert tuning.stamp({}, "out") == {"parameters": 2}
    (first, _), (second, fate) = store.versions()
    assert (first.why, first.values["threshold"]) == ("started", 10.0)
    assert (second.why, second.values["threshold"], dict(second.changed)) == ("set", 12.0, {"threshold": 12.0})
    assert second.who == storing.who_am_i()
    assert abs(second.time_ns - time.time_ns()) < 60e9
    assert fate.n_used == 1


def test_a_restart_does_not_undo_what_was_set_and_says_so(store, begin, caplog):
    begin()
    change_parameters(store, {"threshold": 12})
    caplog.set_level("INFO")
    processor, tuning = begin()
    assert (processor.values["threshold"], tuning.number) == (12.0, 2)
    assert "threshold=12.0 was set by hand and is used in place of 8.0 from the options" in caplog.text
    changed, _ = begin(threshold=9)
    assert changed.values["threshold"] == 12.0
    assert [version.why for version, _ in store.versions()] == ["started", "set", "started"]
    change_parameters(store, {}, reset=["threshold"])
    assert tuning.look()
    assert processor.values["threshold"] == 9.0, "what the options of the last one say"


def test_services_that_begin_with_the_same_options_make_no_versions(store, begin):
    mask = np.arange(6, dtype=np.uint8)
    for _ in range(3):
        begin(mask=mask, threshold=9)
    assert store.newest_number() == 1
    assert store.fate(1).n_used == 3


def test_masks_and_geometries_are_values_too(store, begin):
    processor, tuning = begin()
    mask = np.zeros((500, 700), bool)
    mask[3:9] = True
    text = "panel\n" * 3000
    change_parameters(store, {"mask": mask, "geometry": text})
    assert tuning.look()
    np.testing.assert_array_equal(processor.values["mask"], mask)
    assert processor.values["geometry"] == text
    described = tuning.stamp({}, "out")["parameter_values"]
    assert described["mask"].startswith("array bool 500x700 xxh3 ")
    assert len(str(described)) < 300


def test_a_version_that_cannot_be_used_changes_nothing_and_says_why(store, begin):
    processor, tuning = begin()
    change_parameters(store, {"threshold": 12})
    assert tuning.look()
    refused = change_parameters(store, {"geometry": "broken", "threshold": 13})
    assert not tuning.look()
    assert (processor.values["threshold"], tuning.number, tuning.n_refused) == (12.0, 2, 1)
    assert "no panels" in store.fate(refused.number).refusal
    again, _ = begin()
    assert again.values["threshold"] == 12.0, "one that begins now uses what the others use"
    change_parameters(store, {"threshold": 14})
    assert tuning.look()
    assert (processor.values["threshold"], processor.values["geometry"]) == (14.0, ""), "the bad value is not kept"


def test_a_service_that_can_use_no_version_does_not_begin(begin):
    with pytest.raises(UsageError, match="no panels"):
        begin(geometry="broken")


def test_a_server_that_lost_the_parameters_gets_them_back(store, begin, broker):
    mask = np.ones((20, 30), np.uint8)
    processor, tuning = begin()
    other, others = begin()
    change_parameters(store, {"threshold": 12, "mask": mask})
    assert tuning.look()
    assert others.look()
    Server(broker).call("FLUSHALL")
    assert tuning.look()
    assert others.look()
    assert (tuning.number, others.number) == (3, 3)
    for one in (processor, other):
        assert one.values["threshold"] == 12.0
        np.testing.assert_array_equal(one.values["mask"], mask)
    (kept, _), *more = store.versions()
    assert (kept.number, kept.why, more) == (3, "put back", [])
    assert set(kept.changed) == {"threshold", "mask"}


def test_what_was_set_and_is_not_possible_any_more_is_said(store, begin, caplog):
    begin()
    change_parameters(store, {"threshold": 12, "geometry": "panels"})
    narrower = Parameters(one for one in Parameters.of(analysis).values() if one.name != "geometry")
    version, lost = announce_parameters(store, narrower)
    assert dict(version.changed) == {"threshold": 12.0}
    (reason,) = lost
    assert "geometry" in reason


def test_changes_at_the_same_time_do_not_undo_one_another(store, begin, broker):
    begin()
    names = ["threshold", "geometry"]

    def change(name: str) -> None:
        server = Server(broker)
        for number in range(1, 21):
            change_parameters(
                ParameterStore(server, SOURCE, "peaks"), {name: number if name == names[0] else str(number)}
            )
        server.close()

    threads = [threading.Thread(target=change, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    current = store.current()
    assert current is not None
    assert (current.values["threshold"], current.values["geometry"], current.number) == (20.0, "20", 41)


def test_what_is_kept_is_bounded_and_the_oldest_leaves_first(store, begin, monkeypatch):
    begin()
    monkeypatch.setattr(storing, "MAX_VERSIONS", 5)
    monkeypatch.setattr(storing, "MAX_KEPT_BYTES", 250_000)
    rng = np.random.default_rng(1)
    for number in range(2, 11):
        change_parameters(store, {"threshold": number, "mask": rng.integers(2**16, size=40_000, dtype=np.uint16)})
    versions = [version for version, _ in store.versions()]
    assert [version.number for version in versions] == [6, 7, 8, 9, 10]
    assert set(store.load(versions[-1])) == {"threshold", "geometry", "mask"}
    assert set(store.load(versions[-2])) == {"threshold", "geometry", "mask"}
    with pytest.raises(LargeValueGoneError, match="mask of version 6"):
        store.load(versions[0])


def test_wrong_values_are_refused_and_nothing_is_appended(store, begin):
    with pytest.raises(ParametersNotFoundError, match="no group of bt/det has any"):
        change_parameters(store, {"threshold": 1})
    begin()
    with pytest.raises(ParametersNotFoundError, match="groups of bt/det with parameters: peaks"):
        ParameterStore(store._server, SOURCE, "bin").declared()
    with pytest.raises(UnknownParameterError):
        change_parameters(store, {"treshold": 1})
    too_large = np.random.default_rng(1).integers(2**16, size=20_000_000, dtype=np.uint16)
    with pytest.raises(ParameterRangeError, match="bytes"):
        change_parameters(store, {"mask": too_large})
    assert store.newest_number() == 1


# --- processes ------------------------------------------------------------------------------------------------------


@pytest.fixture
def start(broker: str, tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], Path]]]:
    """Start a worker; what is left of it is killed after the test."""
    workers: list[subprocess.Popen[bytes]] = []

    def one(*options: str) -> tuple[subprocess.Popen[bytes], Path]:
        log = tmp_path / f"{len(workers)}.log"
        with log.open("wb") as file:
            workers.append(
                subprocess.Popen(
                    [sys.executable, str(SCRIPT), str(STREAM), "--broker", broker, *options],
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            )
        return workers[-1], log

    yield one
    for worker in workers:
        worker.kill()
        worker.wait()


@pytest.fixture
def stream(broker: str, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run a command; returns its status and what it said."""

    def one(*arguments: str) -> tuple[int, str]:
        status = run(["parameters", *arguments, "--broker", broker])
        said = capsys.readouterr()
        return status, said.out + said.err

    return one


def n_counted(server: Server) -> int:
    state = read_state(server, StreamKeys(COUNTS))
    return state.n_received if state else 0


def test_a_threshold_changed_while_workers_run_changes_later_frames_only(broker, start, stream):
    server = Server(broker)
    where = (str(SOURCE), "--group", "count")
    store = ParameterStore(server, SOURCE, "count")
    image = np.arange(100, dtype=np.uint16).reshape(10, 10)
    status, said = stream("show", *where)
    assert (status, "Start the service first" in said) == (1, True)

    workers = [start() for _ in range(2)]
    with Producer(STREAM, broker=broker) as producer:

        def send(first: int, last: int) -> None:
            for message_id in range(first, last + 1):
                producer.send_array(message_id, image, codec="none")

        send(1, 200)
        wait_until(lambda: n_counted(server) == 200 and store.fate(1).n_used == 2, "the first results of two workers")
        for worker, _ in workers[1:]:
            worker.kill()
            worker.wait()
        status, said = stream("set", *where, "threshold=2000")
        assert (status, "from 0 to 1000 photons" in said) == (2, True)
        status, said = stream("set", *where, "threshold=50")
        assert (status, "version 2 is used from now on" in said) == (0, True)
        _, log = start("--threshold", "5")  # again with its old options
        wait_until(lambda: store.fate(2).n_used == 2, "both using version 2")
        send(201, 400)
        producer.finish()
    assert "threshold=50 was set by hand and is used in place of 5" in log.read_text()

    with Consumer(COUNTS, broker=broker) as counts:
        counts_metadata = counts.metadata
        found = {frame.message_id: (frame.metadata, int(frame.array()[0])) for frame in counts}
    assert sorted(found) == list(range(1, 401))
    right = {1: 95, 2: 50}
    assert all(count == right[metadata["parameters"]] for metadata, count in found.values())
    assert Counter(metadata["parameters"] for metadata, _ in found.values()) == {1: 200, 2: 200}
    assert all(found[message_id][0]["parameters"] == 1 for message_id in range(1, 201))
    told = [metadata["parameter_values"] for metadata, _ in found.values() if "parameter_values" in metadata]
    assert {values["threshold"] for values in told} == {5, 50}
    assert len(told) <= 4
    assert counts_metadata["parameters"]["group"] == "count"

    shown = json.loads(stream("show", *where, "--json")[1])
    assert shown["version"] == 2
    assert [(one["version"], one["why"], one["values"]) for one in shown["history"]] == [
        (1, "started", {"threshold": 5}),
        (2, "set", {"threshold": 50}),
    ]
    (row,) = shown["parameters"]
    assert (row["value"], row["option"], row["default"], row["bounds"]) == (50, 5, 5, "from 0 to 1000 photons")
    server.close()


def test_files_reset_and_refusal_on_the_command_line(begin, stream, tmp_path):
    processor, tuning = begin(threshold=9)
    where = (str(SOURCE), "--group", "peaks")
    np.save(tmp_path / "bad.npy", np.eye(4, dtype=np.uint8))
    assert stream("set", *where, "--wait", "0")[0] == 2
    assert stream("set", *where, "--wait", "0", "threshold=10", "--file", f"mask={tmp_path / 'bad.npy'}")[0] == 0
    assert tuning.look()
    np.testing.assert_array_equal(processor.values["mask"], np.eye(4))
    status, said = stream("set", *where, "--wait", "0", "--reset", "threshold")
    assert (status, "no running service has taken it over yet" in said) == (0, True)
    assert tuning.look()
    assert (processor.values["threshold"], processor.values["mask"].shape) == (9.0, (4, 4))
    assert "has these values already" in stream("set", *where, "--reset", "threshold")[1]
    assert stream("set", *where, "--reset", "treshold")[0] == 2
    with serving(tuning):
        status, said = stream("set", *where, "--wait", "60", "geometry=broken")
    assert (status, "was refused" in said, "no panels" in said) == (1, True, True)
    status, said = stream("show", *where)
    assert status == 0
    assert "mask=array uint8 4x4" in said
    assert "no panels" in said


@contextmanager
def serving(tuning: Tuning) -> Iterator[None]:
    """Look for changes as a service without frames does."""
    stop = threading.Event()

    def look() -> None:
        while not stop.wait(0.01):
            tuning.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
