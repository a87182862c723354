"""The running connector and everything that is no good message: it counts that, goes on, and loses nothing good."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from beamstream import Consumer
from beamstream.address import SourceAddress
from beamstream.service import Produced, StreamClosed, run_source
from beamstream_producers.eiger import EigerSource
from beamstream_producers.formats.simplon import Image, SimplonError, decode
from beamstream_producers.testing import damaged, hostile_messages

TIMEOUT_S = 30
N_DAMAGED = 300
PARTS_OF_A_SERIES = [8] + [4] * 10 + [1]
MAX_GROWTH_BYTES = 100 << 20
"""How much a connector may grow by what is only claimed on the wire [bytes]."""


def captured_series(folder: Path, version: int) -> list[list[bytes]]:
    """Header, images and end as detectors sent them; of v2 there is one image only."""
    if version == 2:
        return [
            [(folder / f"stream_v2_tickit_eiger16m/{kind}.cbor").read_bytes()] for kind in ("start", "image", "end")
        ]
    parts = (path.read_bytes() for path in sorted((folder / "stream_v1_eigerstreamreceiver/parts").iterdir()))
    return [list(itertools.islice(parts, n_parts)) for n_parts in PARTS_OF_A_SERIES]


def bad_ones(good: list[list[bytes]], n_wanted: int) -> list[list[bytes]]:
    """Return damaged messages that are refused: some damage makes another good message, which is no garbage."""
    dice = random.Random(1)
    bad: list[list[bytes]] = []
    while len(bad) < n_wanted:
        parts = damaged(dice.choice(good), dice)
        try:
            decode(parts)
        except SimplonError:
            bad.append(parts)
    return bad


@pytest.mark.parametrize("version", [1, 2])
def test_captured_messages_that_were_damaged_and_the_whole_corpus_are_counted_and_nothing_good_is_lost(
    broker: str, captured_data: Path, version: int
) -> None:
    good = captured_series(captured_data, version)
    bad = [*bad_ones(good, N_DAMAGED), *hostile_messages().values()]
    random.Random(2).shuffle(bad)
    with zmq.Context() as context, context.socket(zmq.PUSH) as detector:
        detector.linger = 0
        detector.sndtimeo = TIMEOUT_S * 1000
        endpoint = f"tcp://127.0.0.1:{detector.bind_to_random_port('tcp://127.0.0.1')}"
        source = EigerSource(endpoint, n_series=1)

        def send() -> None:
            share = -(-len(bad) // len(good))
            for number, message in enumerate(good):
                for parts in [*bad[number * share : (number + 1) * share], message]:
                    detector.send_multipart(parts)

        sending = threading.Thread(target=send)
        sending.start()
        assert run_source(source, SourceAddress("bt", "eiger"), broker=broker) == 0
        sending.join()
    counters = source.counters()
    assert counters["rejected"] == len(bad)
    assert counters["received"] == len(bad) + len(good)
    assert counters["images"] == len(good) - 2
    stream = decode(good[0]).series_id
    with Consumer(f"bt/eiger/series_{stream:05d}", broker=broker, group="g", timeout_s=TIMEOUT_S) as frames:
        payloads = [bytes(frame.payload) for frame in frames]
    images = [decode(parts) for parts in good[1:-1]]
    assert payloads == [bytes(one.channels["threshold_1"].payload) for one in images if isinstance(one, Image)]


# --- peers that do not even speak ZeroMQ ----------------------------------------------------------------------------

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
_READY = b"\x05READY" + b"\x0bSocket-Type" + struct.pack(">I", 4) + b"PUSH"
READY = b"\x04" + bytes([len(_READY)]) + _READY
HANDSHAKE = GREETING + READY
STEPS = (GREETING, READY)

NONSENSE = {
    "nothing at all": b"",
    "random bytes": random.Random(3).randbytes(4096),
    "zeros": bytes(4096),
    "an HTTP answer": b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    "half a greeting": GREETING[:20],
    "a greeting and random bytes": GREETING + random.Random(4).randbytes(4096),
    "a greeting of a mechanism that there is not": GREETING.replace(b"NULL", b"HASH"),
    "a client of another kind": HANDSHAKE.replace(b"PUSH", b"PAIR"),
    "only a handshake": HANDSHAKE,
    "a frame without its bytes": HANDSHAKE + b"\x00\x10abc",
    "a message without its last part": HANDSHAKE + b"\x01\x02{}\x01\x02{}",
    "half of a long frame": HANDSHAKE + b"\x02" + struct.pack(">Q", 100_000) + bytes(50_000),
    "a frame of 2^63 bytes": HANDSHAKE + b"\x02" + struct.pack(">Q", 2**63) + bytes(100),
    "a frame of 2^64 - 1 bytes": HANDSHAKE + b"\x02" + b"\xff" * 8 + bytes(100),
    "a frame of as many bytes as are allowed": HANDSHAKE + b"\x02" + struct.pack(">Q", 2**30) + bytes(100),
    "a frame with flags that there are not": HANDSHAKE + b"\xff\x01x",
    "a command that there is not": HANDSHAKE + b"\x04\x06\x05HELLO",
}
FORGED_END = HANDSHAKE + b'\x00\x26{"htype":"dseries_end-1.0","series":9}'


class FakeDetector:
    """Says something to whoever connects, and hangs up: each time the next thing, then the good-bye for ever."""

    def __init__(self, sayings: list[bytes]) -> None:
        self.sayings = sayings
        self.n_said = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        for saying in self.sayings:
            connection, _ = self._listener.accept()
            with connection, contextlib.suppress(OSError):  # who does not like what is said hangs up at once
                connection.settimeout(TIMEOUT_S)
                rest = saying
                for step in STEPS if saying.startswith(STEPS[0]) else ():
                    connection.sendall(rest[: len(step)])
                    rest = rest[len(step) :]
                    connection.recv(len(step), socket.MSG_WAITALL)  # the other side's step is as long
                connection.sendall(rest)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
            self.n_said += 1
        self._listener.close()

    def join(self) -> bool:
        self._thread.join(TIMEOUT_S)
        return not self._thread.is_alive()


def push(port: int, messages: list[list[bytes]]) -> threading.Thread:
    """Be the detector that listens on a port in the end, in a thread: nobody takes anything before the source looks."""

    def run() -> None:
        with zmq.Context() as context, context.socket(zmq.PUSH) as detector:
            detector.linger = TIMEOUT_S * 1000
            detector.sndtimeo = TIMEOUT_S * 1000
            detector.bind(f"tcp://127.0.0.1:{port}")
            for parts in messages:
                detector.send_multipart(parts)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread


@pytest.fixture
def listening() -> Iterator[Callable[[int], EigerSource]]:
    """Make the source that connects to a port."""
    sources = []

    def make(port: int) -> EigerSource:
        sources.append(EigerSource(f"tcp://127.0.0.1:{port}", n_series=1))
        return sources[-1]

    yield make
    for source in sources:
        source.close()


def memory_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def test_whatever_a_peer_says_that_is_no_stream_the_connector_connects_again_and_hears_the_detector(
    listening: Callable[[int], EigerSource], captured_data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fake = FakeDetector([*NONSENSE.values(), FORGED_END])
    source = listening(fake.port)
    events = source.events(threading.Event())
    before_bytes = memory_bytes()
    while fake.n_said < len(fake.sayings):
        assert next(events) is None
    assert fake.join()
    assert memory_bytes() - before_bytes < MAX_GROWTH_BYTES
    good = captured_series(captured_data, 1)
    detector = push(fake.port, good)
    happened = [event for event in events if event is not None]
    detector.join(TIMEOUT_S)
    assert [event.message_id for event in happened if isinstance(event, Produced)] == [*range(1, 11)]
    assert happened[-1] == StreamClosed(stream="series_00071", last_id=10, reason="complete")
    # of all that was said, the forged end is the only good message
    counters = source.counters()
    assert counters["received"] - counters["rejected"] == len(good) + 1
    assert counters["end_without_header"] == 1
    assert "does not speak ZeroMQ" in caplog.text


@pytest.mark.parametrize("name", ["half of a long frame", "a message without its last part", "a frame of 2^63 bytes"])
def test_a_connection_that_breaks_in_the_middle_of_a_message_costs_that_message(
    listening: Callable[[int], EigerSource], captured_data: Path, name: str
) -> None:
    good = captured_series(captured_data, 1)

    def on_the_wire(parts: list[bytes]) -> bytes:
        frames = [(b"\x02" if part is parts[-1] else b"\x03", part) for part in parts]
        return b"".join(flags + struct.pack(">Q", len(part)) + part for flags, part in frames)

    broken = NONSENSE[name].removeprefix(HANDSHAKE)
    fake = FakeDetector([HANDSHAKE + b"".join(map(on_the_wire, good[:5])) + broken])
    source = listening(fake.port)
    events = source.events(threading.Event())
    happened = []
    while source.counters().get("received", 0) < 5:
        happened.append(next(events))
    assert fake.join()
    detector = push(fake.port, good[5:])
    happened += events
    detector.join(TIMEOUT_S)
    assert [event.message_id for event in happened if isinstance(event, Produced)] == [*range(1, 11)]
    assert source.counters()["received"] == len(good)
