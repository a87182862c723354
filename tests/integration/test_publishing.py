"""Publishing against a real server: order, gaps, duplicates, late messages, a full buffer, a lost server."""

from __future__ import annotations

from pathlib import Path

import pytest

from beamstream import Consumer, Gap, Producer
from beamstream.errors import (
    BeamstreamError,
    BufferFullError,
    EntryError,
    IdConflictError,
    MessageTooLargeError,
    ProducerClosedError,
    QueueFullError,
    ServerUnavailableError,
    StreamNotFoundError,
    StreamSealedError,
    UsageError,
)
from beamstream.payloads import INLINE_BYTES
from beamstream.producer.producer import MAX_MESSAGE_ID
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.streams import delete_stream
from beamstream.testing.waiting import wait_until
from beamstream_broker.embedded import EmbeddedServer

ADDRESS = "bt/det/run"
LARGE = bytes(range(256)) * 64


def read_all(broker: str) -> list[tuple[int, bool, bytes]]:
    with Consumer(ADDRESS, broker=broker) as consumer:
        return [(frame.message_id, frame.late, bytes(frame.payload)) for frame in consumer]


def send_several(producer: Producer, message_ids: range) -> None:
    for message_id in message_ids:
        producer.send(message_id, LARGE)


def test_small_payloads_lie_in_the_index_and_large_ones_in_keys_of_their_own(broker: str) -> None:
    assert len(LARGE) > INLINE_BYTES
    with Producer(ADDRESS, broker=broker) as producer:
        producer.send(1, b"small")
        producer.send(2, LARGE)
        producer.finish()
    server = Server(broker)
    assert len(server.call("KEYS", "bs1:p:*")) == 1
    assert read_all(broker) == [(1, False, b"small"), (2, False, LARGE)]


def test_whatever_the_order_of_sending_readers_see_the_order_of_ids(broker: str) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        for message_id in (3, 1, 5, 4, 2):
            producer.send(message_id, bytes([message_id])).result(timeout=10)
        producer.finish()
    assert [message_id for message_id, _, _ in read_all(broker)] == [1, 2, 3, 4, 5]


def test_two_producers_interleave_one_stream(broker: str) -> None:
    with Producer(ADDRESS, broker=broker) as odd, Producer(ADDRESS, broker=broker) as even:
        for message_id in range(1, 201):
            (odd if message_id % 2 else even).send(message_id, LARGE)
        odd.flush()
        even.flush()
        odd.finish(200)
    assert [message_id for message_id, _, _ in read_all(broker)] == list(range(1, 201))


def test_sending_again_is_safe_and_told_as_a_duplicate(broker: str) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        assert producer.send(1, LARGE).result(timeout=10) == "sent"
        assert producer.send(1, LARGE).result(timeout=10) == "duplicate"
        producer.finish()
        assert producer.counts.n_duplicate == 1
    assert [message_id for message_id, _, _ in read_all(broker)] == [1]


def test_another_payload_under_a_taken_id_is_refused_and_the_first_one_stays(broker: str) -> None:
    failures: list[tuple[int, BeamstreamError]] = []
    with Producer(ADDRESS, broker=broker, on_failure=lambda *failure: failures.append(failure)) as producer:
        producer.send(1, LARGE).result(timeout=10)
        with pytest.raises(IdConflictError):
            producer.send(1, LARGE[::-1]).result(timeout=10)
        producer.finish()
    assert [(message_id, type(error)) for message_id, error in failures] == [(1, IdConflictError)]
    assert read_all(broker) == [(1, False, LARGE)]
    assert len(Server(broker).call("KEYS", "bs1:p:*")) == 1, "the refused payload stays behind"


def test_a_gap_is_recorded_after_its_patience_and_what_comes_later_is_marked_late(broker: str) -> None:
    with Producer(ADDRESS, broker=broker, patience_s=0.1) as producer, Consumer(ADDRESS, broker=broker) as consumer:
        for message_id in (1, 2, 5):
            producer.send(message_id, bytes([message_id]))
        assert [consumer.next(10).message_id for _ in range(3)] == [1, 2, 5]
        assert consumer.take_gaps() == [Gap(first_id=3, last_id=4, reason="patience")]
        assert producer.send(4, b"late").result(timeout=10) == "late"
        producer.finish(5)
        late = consumer.next(10)
        assert (late.message_id, late.late, late.payload) == (4, True, b"late")
        assert consumer.read(4).payload == b"late"
        state = consumer.state
    assert (state.n_received, state.n_missing, state.n_late) == (4, 1, 1)


def test_a_stream_finished_before_its_last_messages_says_what_is_missing(broker: str) -> None:
    with Producer(ADDRESS, broker=broker, patience_s=0.05) as producer:
        producer.send(1, b"one")
        assert producer.finish(4, reason="aborted", next_stream="run2") == 4
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert [frame.message_id for frame in consumer] == [1]
        assert consumer.take_gaps() == [Gap(first_id=2, last_id=4, reason="finished")]
        assert (consumer.state.word, consumer.state.next_stream) == ("aborted", "run2")


def test_nothing_is_taken_beyond_the_end(broker: str) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        producer.send(1, b"one")
        producer.finish()
        with pytest.raises(StreamSealedError):
            producer.send(2, LARGE).result(timeout=10)
    assert Server(broker).call("KEYS", "bs1:p:*") == []


def test_a_full_queue_blocks_and_then_says_so(broker: str) -> None:
    server = Server(broker)
    with Producer(ADDRESS, broker=broker, queue_bytes=4 * len(LARGE), block_timeout_s=0.05) as producer:
        server.call("CLIENT", "PAUSE", 60_000, "WRITE")
        with pytest.raises(QueueFullError) as caught:
            send_several(producer, range(1, 10))
        assert caught.value.limit_bytes == 4 * len(LARGE)
        assert 0 < caught.value.queued_bytes <= caught.value.limit_bytes
        server.call("CLIENT", "UNPAUSE")
        assert producer.flush(10)


def test_a_full_server_holds_the_producer_back_until_there_is_room() -> None:
    with EmbeddedServer(memory_bytes=32 << 20) as small:
        payload = bytes(4 << 20)
        with Producer(ADDRESS, broker=small.url, retry_timeout_s=30) as producer:
            futures = [producer.send(message_id, payload) for message_id in range(1, 11)]
            wait_until(lambda: producer.counts.n_held_back > 0)
            server = Server(small.url)
            wait_until(lambda: _make_room(server) or futures[-1].done())
            assert futures[-1].result(timeout=30) == "sent"
            assert producer.counts.n_failed == 0


def _make_room(server: Server) -> None:
    keys = server.call("KEYS", "bs1:p:*")
    if keys:
        server.call("UNLINK", *keys)


def test_a_server_that_stays_full_fails_the_message_with_a_report() -> None:
    with (
        EmbeddedServer(memory_bytes=16 << 20) as small,
        Producer(ADDRESS, broker=small.url, retry_timeout_s=0.1) as producer,
    ):
        futures = [producer.send(message_id, bytes(4 << 20)) for message_id in range(1, 7)]
        with pytest.raises(BufferFullError, match="stayed full"):
            futures[-1].result(timeout=30)


def test_a_server_that_is_gone_fails_the_messages_in_bounded_time() -> None:
    with EmbeddedServer(memory_bytes=64 << 20) as server:
        producer = Producer(ADDRESS, broker=server.url, retry_timeout_s=0.2)
        producer.send(1, b"one").result(timeout=10)
    future = producer.send(2, b"two")
    with pytest.raises(ServerUnavailableError, match="no server answers"):
        future.result(timeout=30)
    assert producer.counts.n_reconnects > 0
    assert producer.counts.n_failed == 1
    producer.close()


def test_a_server_that_comes_back_is_found_again_and_nothing_is_lost(tmp_path: Path) -> None:
    socket = tmp_path / "valkey.sock"
    with EmbeddedServer(memory_bytes=64 << 20, socket_path=socket) as server:
        producer = Producer(ADDRESS, broker=server.url)
        producer.send(1, LARGE).result(timeout=10)
    with EmbeddedServer(memory_bytes=64 << 20, socket_path=socket) as server:
        # The new server has forgotten the stream: the message is refused, not lost in silence.
        with pytest.raises(StreamNotFoundError):
            producer.send(2, LARGE).result(timeout=30)
        producer.close()


def test_a_stream_is_made_again_on_a_server_that_was_started_anew_if_that_is_wanted(tmp_path: Path) -> None:
    socket = tmp_path / "valkey.sock"
    with EmbeddedServer(memory_bytes=64 << 20, socket_path=socket) as server:
        producer = Producer(ADDRESS, broker=server.url, n_expected=2, metadata={"a": 1}, patience_s=0.1, remake=True)
        producer.send(1, LARGE).result(timeout=10)
    with EmbeddedServer(memory_bytes=64 << 20, socket_path=socket) as server:
        assert producer.send(2, LARGE).result(timeout=30) == "sent"
        producer.finish()
        with Consumer(ADDRESS, broker=server.url) as consumer:
            assert [frame.message_id for frame in consumer] == [2]
            assert consumer.metadata == {"a": 1}
        assert make_receipt(Server(server.url), producer.address).missing == [(1, 1)]
        delete_stream(Server(server.url), producer.address)
        with pytest.raises(StreamNotFoundError):
            producer.send(3, LARGE).result(timeout=30)
        producer.close()


def test_a_message_sent_twice_over_a_broken_connection_is_counted_as_sent_again(broker: str) -> None:
    server = Server(broker)
    n_sent = 0
    with Producer(ADDRESS, broker=broker) as producer:
        while n_sent < 400 or not producer.counts.n_reconnects:  # a connection that is idle is made again unnoticed
            n_sent += 1
            producer.send(n_sent, LARGE)
            if n_sent % 20 == 0:
                server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        producer.finish()
        assert producer.counts.n_failed == 0
    assert [message_id for message_id, _, _ in read_all(broker)] == list(range(1, n_sent + 1))


def test_what_cannot_be_sent_is_refused_at_once(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beamstream.producer.parts.MAX_PAYLOAD_BYTES", 10)
    with Producer(ADDRESS, broker=broker) as producer:
        for message_id in (0, -1, MAX_MESSAGE_ID + 1):
            with pytest.raises(UsageError, match="message id"):
                producer.send(message_id, b"")
        with pytest.raises(MessageTooLargeError, match="11 bytes"):
            producer.send(1, bytes(11))
        with pytest.raises(EntryError):
            producer.send(1, b"", metadata={"x": object()})
    with pytest.raises(ProducerClosedError):
        producer.send(1, b"")


def test_a_producer_without_a_server_says_what_to_do() -> None:
    with pytest.raises(ServerUnavailableError, match="stream broker run"):
        Producer(ADDRESS, broker="redis://127.0.0.1:1")


def test_a_producer_of_a_data_source_is_misuse() -> None:
    with pytest.raises(UsageError):
        Producer("bt/det", broker="redis://127.0.0.1:1")
