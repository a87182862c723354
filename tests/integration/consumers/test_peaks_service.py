"""`stream consume peaks` on a real server: its streams, and parameters that change while it runs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import pytest

from beamstream import Address, Consumer, Producer
from beamstream.errors import CannotGoOnError
from beamstream.parameters.changes import change_parameters
from beamstream.parameters.store import ParameterStore
from beamstream.protocol.client import Server
from beamstream.service import run_processor, run_reducer
from beamstream_consumers.peaks import PeakProcessor, PeakSettings, PeakStatisticsReducer
from beamstream_consumers.peaks.settings import HitRule

SOURCE = Address("11012345", "eiger", "run_001")
HITS, PEAKS, STATISTICS = (Address("11012345", f"eiger-{name}", "run_001") for name in ("hits", "peaks", "statistics"))
PATIENCE_S = 60.0


def image_of(message_id: int) -> npt.NDArray[np.uint16]:
    """Draw a frame with 12 spots where the id is odd, and none where it is even."""
    image = np.random.default_rng(message_id).poisson(2.0, (100, 200)).astype("<u2")
    for number in range(12 * (message_id % 2)):
        slow, fast = 14 + 40 * (number // 6), 14 + 30 * (number % 6)
        image[slow : slow + 2, fast : fast + 2] = 300
    return image


def produce(broker: str, n_frames: int) -> None:
    with Producer(SOURCE, broker=broker, metadata={"who": "me"}, n_expected=n_frames) as producer:
        for message_id in range(1, n_frames + 1):
            producer.send_array(message_id, image_of(message_id), metadata={"image": message_id})
        producer.finish(n_frames)


def test_hits_have_the_bytes_of_their_frames_and_every_frame_its_peaks(broker: str) -> None:
    produce(broker, 6)
    assert run_processor(PeakProcessor, str(SOURCE), broker=broker) == 0
    with Consumer(SOURCE, broker=broker, timeout_s=20) as source, Consumer(HITS, broker=broker, timeout_s=20) as hits:
        sent = {frame.message_id: frame for frame in source}
        for hit in hits:
            frame = sent[hit.message_id]
            assert bytes(hit.payload) == bytes(frame.payload)
            assert (hit.header.codec, hit.header.shape, hit.header.dtype) == ("bslz4", frame.shape, "<u2")
            assert hit.metadata["image"] == hit.message_id
            assert len(hit.metadata["peaks"]["fs"]) == hit.metadata["n_peaks"] == 12
        assert hits.counts.n_delivered == 3
        assert hits.state.n_declined == 3
        assert hits.state.n_missing == 0
        assert hits.metadata["who"] == "me"
    with Consumer(PEAKS, broker=broker, timeout_s=20) as peaks:
        assert [frame.metadata["n_peaks"] for frame in peaks] == [12, 0, 12, 0, 12, 0]
        assert peaks.metadata["peak_finding"]["source"] == str(SOURCE)


def test_a_mask_for_other_frames_ends_the_service_and_costs_no_frame(broker: str) -> None:
    produce(broker, 2)
    wrong = PeakSettings(hits=HitRule(mask=np.zeros((3, 4), np.uint8)))
    with pytest.raises(CannotGoOnError, match=r"\(3, 4\).*\(100, 200\)"):
        run_processor(lambda: PeakProcessor(wrong), str(SOURCE), broker=broker)
    assert run_processor(PeakProcessor, str(SOURCE), broker=broker) == 0
    with Consumer(PEAKS, broker=broker, timeout_s=20) as peaks:
        assert len(list(peaks)) == 2


@contextmanager
def service(broker: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the command; if it does not end with the test, it is ended."""
    command = [sys.executable, "-m", "beamstream.cli", "consume", "peaks", str(SOURCE), "--follow"]
    process = subprocess.Popen(command, env={**os.environ, "STREAM_BROKER": broker})
    try:
        yield process
    finally:
        process.kill()
        process.wait(PATIENCE_S)


def test_a_threshold_that_changes_holds_for_later_frames_only_and_is_recorded(broker: str) -> None:
    found: list[tuple[int, int]] = []
    with service(broker) as process, Producer(SOURCE, broker=broker) as producer:
        producer.send_array(1, image_of(1))
        with Consumer(PEAKS, broker=broker, wait_for_stream=True, timeout_s=PATIENCE_S) as results:
            for result in results:
                found.append((result.metadata["parameters"], result.metadata["n_peaks"]))
                if result.metadata["parameters"] == 2:
                    break
                if len(found) == 1:
                    store = ParameterStore(Server(broker), SOURCE.source_address, "peaks")
                    assert change_parameters(store, {"adc_threshold": 1000.0}).number == 2
                producer.send_array(len(found) + 1, image_of(1))
        producer.finish(len(found))
        assert process.wait(PATIENCE_S) == 0
    assert found == [(1, 12)] * (len(found) - 1) + [(2, 0)]
    assert len(found) > 1


def test_statistics_of_a_run_are_a_stream_of_their_own(broker: str) -> None:
    produce(broker, 6)
    assert run_processor(PeakProcessor, str(SOURCE), broker=broker) == 0
    assert run_reducer(PeakStatisticsReducer(), str(PEAKS), broker=broker) == 0
    with Consumer(STATISTICS, broker=broker, timeout_s=20) as statistics:
        *_, newest = statistics
    said = newest.metadata
    assert (said["n_frames"], said["n_hits"], said["n_peaks"], said["hit_rate"]) == (6, 3, 36, 0.5)
    powder = newest.array()
    assert powder.shape == (2, 100, 200)
    assert (powder[0].sum(), np.count_nonzero(powder[0])) == (36, 12)
    another = PeakStatisticsReducer()
    another.restore(newest)
    assert another.statistics.summary() == {name: said[name] for name in another.statistics.summary()}
    np.testing.assert_array_equal(another.statistics.powder, powder)
