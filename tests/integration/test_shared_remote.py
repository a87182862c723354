"""Consumers that cannot reach the broker's shared memory read what lies there through its fetch service, by themselves.

Most of these consumers are of this process: their server is a relay that changes one thing in what it hands on, the
name of the broker's socket, so that nobody listens there for them, as for a consumer of another host. One is in another
network namespace, where that is so without a relay. They see no files either, see `test_fetching`.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from beamstream import Address, Consumer, Producer
from beamstream.errors import NothingNewError, SharedMemoryElsewhereError
from beamstream.fetch import parse_endpoint
from beamstream.presence import read_presence
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.testing.waiting import wait_until
from beamstream_broker.embedded import EmbeddedServer
from beamstream_broker.testing import BrokerProcess

ADDRESS = Address("bt", "det", "run")
PAYLOAD_BYTES = 256 << 10
SHARED = "40MiB"
"""More than two batches of a producer."""
N_MESSAGES = 400
"""100 MiB of payloads, more than twice what shared memory holds."""

MINE = "/proc/self/cwd/spill"
NAME = re.compile(rb"beamstream-[0-9a-f]{32}")
ELSEWHERE = Path(__file__).with_name("elsewhere_process.py")


def payload(message_id: int) -> bytes:
    return message_id.to_bytes(8, "big") * (PAYLOAD_BYTES // 8)


class Relay:
    """Hands on what comes on a listening socket, and what is answered, with one change in the latter."""

    def __init__(
        self, listener: socket.socket, connect: Callable[[], socket.socket], change: Callable[[bytes], bytes]
    ) -> None:
        self._listener = listener
        self._connect = connect
        self._change = change
        self._open: list[socket.socket] = [listener]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = self._connect()
                except OSError:  # there is nobody now
                    near.close()
                    continue
                self._open += [near, far]
                for source, sink, change in ((near, far, bytes), (far, near, self._change)):
                    self._threads.append(threading.Thread(target=_hand_on, args=(source, sink, change)))
                    self._threads[-1].start()

    def close(self) -> None:
        for one in self._open:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in self._open:
            one.close()


def _hand_on(source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes]) -> None:
    with suppress(OSError):
        while data := source.recv(1 << 20):
            sink.sendall(change(data))
    for one in (source, sink):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def server() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(memory_bytes=64 << 20) as server:
        yield server


@pytest.fixture
def service(server: EmbeddedServer, tmp_path: Path) -> Iterator[BrokerProcess]:
    broker = BrokerProcess(tmp_path, "--shared-memory", SHARED, attach=server.url)
    yield broker
    broker.kill()


@pytest.fixture
def own_service(tmp_path: Path) -> Iterator[BrokerProcess]:
    broker = BrokerProcess(tmp_path, "--shared-memory", SHARED, memory="256MiB")
    yield broker
    broker.kill()


@pytest.fixture
def far(service: BrokerProcess, tmp_path: Path) -> Iterator[str]:
    """The server's URL for those who cannot reach the broker's shared memory."""
    with seen_from_afar(service.url, tmp_path / "far") as url:
        yield url


@contextmanager
def seen_from_afar(server_url: str, path: Path) -> Iterator[str]:
    def connect() -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(server_url.removeprefix("unix://"))
        except OSError:
            connection.close()
            raise
        return connection

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()
    relay = Relay(listener, connect, lambda data: NAME.sub(b"beamstream-" + 32 * b"0", data))
    yield f"unix://{path}"
    relay.close()


def produce(url: str, ids: range, *, last: bool = True, **options: object) -> None:
    settings = {"tier": "shared", **options}
    with Producer(ADDRESS, broker=url, n_expected=N_MESSAGES, **settings) as producer:  # type: ignore[arg-type]
        for message_id in ids:
            producer.send(message_id, payload(message_id))
        if last:
            producer.finish()
        else:
            producer.flush()
        assert producer.counts.n_failed == 0


def consume(consumer: Consumer) -> list[int]:
    ids = []
    for frame in consumer:
        assert frame.payload == payload(frame.message_id)
        ids.append(frame.message_id)
    assert (consumer.counts.n_skipped, consumer.counts.n_corrupt) == (0, 0)
    return ids


ALL = list(range(1, N_MESSAGES + 1))


def test_groups_far_and_near_read_everything_while_segments_are_used_again(
    service: BrokerProcess, far: str, server: EmbeddedServer
) -> None:
    service.start()
    produce(server.url, range(1, 2), last=False)
    with ExitStack() as stack:
        consumers = [
            stack.enter_context(Consumer(ADDRESS, broker=url, group=group, required=True, prefetch_bytes=2 << 20))
            for url, group in ((far, "far"), (far, "farther"), (server.url, "near"))
        ]
        seen: list[list[int]] = [[], [], []]
        threads = [
            threading.Thread(target=lambda n=n, one=one: seen[n].extend(consume(one)))  # type: ignore[misc]
            for n, one in enumerate(consumers)
        ]
        for thread in threads:
            thread.start()
        produce(server.url, range(2, N_MESSAGES + 1), retry_timeout_s=None)
        for thread in threads:
            thread.join()
        newest = consumers[0].read(N_MESSAGES)
    assert seen == [ALL, ALL, ALL]
    assert newest.payload == payload(N_MESSAGES)
    assert service.metric("shared_reused") > 0
    assert service.metric("fetch_shared") == 2 * N_MESSAGES + 1
    assert make_receipt(Server(server.url), ADDRESS).clean


def test_what_was_spilled_meanwhile_comes_from_the_disk(
    service: BrokerProcess, far: str, server: EmbeddedServer
) -> None:
    service.start("--spill", MINE)
    produce(server.url, range(1, N_MESSAGES + 1), retry_timeout_s=None)
    assert not Path(MINE).exists(), "the test sees the files and would show nothing"
    with Consumer(ADDRESS, broker=far, group="far", required=True) as consumer:
        assert consume(consumer) == ALL
        assert consumer.read(1).payload == payload(1)
    n_shared = service.metric("fetch_shared")
    assert 0 < n_shared < N_MESSAGES
    assert service.metric("fetch_served") >= N_MESSAGES + 1


def test_a_broker_that_is_killed_and_started_again_is_found_again(own_service: BrokerProcess, tmp_path: Path) -> None:
    own_service.start("--spill", MINE)
    url = own_service.url
    produce(url, range(1, 2), last=False, keep="all")
    with (
        seen_from_afar(url, tmp_path / "far") as far,
        Consumer(ADDRESS, broker=far, group="far", required=True, prefetch_messages=4) as consumer,
    ):

        def start_again() -> None:
            wait_until(lambda: consumer.counts.n_reconnects > 2)
            own_service.start("--spill", MINE)

        def produce_rest() -> None:
            """Send most of it while the broker dies, and the last ones by way of the new one's shared memory."""
            produce(url, range(2, N_MESSAGES - 20), last=False, retry_timeout_s=None, tier="auto")
            produce(url, range(N_MESSAGES - 20, N_MESSAGES + 1), retry_timeout_s=None)

        starter = threading.Thread(target=start_again)
        producer = threading.Thread(target=produce_rest)
        producer.start()
        ids = []
        for frame in consumer:
            assert frame.payload == payload(frame.message_id)
            ids.append(frame.message_id)
            if frame.message_id == 40 and starter.ident is None:
                own_service.kill()
                starter.start()
        starter.join()
        producer.join()
        assert consumer.counts.n_skipped == 0
    assert sorted(set(ids)) == ALL
    assert own_service.metric("fetch_shared") > 0


def test_without_the_service_consumers_elsewhere_are_told_and_skip_nothing(
    service: BrokerProcess, far: str, server: EmbeddedServer
) -> None:
    service.start("--fetch", "off")
    produce(server.url, range(1, 11))
    advice = f"the broker on {socket.gethostname()} has it, and no fetch service.*--fetch tcp://0.0.0.0:5557"
    with Consumer(ADDRESS, broker=far, group="far", retry_timeout_s=0.2) as consumer:
        with pytest.raises(SharedMemoryElsewhereError, match=advice) as caught:
            consumer.next()
        assert caught.value.waited_s >= 0.2
        with pytest.raises(SharedMemoryElsewhereError):
            consumer.read(1)
        assert consumer.counts.n_skipped == 0
    with Consumer(ADDRESS, broker=server.url, group="far") as consumer:
        assert sorted(consume(consumer)) == list(range(1, 11))


def test_a_consumer_that_is_closed_while_it_waits_for_the_service_ends_at_once(
    service: BrokerProcess, far: str, server: EmbeddedServer
) -> None:
    service.start()
    produce(server.url, range(1, 11))
    service.kill()
    consumer = Consumer(ADDRESS, broker=far, group="far", retry_timeout_s=None)
    with pytest.raises(NothingNewError):
        consumer.next(timeout_s=0.3)
    consumer.close()


def test_what_is_gone_with_its_broker_is_skipped_and_counted(
    service: BrokerProcess, far: str, server: EmbeddedServer
) -> None:
    service.start()
    produce(server.url, range(1, 11))
    service.kill()
    service.start()
    with Consumer(ADDRESS, broker=far, group="far") as consumer:
        assert list(consumer) == []
        assert consumer.counts.n_skipped == 10


def test_a_consumer_of_another_network_namespace_reads_what_the_service_lets_it_reach(
    service: BrokerProcess, server: EmbeddedServer
) -> None:
    unshare = shutil.which("unshare")
    options = ["--user", "--map-root-user", "--net"]
    if unshare is None or subprocess.run([unshare, *options, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no network namespace can be made here")
    service.start()
    produce(server.url, range(1, 41))
    presence = read_presence(Server(server.url))
    assert presence is not None
    _, _, port = parse_endpoint(presence.fetch)[0].rpartition(":")
    ours, theirs = socket.socketpair()
    with ours, theirs:
        process = subprocess.Popen(
            [unshare, *options, sys.executable, ELSEWHERE, server.url, str(ADDRESS), port, str(theirs.fileno())],
            stdout=subprocess.PIPE, text=True, pass_fds=[theirs.fileno()],
        )  # fmt: skip
        _, descriptors, _, _ = socket.recv_fds(ours, 1, 1)
        listener = socket.socket(fileno=descriptors[0])
        relay = Relay(listener, lambda: socket.create_connection(("127.0.0.1", int(port))), bytes)
        said, _ = process.communicate(timeout=60)
        relay.close()
    refused, *ids = said.splitlines()
    assert f"only the broker's own host, {socket.gethostname()}, reaches that address" in refused
    assert "--fetch tcp://0.0.0.0:5557" in refused
    assert sorted(ids) == sorted(f"{n} True" for n in range(1, 41))
    assert service.metric("fetch_shared") == 40
