"""Consumers over files: the same results as from the broker, going on where it was stopped."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beamstream import Address, Consumer, Frame, Producer, SourceAddress
from beamstream.errors import ServerUnavailableError, UsageError
from beamstream.offline import path_receipt
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.service import FunctionProcessor, Intake, ProcessorHandler, run_handler, run_processor
from beamstream_consumers.write.handler import WriteHandler

ADDRESS = Address("bt", "det", "run")
NOBODY = "unix:///nobody"
N_FRAMES, MISSING = 200, (4, 5)


@pytest.fixture
def path(broker: str, tmp_path: Path) -> Path:
    """A NeXus file with a gap in it."""
    with Producer(ADDRESS, broker=broker, patience_s=0.02) as producer:
        for message_id in range(1, N_FRAMES + 1):
            if message_id not in MISSING:
                producer.send_array(message_id, np.full((4, 6), message_id, "<u2"))
        producer.finish()
    assert run_handler(WriteHandler(tmp_path / "data", min_free_bytes=0), str(ADDRESS), broker=broker) == 0
    (written,) = (tmp_path / "data").iterdir()
    return written


def sums(then: Callable[[int], object] = lambda _: None) -> Callable[[], FunctionProcessor]:
    """Return what makes a processor: the sum of every frame but each tenth."""

    def total(frame: Frame, *, leave_out: int = 10) -> Mapping[str, Any] | None:
        then(frame.message_id)
        return {"sum": int(frame.array().sum())} if frame.message_id % leave_out else None

    return lambda: FunctionProcessor(total, to=SourceAddress("bt", "sums"))


def check_sums(broker: str) -> None:
    expected = {i: 24 * i for i in range(1, N_FRAMES + 1) if i % 10 and i not in MISSING}
    with Consumer("bt/sums/run", broker=broker, timeout_s=20) as consumer:
        assert {frame.message_id: frame.metadata["sum"] for frame in consumer if not frame.late} == expected
    receipt = make_receipt(Server(broker), Address("bt", "sums", "run"))
    assert (receipt.missing, receipt.declined, receipt.state) == ([(4, 5)], N_FRAMES // 10, "complete")


def test_results_from_files_are_those_from_the_broker(path: Path, broker: str) -> None:
    assert run_processor(sums(), str(path), broker=broker) == 0
    check_sums(broker)


def test_an_interrupted_run_leaves_its_stream_open_and_the_next_goes_on(path: Path, broker: str) -> None:
    def interrupt(message_id: int) -> None:
        if message_id == 120:
            os.kill(os.getpid(), signal.SIGINT)

    assert run_processor(sums(interrupt), str(path), broker=broker) == 130
    with Consumer("bt/sums/run", broker=broker) as derived:
        assert (derived.state.next_id, derived.state.finished) == (121, False)
    seen: list[int] = []
    assert run_processor(sums(seen.append), str(path), broker=broker) == 0
    assert seen == list(range(121, N_FRAMES + 1))
    check_sums(broker)


def test_a_frame_that_cannot_be_processed_is_passed_by_and_counts(path: Path, broker: str) -> None:
    def fail(message_id: int) -> None:
        if message_id == 7:
            raise ValueError("not this one")

    assert run_processor(sums(fail), str(path), broker=broker) == 1
    assert make_receipt(Server(broker), Address("bt", "sums", "run")).missing == [(4, 5), (7, 7)]


def test_what_needs_no_broker_runs_without_one(path: Path, broker: str, tmp_path: Path) -> None:
    assert run_handler(WriteHandler(tmp_path / "again", min_free_bytes=0), str(path), broker=NOBODY) == 0
    (again,) = (tmp_path / "again").iterdir()
    original, copy = path_receipt(path), path_receipt(again, verify=True)
    assert (copy.received, copy.checksum, copy.missing) == (original.received, original.checksum, original.missing)


def test_what_only_a_broker_has_is_refused_in_words(path: Path, broker: str) -> None:
    with pytest.raises(ServerUnavailableError):
        run_processor(sums(), str(path), broker=NOBODY)
    for intake, workers in ((Intake(follow=True), 1), (Intake(group="mine"), 1), (Intake(), 2)):
        with pytest.raises(UsageError, match="'stream produce replay'"):
            run_processor(sums(), str(path), broker=broker, intake=intake, workers=workers)


def test_progress_says_how_far_it_is(path: Path, broker: str) -> None:
    from beamstream.service.consuming.offline import open_offline

    handler = ProcessorHandler(sums()())
    loop = open_offline(handler, path, broker)
    assert loop.snapshot().done == (0, N_FRAMES - len(MISSING))
