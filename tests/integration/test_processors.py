"""Processors on a real broker: derived streams in order and complete, whoever made which message."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from beamstream import Address, Consumer, Frame, Gap, Producer
from beamstream.errors import DatasetStreamError
from beamstream.groups import list_dead_letters, list_groups, reinject_dead_letters
from beamstream.parameters import Parameters, Value
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.service import Intake, Output, Result, Results, StreamStart, derived_address, run_processor
from beamstream.service.processing.settled import settled, waited_for

SOURCE = Address("bt", "det", "run")
HITS, COUNTS = Address("bt", "det-hits", "run"), Address("bt", "det-counts", "run")
IMAGE = np.arange(12, dtype="<u2").reshape(3, 4)


class Hits:
    """Every third frame is a hit and goes on as it is; every frame is counted."""

    name = "hits"

    def __init__(self, bad_id: int = 0, barrier: threading.Barrier | None = None) -> None:
        self._bad_id = bad_id
        self._barrier = barrier

    def open(self, stream: StreamStart) -> Mapping[str, Output]:
        return {
            name: Output(address=derived_address(stream.address, name), metadata={"made_of": str(stream.address)})
            for name in ("hits", "counts")
        }

    def process(self, frame: Frame) -> Results:
        if self._barrier is not None:
            self._barrier.wait(20.0)  # each member is given a frame
            self._barrier = None
        if frame.message_id == self._bad_id:
            raise ValueError("a frame that nobody can process")
        results = {"counts": Result(metadata={"sum": int(frame.array().sum())})}
        if frame.message_id % 3 == 0:
            results["hits"] = Result(frame=frame, metadata={"peaks": [1, 2]})
        return results

    def status(self) -> Mapping[str, int | float | str]:
        return {"hit_rate": 0.5}


def fill(broker: str, ids: range | list[int], *, missing: tuple[int, ...] = (), declined: tuple[int, ...] = ()) -> None:
    with Producer(SOURCE, broker=broker, patience_s=0.02, n_expected=len(ids)) as producer:
        for message_id in ids:
            if message_id in declined:
                producer.decline(message_id)
            elif message_id not in missing:
                producer.send_array(message_id, IMAGE + message_id, timestamp_ns=1000 * message_id)
        producer.finish(ids[-1])


def read(broker: str, address: Address) -> tuple[list[Frame], list[Gap]]:
    with Consumer(address, broker=broker, timeout_s=20) as consumer:
        return list(consumer), consumer.take_gaps()


def gap(first_id: int, last_id: int, reason: str) -> Gap:
    return Gap(first_id=first_id, last_id=last_id, reason=reason)


def test_each_output_has_the_results_in_order_and_the_rest_is_declined(broker: str) -> None:
    fill(broker, range(1, 11))
    assert run_processor(Hits, str(SOURCE), broker=broker) == 0
    hits, gaps = read(broker, HITS)
    assert [frame.message_id for frame in hits] == [3, 6, 9]
    assert gaps == [gap(1, 2, "declined"), gap(4, 5, "declined"), gap(7, 8, "declined"), gap(10, 10, "declined")]
    source, _ = read(broker, SOURCE)
    for hit in hits:
        original = source[hit.message_id - 1]
        assert (hit.payload, hit.shape, hit.header.codec) == (original.payload, (3, 4), original.header.codec)
        assert (hit.header.timestamp_ns, hit.metadata) == (1000 * hit.message_id, {"peaks": [1, 2]})
    counts, gaps = read(broker, COUNTS)
    assert [frame.metadata["sum"] for frame in counts] == [int((IMAGE + i).sum()) for i in range(1, 11)]
    assert gaps == []
    assert {len(frame.payload) for frame in counts} == {0}
    server = Server(broker)
    receipt = make_receipt(server, HITS)
    assert (receipt.received, receipt.declined, receipt.n_missing, receipt.clean) == (3, 7, 0, True)
    with Consumer(HITS, broker=broker) as consumer:
        assert consumer.metadata == {"made_of": "bt/det/run"}
    assert {one.name: one.report["outputs"]["hits"]["n_declined"] for one in list_groups(server, SOURCE)} == {"hits": 7}


def test_members_of_a_group_write_one_stream_together(broker: str) -> None:
    fill(broker, range(1, 401))
    barrier = threading.Barrier(3)
    statuses: list[int] = []

    def work() -> None:
        statuses.append(run_processor(lambda: Hits(barrier=barrier), str(SOURCE), broker=broker))

    members = [threading.Thread(target=work) for _ in range(3)]
    for member in members:
        member.start()
    for member in members:
        member.join()
    assert statuses == [0, 0, 0]
    for address, expected in ((HITS, range(3, 401, 3)), (COUNTS, range(1, 401))):
        frames, gaps = read(broker, address)
        assert [(frame.message_id, frame.late) for frame in frames] == [(i, False) for i in expected]
        assert {one.reason for one in gaps} <= {"declined"}
        receipt = make_receipt(Server(broker), address)
        assert (receipt.state, receipt.clean, receipt.duplicated) == ("complete", True, 0)


def test_what_is_missing_in_the_source_is_stated_and_what_was_declined_there_is_declined(broker: str) -> None:
    fill(broker, range(1, 13), missing=(4, 5, 12), declined=(7, 8))
    run_processor(Hits, str(SOURCE), broker=broker)
    counts, gaps = read(broker, COUNTS)
    assert [frame.message_id for frame in counts] == [1, 2, 3, 6, 9, 10, 11]
    assert gaps == [gap(4, 5, "stated"), gap(7, 8, "declined"), gap(12, 12, "stated")]
    receipt = make_receipt(Server(broker), COUNTS)
    assert (receipt.missing, receipt.declined) == ([(4, 5), (12, 12)], 2)


def test_a_frame_that_is_given_up_is_missing_and_keeps_nobody_waiting(broker: str) -> None:
    fill(broker, range(1, 9))
    Consumer(SOURCE, broker=broker, group="hits", max_attempts=2, redelivery_delays_s=[0.05]).close()
    assert run_processor(lambda: Hits(bad_id=3), str(SOURCE), broker=broker) == 1
    server = Server(broker)
    (letter,) = list_dead_letters(server, SOURCE, "hits")
    assert "a frame that nobody can process" in letter.why
    for address in (HITS, COUNTS):
        assert make_receipt(server, address).missing == [(3, 3)]
    reinject_dead_letters(server, SOURCE, "hits")
    assert run_processor(Hits, str(SOURCE), broker=broker) == 0
    hits, _ = read(broker, HITS)
    assert [(frame.message_id, frame.late) for frame in hits] == [(6, False), (3, True)]
    assert make_receipt(server, HITS).clean


def test_others_go_on_while_the_source_is_open_when_a_frame_is_given_up(broker: str) -> None:
    Producer(SOURCE, broker=broker).close()
    Consumer(SOURCE, broker=broker, group="hits", max_attempts=1).close()
    worker = threading.Thread(target=lambda: run_processor(lambda: Hits(bad_id=3), str(SOURCE), broker=broker))
    worker.start()
    with Producer(SOURCE, broker=broker) as producer:
        for message_id in range(1, 7):
            producer.send_array(message_id, IMAGE)
        with Consumer(HITS, broker=broker, wait_for_stream=True, timeout_s=20) as hits:
            assert hits.next(20).message_id == 6, "and nothing else has come since"
        producer.finish()
    worker.join()


def test_a_group_that_begins_later_declares_what_was_before_as_missing(broker: str) -> None:
    fill(broker, range(1, 1201), missing=tuple(range(2, 1195)))
    run_processor(Hits, str(SOURCE), broker=broker, intake=Intake(start=1198))
    counts, gaps = read(broker, COUNTS)
    assert [frame.message_id for frame in counts] == [1198, 1199, 1200]
    assert (gaps[0].first_id, gaps[-1].last_id, {one.reason for one in gaps}) == (1, 1197, {"stated"})


def test_a_stream_is_settled_only_as_far_as_its_group_is(broker: str) -> None:
    fill(broker, range(1, 9), missing=(4, 5), declined=(6,))
    server = Server(broker)
    everything = range(1, 9)
    assert not settled(server, SOURCE, "g", everything), "there is no such group"
    with Consumer(SOURCE, broker=broker, group="g", prefetch_messages=1) as consumer:
        held = consumer.next(20)
        consumer.next(20)
        consumer.acknowledge(2)
        consumer.flush()
        assert held.message_id == 1
        found = settled(server, SOURCE, "g", range(1, 3))
        assert (found.declined, found.missing) == ([], [2])
        for _ in range(3):
            consumer.acknowledge(consumer.next(20))
        consumer.flush()
        found = settled(server, SOURCE, "g", everything)
        assert (found.declined, found.missing) == ([6], [2, 3, 4, 5, 7, 8])
        consumer.negative_acknowledge(held, delay_s=600)
        assert 1 not in settled(server, SOURCE, "g", everything).missing, "it is to be delivered again"
    with Producer(COUNTS, broker=broker) as producer:
        assert waited_for(server, COUNTS, 3) == range(1, 4)
        producer.send(5, b"").result(20)
        assert waited_for(server, COUNTS) == range(1, 5)


def test_one_part_of_a_dataset_is_processed_and_whole_ones_are_refused(broker: str) -> None:
    with Producer(SOURCE, broker=broker, n_parts=2, min_parts=1, patience_s=0.02) as producer:
        for message_id in (1, 2, 3):
            for part in (1, 2):
                if (message_id, part) != (2, 2):
                    producer.send_array(message_id, IMAGE * part, part=part)
        producer.finish(3)
    with pytest.raises(DatasetStreamError, match="--part 1 to 2"):
        run_processor(Hits, str(SOURCE), broker=broker)
    assert run_processor(Hits, str(SOURCE), broker=broker, intake=Intake(part=2)) == 0
    counts, gaps = read(broker, COUNTS)
    assert [(frame.message_id, frame.metadata["sum"]) for frame in counts] == [(1, 132), (3, 132)]
    assert gaps == [gap(2, 2, "stated")]


def test_results_say_which_parameters_they_were_made_with(broker: str) -> None:
    def settings(*, threshold: float = 2.5) -> None: ...

    class Tuned(Hits):
        parameters = Parameters.of(settings)

        def tune(self, values: Mapping[str, Value]) -> None:
            assert values == {"threshold": 2.5}

    fill(broker, range(1, 4))
    assert run_processor(Tuned, str(SOURCE), broker=broker) == 0
    counts, _ = read(broker, COUNTS)
    assert [frame.metadata["parameters"] for frame in counts] == [1, 1, 1]
    assert counts[0].metadata["parameter_values"] == {"threshold": 2.5}
    with Consumer(COUNTS, broker=broker) as consumer:
        assert consumer.metadata["parameters"]["values"] == {"threshold": 2.5}


@pytest.mark.parametrize(
    ("results", "why"),
    [
        ({"peaks": Result()}, "there is no output 'peaks'; there are hits, counts"),
        ({"hits": Result(array=np.array([object()]))}, "object"),
        ({"hits": Result(array=IMAGE, codec="zip")}, "zip"),
        ({"hits": Result(metadata={"x": object()})}, "message metadata"),
    ],
)
def test_a_result_that_cannot_be_sent_sends_the_frame_to_the_dead_letters(
    broker: str, results: dict[str, Any], why: str
) -> None:
    class Bad(Hits):
        def process(self, frame: Frame) -> Results:
            return results

    fill(broker, range(1, 2))
    Consumer(SOURCE, broker=broker, group="hits", max_attempts=1).close()
    assert run_processor(Bad, str(SOURCE), broker=broker) == 1
    (letter,) = list_dead_letters(Server(broker), SOURCE, "hits")
    assert why in letter.why
