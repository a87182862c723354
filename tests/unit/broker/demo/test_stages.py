"""The demo's command lines, and the verdict on its receipt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from beamstream.receipt import Receipt
from beamstream_broker.demo.stages import (
    DRAIN_ORDER,
    ENDING,
    STREAM,
    DemoOptions,
    connector_arguments,
    consumer_arguments,
    detector_arguments,
    find_flaws,
)

GOOD = Receipt(
    address=str(STREAM), state="complete", expected=400, received=400, missing=[], n_missing=0, duplicated=0, late=0,
    dropped=0, expired=0, written=400, file="x.nxs", file_checksum="1df0eea40235d40d", payload_bytes=400_000,
    checksum="1df0eea40235d40d", groups=[],
)  # fmt: skip


def test_a_good_receipt_has_no_flaws() -> None:
    assert find_flaws(GOOD, 400) == []


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"state": "incomplete"}, "incomplete, not complete"),
        ({"received": 399, "written": 399}, "399 of 400 frames came"),
        ({"n_missing": 1, "missing": [(7, 7)]}, "1 frames are missing"),
        ({"dropped": 3}, "3 frames left memory"),
        ({"written": 398}, "398 of 400 frames were written"),
        ({"written": None}, "0 of 400 frames were written"),
        ({"file_checksum": "0000000000000000"}, "checksum is 0000000000000000, the stream's 1df0eea40235d40d"),
        ({"file_checksum": None}, "checksum is None"),
    ],
)
def test_each_flaw_is_said_in_words(change: dict[str, Any], word: str) -> None:
    flaws = find_flaws(replace(GOOD, **change), 400)
    assert len(flaws) == 1
    assert word in flaws[0]


def test_the_detector_is_what_was_asked_for() -> None:
    options = DemoOptions(n_frames=50, rate_hz=12.5, size="4M", stream_format="v1", seed=3)
    arguments = detector_arguments(options)
    pairs = dict(zip(arguments[5::2], arguments[6::2], strict=True))
    assert arguments[:2] == ["simulate", "eiger"]
    assert pairs == {
        "--stream-port": "0", "--api-port": "0", "--frames": "50", "--rate": "12.5", "--size": "4M",
        "--format": "v1", "--seed": "3",
    }  # fmt: skip


def test_whatever_ends_with_the_stream_is_waited_for_and_only_server_and_monitor_stay() -> None:
    started = {"detector", "connector", *consumer_arguments(Path("/data"))}
    assert set(ENDING) == started - {"monitor"}
    assert {name for names in DRAIN_ORDER for name in names} == started


def test_connector_and_consumers_speak_of_the_same_stream() -> None:
    connector = connector_arguments("tcp://127.0.0.1:1")
    assert f"{connector[connector.index('--to') + 1]}/{connector[connector.index('--stream-template') + 1]}" == str(
        STREAM
    )
    for name, arguments in consumer_arguments(Path("/data")).items():
        assert arguments[2] == str(STREAM.source_address if name == "monitor" else STREAM)
