"""What a monitor makes of a stream's state, with clocks that the test turns."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest
from rich.console import Console

from beamstream import Address
from beamstream.state import StreamState, decode_state
from beamstream_consumers.kernels.statistics import ImageStatistics
from beamstream_consumers.monitor.rates import RateMeter
from beamstream_consumers.monitor.terminal.rendering import as_line, as_object, as_table
from beamstream_consumers.monitor.terminal.view import ShownFrame, Watcher

ADDRESS = Address("11012345", "eiger", "run_001")
CREATED_NS = 1_763_700_000_000_000_000
STATISTICS = ImageStatistics(n_pixels=100, n_masked=10, n_flagged=5, n_zero=17, total=170.0, maximum=9.0)


def state(n_received: int = 0, **changes: object) -> StreamState:
    fields = {"created_ns": CREATED_NS, "next": n_received + 1, "n_received": n_received, "bytes": 1000 * n_received}
    decoded = decode_state({name.encode(): str(value).encode() for name, value in fields.items()}, "test")
    return replace(decoded, **changes)


def shown(message_id: int, age_s: float = 0.0) -> ShownFrame:
    return ShownFrame(message_id=message_id, timestamp_ns=CREATED_NS - int(age_s * 1e9), statistics=STATISTICS)


def test_rates_are_those_of_the_last_seconds() -> None:
    meter = RateMeter(window_s=2.0)
    assert meter.measure(0.0, 0, 0) == (0.0, 0.0)
    assert meter.measure(1.0, 100, 1000) == (100.0, 1000.0)
    for second in range(2, 6):
        meter.measure(float(second), 100, 1000)
    assert meter.measure(6.0, 100, 1000) == (0.0, 0.0)


@pytest.mark.parametrize(("age_s", "life"), [(0.5, "live"), (5.0, "delayed"), (60.0, "silent")])
def test_an_open_stream_is_as_alive_as_its_newest_frame_is_young(age_s: float, life: str) -> None:
    watcher = Watcher(ADDRESS)
    watcher.frame = shown(1, age_s)
    view = watcher.view(state(1), 0.0, CREATED_NS)
    assert (view.life, view.age_s) == (life, age_s)


def test_a_stream_without_a_frame_falls_silent_too() -> None:
    assert Watcher(ADDRESS).view(state(), 0.0, CREATED_NS + 60 * 10**9).life == "silent"


def test_a_finished_stream_is_finished_however_old_it_is() -> None:
    watcher = Watcher(ADDRESS)
    watcher.frame = shown(1, 1000.0)
    view = watcher.view(state(1, finished=True, reason="aborted"), 0.0, CREATED_NS)
    assert (view.life, view.state) == ("finished", "aborted")
    assert "aborted" in as_line(view)


def test_lag_is_how_many_ids_the_shown_frame_is_behind() -> None:
    watcher = Watcher(ADDRESS)
    watcher.frame = shown(90)
    assert watcher.view(state(100), 0.0, CREATED_NS).lag == 10


def test_a_line_says_what_an_object_and_a_table_say() -> None:
    watcher = Watcher(ADDRESS)
    watcher.frame = shown(90, 0.25)
    watcher.view(state(0), 0.0, CREATED_NS)
    view = watcher.view(state(100, n_expected=200, n_missing=3), 2.0, CREATED_NS)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(as_table(view))
    line, thing = as_line(view), json.loads(json.dumps(as_object(view)))
    for text in (line, console.export_text()):
        for part in ("100 of 200", "50.0 Hz", "0.1 MB/s", "10 behind", "2", "20.0 %"):
            assert part in text
    assert (thing["rate_hz"], thing["lag"], thing["n_missing"]) == (50.0, 10, 3)
    assert (thing["frame"]["mean"], thing["frame"]["maximum"]) == (2.0, 9.0)


def test_a_stream_that_is_not_there_yet_is_waited_for_in_words() -> None:
    view = Watcher(ADDRESS).waiting()
    assert as_line(view) == f"{ADDRESS}  stream waiting"
    assert as_object(view)["state"] == "waiting"
