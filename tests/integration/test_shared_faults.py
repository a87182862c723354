"""Shared memory when a side of it dies, hoards or lies: real brokers, producers and readers, killed with -9.

A reader never sees other bytes than were sent (every frame's checksum is compared, again and again while it is held),
nothing that was reported as sent is lost while its broker lives, and nothing stays behind.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgpack
import pytest
import xxhash

from beamstream import Address, Consumer, Producer
from beamstream.errors import BufferFullError, ServerUnavailableError, SharedMemoryUnavailableError
from beamstream.frame import Frame
from beamstream.presence import read_presence
from beamstream.producer import publishing, sender, storing
from beamstream.producer.queue import Outgoing
from beamstream.protocol import StreamKeys, decode_header, pack_header
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.segments import SegmentStream
from beamstream.shared.messages import parse_endpoint
from beamstream.shared.segment import HEAD_BYTES
from beamstream.streams import delete_stream, index_entries
from beamstream.testing.waiting import PATIENCE_S, wait_until
from beamstream_broker.embedded import EmbeddedServer
from beamstream_broker.sharing import Budget, Collecting, SharingService
from beamstream_broker.sharing.pool import State
from beamstream_broker.testing import BrokerProcess

ADDRESS = Address("bt", "det", "run")
MIB = 1 << 20


def payload(message_id: int, n_bytes: int = 100_000) -> bytes:
    return random.Random(f"{message_id} {n_bytes}").randbytes(n_bytes)


def check(frame: Frame) -> None:
    """Compare what a frame shows now with what its producer said of it."""
    for one in frame.parts or (frame,):
        assert xxhash.xxh3_64_intdigest(one.payload) == one.header.checksum


@pytest.fixture
def run_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., BrokerProcess]]:
    """Start brokers; they end with the test."""
    started: list[BrokerProcess] = []

    def start(*options: str, **more: str) -> BrokerProcess:
        broker = BrokerProcess(tmp_path_factory.mktemp("b"), *options, **more)
        started.append(broker)
        broker.start()
        return broker

    yield start
    for one in started:
        one.kill()


READ = """
import sys, time
from beamstream import Consumer
with Consumer("bt/det/run", broker=sys.argv[1], wait_for_stream=True) as consumer:
    held = [consumer.next(60) for _ in range(int(sys.argv[2]))]
    print("holds", flush=True)
    sys.stdin.read()
"""

SEND = """
import random, sys, time
from beamstream import Producer
with Producer("bt/det/run", broker=sys.argv[1], tier=sys.argv[2], patience_s=0.3) as producer:
    for i in range(int(sys.argv[3]), 10**9):
        future = producer.send(i, random.Random(f"{i} 100000").randbytes(100000))
        future.add_done_callback(lambda _, i=i: print(i, flush=True))
        time.sleep(0.002)
"""


def spawn(program: str, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", program, *map(str, arguments)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def kill(process: subprocess.Popen[str]) -> str:
    """Kill a process, and return what it had said and nobody had read."""
    process.kill()
    said = process.communicate()[0]
    return said.rpartition("\n")[0]


def memory_files() -> set[str]:
    """Return the segments that some process has open or mapped."""
    found = set()
    for process in (one for one in Path("/proc").iterdir() if one.name.isdecimal()):
        with contextlib.suppress(OSError):
            for line in (process / "maps").read_text().splitlines():
                found |= {f"{process.name} {line.partition('/memfd:')[2]}"} if "/memfd:beamstream-" in line else set()
            for link in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    file = str(link.readlink())
                    found |= {f"{process.name} {file}"} if "/memfd:beamstream-" in file else set()
    return found


def send(producer: Producer, first: int, last: int, n_bytes: int = 100_000) -> None:
    futures = [producer.send(i, payload(i, n_bytes)) for i in range(first, last + 1)]
    assert {future.result(PATIENCE_S) for future in futures} <= {"sent", "late"}


def located(server: Server, address: Address = ADDRESS) -> list[bool]:
    """Return which messages were put into shared memory."""
    headers = [entry.header for entry in index_entries(server, address) if entry.header is not None]
    return [any(one.location is not None for one in header.parts or (header,)) for header in headers]


# --- readers ---------------------------------------------------------------------------------------------------------


def test_who_hoards_frames_sees_them_unchanged_and_stops_nobody(run_broker: Callable[..., BrokerProcess]) -> None:
    broker = run_broker("--shared-memory", "8MiB")
    server = Server(broker.url)
    with (
        Producer(ADDRESS, broker=broker.url) as producer,
        Consumer(ADDRESS, broker=broker.url, timeout_s=9) as consumer,
    ):
        held = []
        for i in range(1, 301):  # four times what there is
            send(producer, i, i)
            if i <= 60:
                held.append(consumer.next(PATIENCE_S))
            elif i % 50 == 0:
                for frame in held:
                    check(frame)
        assert sum(located(server)) >= 60
        assert not all(located(server)), "what had no room went through the server"
        wait_until(lambda: (there := read_presence(server)) and there.pinned, "the broker to say who it is")
        there = read_presence(server)
        assert there is not None
        assert f"process {os.getpid()} (" in there.pinned
        wait_until(lambda: f"process {os.getpid()} (" in broker.log(), "its log to say so, too")
        held.clear()
        n_before = sum(located(server))

        def is_shared_again() -> bool:
            nonlocal i
            i += 1
            send(producer, i, i)
            return sum(located(server)) > n_before

        wait_until(is_shared_again, "segments that are used again")


def test_what_a_killed_reader_held_is_used_again(run_broker: Callable[..., BrokerProcess]) -> None:
    broker = run_broker("--shared-memory", "8MiB")
    with Producer(ADDRESS, broker=broker.url, tier="shared", retry_timeout_s=15) as producer:
        reader = spawn(READ, broker.url, 60)
        for i in range(1, 61):
            send(producer, i, i)
        assert reader.stdout is not None
        assert reader.stdout.readline() == "holds\n"
        more = [producer.send(i, payload(i)) for i in range(61, 91)]
        wait_until(lambda: producer.counts.n_held_back, "a producer that waits")
        assert f"process {reader.pid} (" in str(wait_for_flaw(Server(broker.url)))
        kill(reader)
        assert [future.result(PATIENCE_S) for future in more] == ["sent"] * 30


def wait_for_flaw(server: Server) -> str:
    wait_until(lambda: (there := read_presence(server)) and there.pinned, "the broker to say who it is")
    there = read_presence(server)
    return there.pinned if there else ""


def test_a_producer_that_gives_up_says_whose_views_it_waited_for(run_broker: Callable[..., BrokerProcess]) -> None:
    broker = run_broker("--shared-memory", "8MiB")
    with (
        Producer(ADDRESS, broker=broker.url, tier="shared", retry_timeout_s=0.5) as producer,
        Consumer(ADDRESS, broker=broker.url) as consumer,
    ):
        held: list[Frame] = []
        with pytest.raises(BufferFullError, match=rf"process {os.getpid()} \(.*\) holds views of \d segments, \d MiB"):
            hoard(producer, consumer, held)


def hoard(producer: Producer, consumer: Consumer, held: list[Frame]) -> None:
    for i in range(1, 200):
        producer.send(i, payload(i)).result(PATIENCE_S)
        held.append(consumer.next(PATIENCE_S))


def test_a_consumer_and_its_frames_survive_a_fork(run_broker: Callable[..., BrokerProcess]) -> None:
    broker = run_broker("--shared-memory", "8MiB")
    with Producer(ADDRESS, broker=broker.url) as producer:
        send(producer, 1, 40)
        program = """
import os, sys, xxhash
from beamstream import Consumer
consumer = Consumer("bt/det/run", broker=sys.argv[1])
held = [consumer.read(i) for i in range(1, 6)]
assert all(frame.header.location for frame in held)
child = os.fork()
for i in range(6, 41) if child else range(40, 5, -1):
    frame = consumer.read(i)
    assert frame.message_id == i
    held.append(frame)
assert all(xxhash.xxh3_64_intdigest(one.payload) == one.header.checksum for one in held)
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
consumer.close()
"""
        process = spawn(program, broker.url)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0


def test_a_reader_with_few_descriptors_goes_on(run_broker: Callable[..., BrokerProcess]) -> None:
    """The views of one segment share a descriptor, however many there are."""
    broker = run_broker(memory="256MiB")
    with Producer(ADDRESS, broker=broker.url) as producer:
        send(producer, 1, 400, 20_000)
        program = """
import resource, sys, xxhash
from beamstream import Consumer
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
with Consumer("bt/det/run", broker=sys.argv[1]) as consumer:
    held = [consumer.read(i) for i in range(1, 401)]
    assert all(xxhash.xxh3_64_intdigest(one.payload) == one.header.checksum for one in held)
"""
        process = spawn(program, broker.url)
        process.communicate(timeout=PATIENCE_S)
        assert process.returncode == 0


# --- producers -------------------------------------------------------------------------------------------------------


def test_of_a_killed_producer_all_that_is_in_the_index_can_be_read(run_broker: Callable[..., BrokerProcess]) -> None:
    broker = run_broker(memory="256MiB")
    server = Server(broker.url)
    rng = random.Random(7)
    first, n_sent = 1, set()
    for round_number in range(3):
        producer = spawn(SEND, broker.url, "shared", first)
        assert producer.stdout is not None
        n_sent |= {int(producer.stdout.readline()) for _ in range(rng.randint(1, 40))}
        if round_number % 2:
            producer.send_signal(signal.SIGSTOP)
        n_sent |= {int(line) for line in kill(producer).splitlines()}
        entries = [entry for entry in index_entries(server, ADDRESS) if entry.header is not None]
        first = max(entry.message_id for entry in entries) + 1
        assert n_sent <= {entry.message_id for entry in entries}
    with Consumer(ADDRESS, broker=broker.url) as consumer:
        for entry in entries:
            frame = consumer.read(entry.message_id)
            assert frame.payload == payload(entry.message_id)
    assert all(located(server))


# --- brokers ---------------------------------------------------------------------------------------------------------


def test_of_a_killed_broker_nothing_is_left_once_its_readers_are_gone(run_broker: Callable[..., BrokerProcess]) -> None:
    before = memory_files()
    broker = run_broker()
    with Producer(ADDRESS, broker=broker.url, retry_timeout_s=0.2) as producer:
        send(producer, 1, 20)
        with Consumer(ADDRESS, broker=broker.url) as consumer:
            held = [consumer.next(PATIENCE_S) for _ in range(20)]
        broker.kill()
        for frame in held:
            check(frame)
        with pytest.raises(ServerUnavailableError):
            producer.send(21, payload(21)).result(PATIENCE_S)
    mine = {one for one in memory_files() - before if one.startswith(f"{os.getpid()} ")}
    assert mine, "its pages are there as long as somebody sees them"
    del held, frame
    mine = {one for one in memory_files() - before if one.startswith(f"{os.getpid()} ")}
    assert not mine
    assert not {one for one in memory_files() - before if one.startswith(f"{broker.pid} ")}


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(memory_bytes=128 * MIB) as running:
        yield running


@pytest.mark.parametrize("tier", ["auto", "shared"])
def test_producers_go_on_when_an_attached_broker_was_killed(
    own_server: EmbeddedServer, run_broker: Callable[..., BrokerProcess], tier: storing.Tier
) -> None:
    """What is sent after its death is not put where nobody finds it; what was in its memory is gone, and counted."""
    broker = run_broker("--shared-memory", "32MiB", attach=own_server.url)
    server = Server(own_server.url)
    with Producer(ADDRESS, broker=own_server.url, tier=tier, retry_timeout_s=15) as producer:
        send(producer, 1, 10)
        broker.kill()
        if tier == "auto":
            send(producer, 11, 20)
            broker.start()
        else:
            waiting = [producer.send(i, payload(i)) for i in range(11, 21)]
            wait_until(lambda: producer.counts.n_reconnects, "a producer that tries again")
            broker.start()
            assert [future.result(PATIENCE_S) for future in waiting] == ["sent"] * 10
        assert located(server) == [True] * 10 + [tier == "shared"] * 10

        def is_shared() -> bool:
            n = len(located(server)) + 1
            send(producer, n, n)
            return located(server)[-1]

        wait_until(is_shared, "the new broker's memory")
        producer.finish()
    with Consumer(ADDRESS, broker=own_server.url) as consumer:
        frames = list(consumer)
        for frame in frames:
            assert frame.payload == payload(frame.message_id)
        assert [frame.message_id for frame in frames] == list(range(11, len(located(server)) + 1))
        assert consumer.counts.n_skipped == 10


def test_a_stream_that_keeps_all_does_not_trust_a_broker_that_dies_alone(
    own_server: EmbeddedServer, run_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    options = ("--shared-memory", "32MiB", "--spill", str(tmp_path))
    broker = run_broker(*options, attach=own_server.url)
    with Producer(ADDRESS, broker=own_server.url, keep="all", retry_timeout_s=None) as producer:
        futures = []
        for i in range(1, 61):
            futures.append(producer.send(i, payload(i)))
            if i == 30:
                broker.kill()
        broker.start()
        assert [future.result(PATIENCE_S) for future in futures] == ["sent"] * 60
        assert not any(located(Server(own_server.url)))
        producer.finish()
    with Consumer(ADDRESS, broker=own_server.url) as consumer:
        assert [(one.message_id, bytes(one.payload)) for one in consumer] == [(i, payload(i)) for i in range(1, 61)]
    with pytest.raises(SharedMemoryUnavailableError, match="keeps all"):
        Producer("bt/det/two", broker=own_server.url, keep="all", tier="shared")


def test_an_attached_broker_that_ends_in_peace_puts_what_it_has_on_disk(
    own_server: EmbeddedServer, run_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = run_broker("--shared-memory", "32MiB", "--spill", str(tmp_path), attach=own_server.url)
    with Producer(ADDRESS, broker=own_server.url) as producer:
        send(producer, 1, 20)
        assert all(located(Server(own_server.url)))
        producer.finish()
    broker.stop()
    with Consumer(ADDRESS, broker=own_server.url) as consumer:
        assert [(one.message_id, bytes(one.payload)) for one in consumer] == [(i, payload(i)) for i in range(1, 21)]


def test_when_the_server_dies_under_its_broker_streams_come_back_and_segments_are_free(
    run_broker: Callable[..., BrokerProcess], tmp_path: Path
) -> None:
    broker = run_broker("--spill", str(tmp_path))
    with Producer(ADDRESS, broker=broker.url, keep="all", retry_timeout_s=None) as producer:
        futures = []
        for i in range(1, 901):  # more than there is memory
            futures.append(producer.send(i, payload(i)))
            if i in (100, 500):
                futures[-1].result(PATIENCE_S)
                pid = int(Server(broker.url)._info()["process_id"])
                os.kill(pid, signal.SIGKILL)
        assert [future.result(PATIENCE_S) for future in futures] == ["sent"] * 900
        producer.finish()
    receipt = make_receipt(Server(broker.url), ADDRESS)
    assert (receipt.received, receipt.clean) == (900, True)
    with Consumer(ADDRESS, broker=broker.url) as consumer:
        for i, frame in enumerate(consumer, start=1):
            assert frame.payload == payload(i)
        assert (i, consumer.counts.n_skipped) == (900, 0)
    with SegmentStream(tmp_path / "bt" / "det" / "run") as stream:
        assert all(one.entry.header is None or one.entry.header.location is None for one in stream.entries())


# --- who says what ---------------------------------------------------------------------------------------------------


@pytest.fixture
def sharing(broker: str) -> Iterator[SharingService]:
    """The socket and the segments without the rest of a broker; announced."""
    service = SharingService(Budget(Server(broker), None, 16 * MIB))
    announce_forever(Server(broker), service.endpoint)
    yield service
    service.close()


def announce_forever(server: Server, endpoint: str) -> None:
    server.call("HSET", "bs1:broker", "shared", endpoint, "owns_server", 1)


def connect(service: SharingService, ticket: bytes | None = None) -> socket.socket:
    name, right = parse_endpoint(service.endpoint)
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.connect("\0" + name)
    client.settimeout(PATIENCE_S)
    with contextlib.suppress(BrokenPipeError):  # turned away already
        client.send(right if ticket is None else ticket)
    return client


@pytest.mark.parametrize(
    "packets",
    [
        [b"\xc1"],
        [b"x" * 5000],
        [msgpack.packb(["lend", "no address", "", 1])],
        [msgpack.packb(["lend", "bt/det/run", "", -1])],
        [msgpack.packb(["done", 1, 0])],
        [msgpack.packb(["show", 2**64 - 1]), msgpack.packb(["show"])],
    ],
    ids=["garbage", "too long", "no address", "below zero", "not lent", "no number"],
)
def test_who_talks_nonsense_is_cut_off_and_the_others_go_on(sharing: SharingService, broker: str, packets: Any) -> None:
    with Producer(ADDRESS, broker=broker, tier="shared") as producer:
        send(producer, 1, 3)
        with connect(sharing) as client:
            for packet in packets:
                client.send(packet)
            wait_until(lambda: not client.recv(4096), "the end of the connection")
        wait_until(lambda: sharing.counts.n_garbage == 1, "what is counted")
        send(producer, 4, 6)


def test_who_shows_a_wrong_ticket_gets_nothing(sharing: SharingService) -> None:
    for ticket in (b"\0", bytes(16), bytes(5000)):
        with connect(sharing, ticket) as client:
            assert client.recv(4096) == b""
    wait_until(lambda: sharing.n_clients == 0, "nobody there")
    assert sharing.counts.n_garbage == 3


def test_too_many_clients_are_turned_away_and_go_through_the_server(sharing: SharingService, broker: str) -> None:
    clients = [connect(sharing) for _ in range(530)]  # some of them without their ticket yet
    wait_until(lambda: sharing.n_clients + sharing.counts.n_turned_away >= 530, "all of them")
    with Producer(ADDRESS, broker=broker) as producer:
        send(producer, 1, 3)
        assert not any(located(Server(broker)))
        for client in clients:
            client.close()
        wait_until(lambda: sharing.n_clients == 0, "room for others")
    with Producer("bt/det/two", broker=broker, tier="shared") as producer:
        send(producer, 1, 3)


def test_where_readers_go_over_one_connection_its_end_is_nobodys(sharing: SharingService, broker: str) -> None:
    with Producer(ADDRESS, broker=broker, tier="shared") as producer, Consumer(ADDRESS, broker=broker) as other:
        send(producer, 1, 1)
        assert other.read(1).payload == payload(1)
        for one in list(sharing._clients):
            one.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: sharing.n_clients == 0, "no connection")
        send(producer, 2, 2)
        with Consumer(ADDRESS, broker=broker) as another:
            assert [one.payload for one in (other.read(2), another.read(2))] == [payload(2)] * 2


# --- when a segment is free ------------------------------------------------------------------------------------------


def collect(service: SharingService, broker: str, grace_s: float = 0.0) -> int:
    """Free what can be freed; returns the bytes that are still wanted."""
    Collecting(Server(broker), service.pool, grace_s).look()
    return service.pool.bytes_of(State.LENT, State.FULL, State.LEFT)


def release(broker: str, entry_id: str, address: Address = ADDRESS) -> None:
    Server(broker).call("HSET", f"bs1:{{{address}}}:state", "released_entry", entry_id)


def lose_answers(monkeypatch: pytest.MonkeyPatch, is_lost: Callable[[Sequence[Outgoing]], bool]) -> None:
    """Lose what the server answers to some batches, which it has taken all the same."""
    prepare = publishing.Publishing.prepare

    def prepare_to_lose(
        self: publishing.Publishing, batch: Sequence[Outgoing], life: str
    ) -> Callable[[], Callable[[], list[int]]]:
        begin = prepare(self, batch, life)

        def begin_to_lose() -> Callable[[], list[int]]:
            read = begin()

            def read_and_lose() -> list[int]:
                answer = read()
                if is_lost(batch):
                    raise ServerUnavailableError("unix://lost", "the answer was lost")
                return answer

            return read_and_lose

        return begin_to_lose

    monkeypatch.setattr(publishing.Publishing, "prepare", prepare_to_lose)


def test_a_held_message_that_was_sent_twice_keeps_its_segment(
    sharing: SharingService, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer to the first attempt is lost; the second one is a duplicate, and waits all the same."""
    lost = iter((True,))
    lose_answers(monkeypatch, lambda batch: batch[0].message_id == 3 and next(lost, False))
    with Producer(ADDRESS, broker=broker, tier="shared", patience_s=PATIENCE_S) as producer:
        send(producer, 1, 1)
        assert producer.send(3, payload(3)).result(PATIENCE_S) == "sent"
        assert producer.counts.n_sent == 2
    assert next(lost, None) is None, "an answer was lost"
    wait_until(lambda: sharing.pool.bytes_of(State.FULL), "the segment's return")
    release(broker, "1-0")
    assert collect(sharing, broker) > 0, "message 3 is in it, and waits"
    with Producer(ADDRESS, broker=broker, tier="memory") as producer:
        send(producer, 2, 2)
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert [bytes(consumer.read(i).payload) for i in (2, 3)] == [payload(2), payload(3)]
    release(broker, "3-0")
    assert collect(sharing, broker) == 0


def test_what_a_killed_producer_left_is_free_when_all_that_waited_then_is_released(
    sharing: SharingService, broker: str
) -> None:
    producer = spawn(SEND, broker, "shared", 2)  # message 1 is missing
    wait_until(lambda: sharing.pool.bytes_of(State.LENT), "a segment that is lent")
    wait_until(lambda: Server(broker).call("ZCARD", f"bs1:{{{ADDRESS}}}:held") or located_any(broker), "messages")
    kill(producer)
    wait_until(lambda: sharing.pool.bytes_of(State.LEFT), "a segment that was left")
    assert collect(sharing, broker, grace_s=PATIENCE_S) > 0, "some may be on their way"
    assert collect(sharing, broker) > 0, "nothing of it was released"
    with Producer(ADDRESS, broker=broker, tier="memory") as other:
        other.finish()
    wait_until(lambda: Server(broker).call("HGET", f"bs1:{{{ADDRESS}}}:state", "sealed") == b"1", "the end")
    assert collect(sharing, broker) > 0
    release(broker, f"{10**9}-0")
    assert collect(sharing, broker) == 0


def located_any(broker: str) -> bool:
    return any(located(Server(broker)))


@pytest.mark.parametrize("again", [False, True])
def test_of_a_deleted_stream_nothing_is_kept(sharing: SharingService, broker: str, again: bool) -> None:
    with Producer(ADDRESS, broker=broker, tier="shared") as producer:
        send(producer, 1, 3)
    wait_until(lambda: sharing.pool.bytes_of(State.FULL), "the segment's return")
    assert collect(sharing, broker) > 0
    delete_stream(Server(broker), ADDRESS)
    if again:
        with Producer(ADDRESS, broker=broker, tier="memory") as producer:
            send(producer, 1, 1)
    assert collect(sharing, broker) == 0


def test_a_late_message_and_a_dataset_without_a_part_keep_their_segments(sharing: SharingService, broker: str) -> None:
    with Producer(ADDRESS, broker=broker, tier="shared", n_parts=2, min_parts=2, patience_s=0.05) as producer:
        producer.send(1, b"one", part=1).result(PATIENCE_S)
        producer.send(2, b"", part=1).result(PATIENCE_S)
        producer.send(2, payload(2), part=2).result(PATIENCE_S)
        wait_until(lambda: len(located(Server(broker))) == 2, "the dataset that lacks a part")
    entries = [entry.entry_id for entry in index_entries(Server(broker), ADDRESS) if entry.header is not None]
    wait_until(lambda: sharing.pool.bytes_of(State.FULL), "the segment's return")
    for entry_id in entries[:-1]:
        release(broker, entry_id)
        assert collect(sharing, broker) > 0
    with Consumer(ADDRESS, broker=broker) as consumer:
        parts = [bytes(part.payload) for part in consumer.read(2).parts]
        assert parts == [b"", payload(2)]
        assert [bytes(part.payload) for part in consumer.read(1).parts] == [b"one"]
    release(broker, "9-0")
    assert collect(sharing, broker) == 0


def outgoing(message_id: int) -> Outgoing:
    """A message as it is before anybody has looked at its payload."""
    data = payload(message_id)
    return Outgoing(message_id, None, pack_header(len(data), 0, 0), data, len(data), Future())


def test_batches_overlap_and_one_whose_answer_is_lost_is_sent_again_before_those_after_it(
    sharing: SharingService, broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every third answer is lost while the next batch is stored already: all arrive once, in order, unchanged."""
    n_answers = itertools.count(1)
    lose_answers(monkeypatch, lambda _: next(n_answers) % 3 == 0)
    monkeypatch.setattr(sender, "SHARED_BATCH_BYTES", MIB // 2)
    n_messages, n_bytes = 24, MIB // 4
    with Producer(ADDRESS, broker=broker, tier="shared") as producer:
        told = [producer.send(i, payload(i, n_bytes)) for i in range(1, n_messages + 1)]
        assert {future.result(PATIENCE_S) for future in told} == {"sent"}
        assert producer.counts.n_sent == n_messages
        producer.finish()
    assert next(n_answers) > 6
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert [(frame.message_id, bytes(frame.payload)) for frame in consumer] == [
            (i, payload(i, n_bytes)) for i in range(1, n_messages + 1)
        ]
    release(broker, f"{n_messages}-0")
    wait_until(lambda: not collect(sharing, broker), "the segments' return")


def test_what_was_not_answered_for_when_the_connection_ended_is_stored_again(
    sharing: SharingService, broker: str
) -> None:
    messages = [outgoing(1), outgoing(2)]
    one = storing.Storing(Server(broker), StreamKeys(ADDRESS), "shared")
    one.store(messages, "life")
    first = one.location(messages[0])
    assert first is not None
    for message in messages:
        assert message.checksum == xxhash.xxh3_64_intdigest(message.payload), "found while it was copied"
        assert decode_header(message.header).checksum == message.checksum
    for client in list(sharing._clients):
        client.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: one.is_lost, "the end of the connection")
    one.store(messages, "life")
    again = one.location(messages[0])
    assert again is not None
    assert again.segment != first.segment
    wait_until(lambda: sharing.pool.bytes_of(State.LEFT), "the first segment, left")
    assert again.offset == HEAD_BYTES
    one.close()
    wait_until(lambda: not sharing.pool.bytes_of(State.LENT), "the second")
    assert not sharing.pool.bytes_of(State.FULL), "nobody knows what of it is in the index"


def test_what_is_sent_through_the_server_after_all_gets_its_checksum_there(
    sharing: SharingService, broker: str
) -> None:
    one = storing.Storing(Server(broker), StreamKeys(ADDRESS), "auto")
    first, second = outgoing(1), outgoing(2)
    assert one.store([first], "life") == 1
    assert one.location(first) is not None
    sharing.close()
    wait_until(lambda: one.is_lost, "the end of the broker")
    assert one.store([first, second], "life") == 2
    for message in (first, second):
        assert one.location(message) is None
        assert decode_header(message.header).checksum == xxhash.xxh3_64_intdigest(message.payload)
        assert Server(broker).call("GET", StreamKeys(ADDRESS).payload(*message.payload_id)) == message.payload
    one.close()
