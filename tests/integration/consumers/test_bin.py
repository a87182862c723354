"""The `bin` handler on a real broker: what it is given, and what readers of the derived stream get."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from beamstream import Address, Consumer, Producer, SourceAddress
from beamstream.errors import ShapeError, UsageError
from beamstream.groups import list_groups
from beamstream.protocol.client import Server
from beamstream.service import Intake, ProcessorHandler, StreamEnd, StreamStart, run_processor
from beamstream_consumers.bin import BinProcessor

SOURCE = Address("11012345", "eiger", "run_001")
DERIVED = Address("11012345", "eiger-bin", "run_001")
SHAPE = (31, 43)


def image_of(message_id: int) -> Any:
    image = np.random.default_rng(message_id).poisson(2.0, SHAPE).astype("<u2")
    image[0, 0] = 65535
    return image


def produce(broker: str, ids: list[int], last_id: int, **options: Any) -> None:
    with Producer(SOURCE, broker=broker, patience_s=0.05, **options) as producer:
        for message_id in ids:
            producer.send_array(message_id, image_of(message_id), metadata={"start_ns": message_id})
        producer.finish(last_id)


def test_binned_frames_have_the_ids_and_the_sums_of_their_frames(broker: str) -> None:
    mask = np.zeros(SHAPE, dtype="u4")
    mask[10:12] = 1
    detector = {"@NX_class": "NXdetector", "pixel_mask": mask, "x_pixel_size": 75e-6}
    metadata = {"entry": {"instrument": {"@NX_class": "NXinstrument", "detector": detector}}}
    produce(broker, [1, 2, 3], 3, metadata=metadata, n_expected=3)
    assert run_processor(lambda: BinProcessor(4), str(SOURCE), broker=broker) == 0
    with Consumer(DERIVED, broker=broker, timeout_s=20) as derived:
        frames = list(derived)
        assert derived.n_expected == 3
        assert derived.metadata["entry"]["instrument"]["detector"]["x_pixel_size"] == 4 * 75e-6
    assert [frame.message_id for frame in frames] == [1, 2, 3]
    for frame in frames:
        good = image_of(frame.message_id).astype("u4") * (mask == 0) * (image_of(frame.message_id) != 65535)
        assert frame.shape == (8, 11)
        assert frame.array()[2, 3] == good[8:12, 12:16].sum()
        assert frame.metadata["sum"] == good.sum()
        assert frame.metadata["n_masked"] == 2 * SHAPE[1] + 1
        assert frame.metadata["n_flagged"] == 1
        assert (frame.metadata["factor"], frame.metadata["start_ns"]) == (4, frame.message_id)


def test_the_report_says_what_the_derived_stream_holds(broker: str) -> None:
    produce(broker, [1, 3], 4)
    run_processor(lambda: BinProcessor(2), str(SOURCE), broker=broker)
    (group,) = list_groups(Server(broker), SOURCE)
    expected = {"stream": str(DERIVED), "n_received": 2, "n_declined": 0, "n_missing": 2}
    assert group.report == {"outputs": {"bin": expected}, "ended": True}


def test_ids_missing_in_the_source_are_missing_in_the_derived_stream(broker: str) -> None:
    produce(broker, [1, 3], 4)
    run_processor(lambda: BinProcessor(2), str(SOURCE), broker=broker)
    with Consumer(DERIVED, broker=broker, timeout_s=30) as derived:
        assert [frame.message_id for frame in derived] == [1, 3]
        assert derived.state.last_id == 4
        gaps = [(gap.first_id, gap.last_id, gap.reason) for gap in derived.take_gaps()]
        assert gaps == [(2, 2, "stated"), (4, 4, "stated")], "and nobody had to wait for them"


def test_binning_again_makes_no_second_message(broker: str) -> None:
    produce(broker, [1, 2], 2)
    for group in ("bin", "again"):
        assert run_processor(lambda: BinProcessor(2), str(SOURCE), broker=broker, intake=Intake(group=group)) == 0
    with Consumer(DERIVED, broker=broker, timeout_s=20) as derived:
        assert len(list(derived)) == 2
        assert derived.state.n_received == 2


def test_the_derived_stream_stays_open_when_the_service_stops_before_the_end(broker: str) -> None:
    produce(broker, [1], 1)
    handler = ProcessorHandler(BinProcessor(2))
    handler.open(StreamStart(address=SOURCE, metadata={}, n_expected=None, broker=broker))
    with Consumer(SOURCE, broker=broker, timeout_s=20) as frames:
        for frame in frames:
            handler.handle(frame)
    handler.commit()
    assert handler.status()["results"] == 1
    assert handler.close(None) is None
    with Consumer(DERIVED, broker=broker) as derived:
        assert not derived.state.finished
        assert derived.state.n_received == 1


def test_the_derived_stream_may_have_another_data_source(broker: str) -> None:
    produce(broker, [1], 1)
    run_processor(lambda: BinProcessor(2, SourceAddress("11012345", "preview")), str(SOURCE), broker=broker)
    with Consumer("11012345/preview/run_001", broker=broker, timeout_s=20) as derived:
        assert len(list(derived)) == 1


def test_a_stream_is_not_binned_into_itself(broker: str) -> None:
    handler = ProcessorHandler(BinProcessor(2, SOURCE.source_address))
    with pytest.raises(UsageError, match="cannot go into the stream"):
        handler.open(StreamStart(address=SOURCE, metadata={}, n_expected=None, broker=broker))


def test_a_frame_that_is_no_image_goes_back(broker: str) -> None:
    with Producer(SOURCE, broker=broker) as producer:
        producer.send_array(1, np.zeros((2, 3, 4), "<u2"))
        producer.finish(1)
    handler = ProcessorHandler(BinProcessor(2))
    handler.open(StreamStart(address=SOURCE, metadata={}, n_expected=None, broker=broker))
    with Consumer(SOURCE, broker=broker) as frames, pytest.raises(ShapeError, match="n_slow, n_fast"):
        handler.handle(frames.next(timeout_s=20))
    handler.close(StreamEnd(last_id=1, n_expected=None, reason="aborted", next_stream=None))


@pytest.mark.parametrize("factor", [0, 1, 257])
def test_a_factor_that_makes_no_sense_is_misuse(factor: int) -> None:
    with pytest.raises(UsageError, match="--factor"):
        BinProcessor(factor)
