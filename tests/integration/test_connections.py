"""Connections to a server: through TLS, and to servers that answer what they should not; on real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme

from beamstream import Address, Consumer, Producer
from beamstream.errors import BeamstreamError, BufferFullError, ServerRefusedError, ServerUnavailableError
from beamstream.protocol import wire
from beamstream.protocol.connections import Connections, MovedError
from beamstream.receipt import make_receipt
from beamstream.testing.waiting import wait_until
from beamstream_broker.embedded import EmbeddedServer

ADDRESS = Address("bt", "det", "run")
PIECE_BYTES = 1 << 16

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Listen = Callable[..., int]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Have somebody talk to whoever connects, through TLS if there is a context for it; returns the port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    servers: list[asyncio.Server] = []

    def begin(talk: Talk, context: ssl.SSLContext | None = None) -> int:
        starting = asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
        servers.append(asyncio.run_coroutine_threadsafe(starting, loop).result())
        port: int = servers[-1].sockets[0].getsockname()[1]
        return port

    async def end() -> None:
        for server in servers:
            server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)  # what was closed is gone after the loop's next round

    yield begin
    asyncio.run_coroutine_threadsafe(end(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    return authority


@pytest.fixture
def through_tls(server: EmbeddedServer, broker: str, listen: Listen, authority: trustme.CA) -> str:
    """The server's URL for those who come through TLS, without what they are to trust."""
    path = urlsplit(server.url).path

    async def hand_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.closing(sink), contextlib.suppress(OSError):
            while data := await source.read(PIECE_BYTES):
                sink.write(data)
                await sink.drain()

    async def relay(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        far = await asyncio.open_unix_connection(path)
        await asyncio.gather(hand_on(source, far[1]), hand_on(far[0], sink))

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return f"rediss://127.0.0.1:{listen(relay, context)}"


@pytest.mark.parametrize("n_bytes", [100, 300_000])
def test_a_stream_goes_through_tls(through_tls: str, tmp_path: Path, n_bytes: int) -> None:
    url = f"{through_tls}?ssl_ca_certs={tmp_path / 'ca.pem'}"
    sent = {message_id: message_id.to_bytes(4, "big") * (n_bytes // 4) for message_id in range(1, 201)}
    with Producer(ADDRESS, broker=url, tier="memory") as producer:
        for message_id, payload in sent.items():
            producer.send(message_id, payload)
        producer.finish()
    with Consumer(ADDRESS, broker=url, group="g") as consumer:
        assert {frame.message_id: bytes(frame.payload) for frame in consumer} == sent
        assert consumer.read(7).payload == sent[7]
        assert make_receipt(consumer._server, ADDRESS).clean


def test_a_certificate_that_nobody_vouches_for_is_refused(through_tls: str) -> None:
    with pytest.raises(ServerUnavailableError, match="certificate"):
        Producer(ADDRESS, broker=through_tls)


GREETED = (b"CLIENT", b"HELLO", b"SELECT", b"AUTH")


def answering(answer: bytes, *, then_close: bool = False) -> Talk:
    """Answer whatever a client says first like a server, and everything else with this."""

    async def talk(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.closing(sink), contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                n_words = int((await source.readline())[1:] or b"0")
                words = []
                for _ in range(n_words):
                    n_bytes = int((await source.readline())[1:])
                    words.append((await source.readexactly(n_bytes + 2))[:-2])
                if not words:
                    break
                is_greeting = words[0].upper() in GREETED
                sink.write(b"+OK\r\n" if is_greeting else answer)
                await sink.drain()
                if then_close and not is_greeting:
                    break

    return talk


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (b"-ERR no such key\r\n", ServerRefusedError, "refuses: no such key"),
        (b"-NOPERM no permission\r\n", ServerRefusedError, "refuses: no permission"),
        (b"-NOGROUP No such group\r\n", ServerRefusedError, "refuses: NOGROUP No such group"),
        (b"-OOM command not allowed\r\n", BufferFullError, "full"),
        (b"-ERR script: OOM command not allowed\r\n", BufferFullError, "full"),
        (b"-LOADING it reads its files\r\n", ServerUnavailableError, "it reads its files"),
        (b"-TRYAGAIN slots move\r\n", ServerUnavailableError, "on the move: slots move"),
        (b"-MOVED 1 127.0.0.1:1\r\n", MovedError, "elsewhere"),
    ],
)
def test_what_a_server_answers_in_place_of_a_result_is_one_of_our_errors(
    listen: Listen, answer: bytes, kind: type[BeamstreamError], said: str
) -> None:
    url = f"redis://127.0.0.1:{listen(answering(answer))}"
    connections = Connections(url, url)
    for _ in range(2):  # its connection is as good as it was
        with pytest.raises(kind, match=said) as found:
            connections.call("GET", "x")
        assert type(found.value) is kind
    [answered] = connections.pipeline([("GET", "x")])
    assert isinstance(answered, kind)
    connections.close()


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"$5\r\n12", b"*2\r\n$1\r\na\r\n", b"\xff\x00\r\n"]
)
def test_what_is_no_answer_is_a_server_that_is_not_there(listen: Listen, answer: bytes) -> None:
    url = f"redis://127.0.0.1:{listen(answering(answer, then_close=True))}"
    connections = Connections(url, url)
    for attempt in (
        lambda: connections.call("GET", "x"),
        lambda: connections.pipeline([("GET", "x")]),
        lambda: connections.strings(["x", "y"]),
        lambda: connections.each_string(["x"]),
        connections.begin("GET", "x"),
    ):
        with pytest.raises(ServerUnavailableError):
            attempt()
    connections.close()


def test_a_server_that_says_nothing_is_given_up(listen: Listen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "TIMEOUT_S", 0.2)
    url = f"redis://127.0.0.1:{listen(answering(b''))}"
    connections = Connections(url, url)
    with pytest.raises(ServerUnavailableError, match="does not go on"):
        connections.call("GET", "x")
    with pytest.raises(ServerUnavailableError, match="does not go on"):
        connections.strings(["x"])
    connections.close()


def test_who_waits_for_an_answer_is_told_that_the_connections_are_closed(broker: str) -> None:
    connections = Connections(broker, broker)
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            connections.call("BLPOP", "nothing", 10)
        except ServerUnavailableError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    other = Connections(broker, broker)
    wait_until(lambda: b"cmd=blpop" in other.call("CLIENT", "LIST"), "the one who waits")
    connections.close()
    thread.join(5)
    other.close()
    assert len(errors) == 1


@pytest.mark.parametrize("argument", ["é", b"\r\n$1\r\n", bytearray(b"abc"), memoryview(b"abcd")[1:3], 2**60, 1.5])
def test_every_type_of_argument_travels(broker: str, argument: object) -> None:
    connections = Connections(broker, broker)
    wanted = argument if isinstance(argument, bytes | bytearray | memoryview) else str(argument).encode()
    assert connections.call("ECHO", argument) == bytes(wanted)  # type: ignore[arg-type]
    assert connections.pipeline([("ECHO", argument)]) == [bytes(wanted)]  # type: ignore[list-item]
    connections.close()
