"""Several streams joined by id, on a real server: lag, gaps, late messages, other ends, and readers that are killed."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from beamstream import Address, Consumer, Join, JoinedFrames, Producer
from beamstream.errors import NothingNewError, StreamFinishedError, UsageError
from beamstream.groups import group_info
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.segments import StreamWriter, end_record, record_of_entry, stream_folder

TIMEOUT_S = 20.0
IMAGES, SPECTRA = (Address("bt", source, "run") for source in ("eiger", "xrf"))
STREAMS = (IMAGES, SPECTRA)

Send = Callable[..., None]


@pytest.fixture
def producers(broker: str) -> Iterator[list[Producer]]:
    made = [Producer(address, broker=broker, patience_s=0.0) for address in STREAMS]
    yield made
    for producer in made:
        producer.close()


def send(producer: Producer, *message_ids: int) -> None:
    for message_id in message_ids:
        producer.send(message_id, f"{producer.address.source} {message_id}".encode()).result(TIMEOUT_S)


def join(broker: str, group: str | None = "both", **options: object) -> Join:
    return Join(*(Consumer(one, broker=broker, group=group, **options) for one in STREAMS), timeout_s=TIMEOUT_S)


def said(joined: JoinedFrames) -> tuple[int, str]:
    """Return the id, and where there is what: ``11`` for both, ``1-`` where the second lacks it."""
    for frame, address in zip(joined.frames, STREAMS, strict=True):
        assert frame is None or bytes(frame.payload) == f"{address.source} {joined.message_id}".encode()
    return joined.message_id, "".join("-" if frame is None else "1" for frame in joined.frames)


def pending(broker: str) -> list[int]:
    return [group_info(Server(broker), address, "both").n_pending for address in STREAMS]


@pytest.mark.parametrize("group", ["both", None])
def test_ids_come_in_order_with_the_messages_of_all_streams(broker, producers, group) -> None:
    for producer in producers:
        send(producer, 1, 2, 3)
        producer.finish()
    with join(broker, group) as pairs:
        assert [said(pair) for pair in pairs] == [(1, "11"), (2, "11"), (3, "11")]
        with pytest.raises(StreamFinishedError):
            pairs.next()


def test_what_was_handled_is_acknowledged_in_each_group(broker, producers) -> None:
    for producer in producers:
        send(producer, *range(1, 6))
        producer.finish()
    with join(broker) as pairs:
        list(pairs)
        for consumer in pairs.consumers:
            consumer.flush()
        assert pending(broker) == [0, 0]
        assert [consumer.counts.n_acknowledged for consumer in pairs.consumers] == [5, 5]


def test_what_a_stream_lacks_is_stated_and_so_are_ids_beyond_its_end(broker, producers) -> None:
    images, spectra = producers
    send(images, 1, 3, 4)
    send(spectra, 1, 2, 3, 4, 5, 6)
    images.finish(4)
    spectra.finish(6)
    with join(broker) as pairs:
        found = list(pairs)
        assert [said(one) for one in found] == [(1, "11"), (2, "-1"), (3, "11"), (4, "11"), (5, "-1"), (6, "-1")]
        assert [one.missing for one in found] == [(), (0,), (), (), (0,), (0,)]
        assert pairs.consumers[0].take_gaps()[0].first_id == 2
    assert pending(broker) == [0, 0]


def test_what_neither_stream_has_is_no_id(broker, producers) -> None:
    for producer in producers:
        send(producer, 1, 4)
        producer.finish()
    with join(broker) as pairs:
        assert [said(pair) for pair in pairs] == [(1, "11"), (4, "11")]


def test_a_stream_that_lags_is_waited_for_and_the_other_is_held_by_a_bounded_number(broker, producers) -> None:
    images, spectra = producers
    send(images, *range(1, 41))
    send(spectra, 1)
    with join(broker, prefetch_messages=4) as pairs:
        assert said(pairs.next(TIMEOUT_S)) == (1, "11")
        with pytest.raises(NothingNewError, match="xrf"):
            pairs.next(0.2)
        assert pending(broker)[0] <= 8
        send(spectra, *range(2, 41))
        assert [said(pairs.next(TIMEOUT_S)) for _ in range(39)] == [(n, "11") for n in range(2, 41)]


def test_a_late_message_brings_its_partner_and_is_marked(broker, producers) -> None:
    images, spectra = producers
    send(images, 1, 3)
    send(spectra, 1, 2, 3)
    with join(broker) as pairs:
        seen = [pairs.next(TIMEOUT_S) for _ in range(3)]
        send(images, 2)
        for producer in producers:
            producer.finish(3)
        seen.append(pairs.next(TIMEOUT_S))
        assert [(*said(one), one.late) for one in seen] == [
            (1, "11", False), (2, "-1", False), (3, "11", False), (2, "11", True),
        ]  # fmt: skip


def test_what_a_failed_loop_had_is_given_again_as_a_whole(broker, producers) -> None:
    for producer in producers:
        send(producer, 1, 2, 3)
        producer.finish()
    with pytest.raises(ZeroDivisionError), join(broker) as pairs:
        [1 / (pair.message_id - 2) for pair in pairs]
    with join(broker) as pairs:
        again = [said(pair) for pair in pairs]
    assert sorted(set(again)) == [(2, "11"), (3, "11")]
    assert pending(broker) == [0, 0]


def test_what_was_given_back_comes_again_as_a_whole(broker, producers) -> None:
    for producer in producers:
        send(producer, 1, 2, 3)
        producer.finish()
    seen, given_back = [], False
    with join(broker) as pairs:
        for pair in pairs:
            seen.append(said(pair))
            if pair.message_id == 1 and not given_back:
                pairs.negative_acknowledge(pair, delay_s=0.1)
                given_back = True
        for consumer in pairs.consumers:
            consumer.flush()
    assert seen[0] == (1, "11")
    assert sorted(seen[1:]) == [(1, "11"), (2, "11"), (3, "11")]
    assert pending(broker) == [0, 0]


@pytest.mark.parametrize("n_acknowledged", [(3, 3), (3, 2), (0, 4)])
def test_an_id_that_is_half_acknowledged_is_given_again_with_all_of_it(broker, producers, n_acknowledged) -> None:
    """Whoever is killed between two acknowledgements leaves such an id behind."""
    for producer in producers:
        send(producer, 1, 2, 3, 4, 5)
        producer.finish()
    join(broker).close()
    server = Server(broker)
    for address, n in zip(STREAMS, n_acknowledged, strict=True):
        index = StreamKeys(address).index
        answer = server.call("XREADGROUP", "GROUP", "both", "killed", "COUNT", 4, "STREAMS", index, ">")
        if n:
            server.call("XACK", index, "both", *(entry_id for entry_id, _ in answer[0][1][:n]))
    with join(broker, member_timeout_s=1.0) as pairs:
        again = [said(pair) for pair in pairs]
    assert {where for _, where in again} == {"11"}
    assert {message_id for message_id, _ in again} == set(range(min(n_acknowledged) + 1, 6))
    assert pending(broker) == [0, 0]


READER = """
import sys
from beamstream import Consumer, Join
with Join(*(Consumer(one, broker=sys.argv[1], group="both", member_timeout_s=1.0) for one in sys.argv[2:])) as pairs:
    for pair in pairs:
        print(pair.message_id, len(pair.missing), flush=True)
        if pair.message_id == 20:
            sys.stdin.read()
"""


def test_a_reader_that_is_killed_in_the_middle_loses_no_pair(broker, producers) -> None:
    for producer in producers:
        send(producer, *range(1, 51))
        producer.finish()
    command = [sys.executable, "-c", READER, broker, *map(str, STREAMS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as reader:
        handled = [next(reader.stdout) for _ in range(20)]
        reader.send_signal(signal.SIGKILL)
    assert handled == [f"{n} 0\n" for n in range(1, 21)]
    with join(broker, member_timeout_s=1.0) as pairs:
        again = [said(pair) for pair in pairs]
    assert {where for _, where in again} == {"11"}
    assert {message_id for message_id, _ in again} >= set(range(20, 51))
    assert pending(broker) == [0, 0]


def write_segments(folder: Path, broker: str, address: Address) -> Path:
    """Write what the broker has of a finished stream of small messages into segments."""
    where = stream_folder(folder, address)
    with StreamWriter(where, address) as writer:
        for entry_id, flat in Server(broker).call("XRANGE", StreamKeys(address).index, "-", "+"):
            fields = dict(zip(flat[::2], flat[1::2], strict=True))
            if fields.get(b"k") == b"e":
                record = end_record(3, int(fields[b"b"]), reason="complete")
            else:
                record = record_of_entry(entry_id.decode(), fields, None)
            writer.append_all([record])
    return where


def test_a_stream_of_files_is_joined_with_one_of_the_broker(broker, producers, tmp_path) -> None:
    images, spectra = producers
    send(images, 1, 3)
    send(spectra, 1, 2, 3)
    for producer in producers:
        producer.finish(3)
    where = write_segments(tmp_path, broker, IMAGES)
    with Join(Consumer(where), Consumer(SPECTRA, broker=broker, group="both")) as pairs:
        assert [said(pair) for pair in pairs] == [(1, "11"), (2, "-1"), (3, "11")]
    with Join(Consumer(where), Consumer(where)) as pairs:
        assert [one.message_id for one in pairs] == [1, 3]


def test_three_streams_are_joined_and_fewer_than_two_are_refused(broker, producers) -> None:
    third = Address("bt", "i0", "run")
    for producer in producers:
        send(producer, 1, 2)
        producer.finish()
    with Producer(third, broker=broker) as producer:
        send(producer, 1, 2)
        producer.finish()
    with Join(*(Consumer(one, broker=broker) for one in (*STREAMS, third))) as triples:
        assert [len(one.frames) - len(one.missing) for one in triples] == [3, 3]
    with Consumer(third, broker=broker) as alone:
        for consumers in ((), (alone,), (alone, alone)):
            with pytest.raises(UsageError, match="cannot be joined"):
                Join(*consumers)
