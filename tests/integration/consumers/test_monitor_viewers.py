"""Greedy and hostile viewers of the monitor as a process: only their own connections suffer, its memory stays flat."""

from __future__ import annotations

import contextlib
import http.client
import json
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from beamstream import Producer

SOURCE = "11012345/eiger"
SHAPE = (1024, 1024)
PATIENCE_S = 60.0

MESSAGE_BYTES = 2 * SHAPE[0] * SHAPE[1]
"""A picture with all pixels of noise, which nothing packs [bytes]."""

KEPT_PER_FRAME = 5 * MESSAGE_BYTES
"""The last frames are kept, up to a limit: as they came, unpacked with what was made of them, packed again [bytes]."""

ALLOCATOR_BYTES = 32 << 20
"""What an allocator may keep or not, whoever asks [bytes]."""


class Monitor:
    """The process, and what it takes."""

    def __init__(self, broker: str) -> None:
        command = ["-m", "beamstream.cli", "--log-level", "error", "--broker", broker, "consume", "monitor", SOURCE]
        self.process = subprocess.Popen(
            [sys.executable, *command, "--port", "0", "--json", "--no-browser"], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.link = urlsplit(json.loads(self.process.stdout.readline())["urls"]["viewer"])
        self.cookie = self._exchange()
        self.sockets = contextlib.ExitStack()

    def _exchange(self) -> str:
        connection = http.client.HTTPConnection(self.link.netloc, timeout=PATIENCE_S)
        connection.request("GET", f"/?{self.link.query}")
        response = connection.getresponse()
        cookie = (response.getheader("Set-Cookie") or "").partition(";")[0]
        connection.close()
        return cookie

    @property
    def memory_bytes(self) -> int:
        """What it takes of the machine's memory now."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmRSS")))

    def open(self, origin: str | None = None, **options: Any) -> ClientConnection:
        """Open a socket as a page of its own would do, or of another origin."""
        headers = {"Cookie": self.cookie}
        own = f"http://{self.link.netloc}"
        socket = connect(
            f"ws://{self.link.netloc}/ws",
            origin=origin or own,
            additional_headers=headers,
            compression=None,
            max_size=None,
            close_timeout=0,
            **options,
        )
        return self.sockets.enter_context(socket)

    def end(self) -> None:
        self.sockets.close()
        self.process.kill()
        self.process.communicate()


def want(socket: ClientConnection, pane: int = 0, **changes: Any) -> None:
    wish = {
        "t": "pane", "pane": pane, "source": SOURCE, "kind": "frame", "rect": [0, 0, SHAPE[1], SHAPE[0]],
        "canvas": list(SHAPE), "masked": True, "pool": "max", "full": True, "roi": None, "at": None,
    }  # fmt: skip
    socket.send(json.dumps({**wish, **changes}))


class Good:
    """A viewer as pages are."""

    def __init__(self, monitor: Monitor) -> None:
        self.socket = monitor.open()
        self.newest = 0
        want(self.socket)

    def see(self, message_id: int) -> None:
        """Take and acknowledge pictures until one is shown."""
        until_s = time.monotonic() + PATIENCE_S
        while self.newest < message_id:
            assert time.monotonic() < until_s
            message = self.socket.recv(timeout=PATIENCE_S)
            if isinstance(message, bytes):
                (length,) = struct.unpack_from("<I", message)
                header = json.loads(message[4 : 4 + length])
                self.newest = max(self.newest, header["id"])
                self.socket.send(json.dumps({"t": "ack", "pane": header["pane"], "seq": header["seq"]}))


@pytest.fixture
def monitor(broker: str) -> Iterator[Monitor]:
    started = Monitor(broker)
    yield started
    started.end()


@pytest.fixture
def sender(broker: str) -> Iterator[Callable[[], int]]:
    """Sends the next frame, of noise, and returns its id."""
    images = np.random.default_rng(3).integers(0, 60000, (4, *SHAPE), dtype=np.uint16)
    sent = [0]
    with Producer(f"{SOURCE}/run_001", broker=broker) as producer:

        def send() -> int:
            sent[0] += 1
            producer.send_array(sent[0], images[sent[0] % len(images)], codec="none")
            producer.flush()
            return sent[0]

        yield send
        producer.finish(sent[0])


def end_of(socket: ClientConnection) -> tuple[int | None, str | None]:
    """Read on until a connection has ended; return how."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            socket.recv(timeout=PATIENCE_S)
    return socket.close_code, socket.close_reason


def test_greedy_viewers_hold_two_pictures_each_and_nobody_up(monitor: Monitor, sender: Callable[[], int]) -> None:
    good = Good(monitor)
    for _ in range(4):
        good.see(sender())
    before, n_sent = monitor.memory_bytes, 0
    for _ in range(4):
        # 16 that never acknowledge, 15 that read nothing: with the good one as many as there may be.
        greedy = [monitor.open(max_queue=1 if n < 15 else 1000) for n in range(31)]
        for socket in greedy:
            want(socket)
        assert end_of(monitor.open()) == (1013, "32 viewers are connected, which is the limit")
        for _ in range(3):
            good.see(n_sent := sender())
        kept = n_sent * KEPT_PER_FRAME + ALLOCATOR_BYTES
        assert monitor.memory_bytes - before < kept + 31 * 3 * MESSAGE_BYTES, "two pictures each, one on its way"
        for socket in greedy:
            socket.socket.close()  # they vanish without a word
        good.see(n_sent := sender())
    assert monitor.memory_bytes - before < n_sent * KEPT_PER_FRAME + ALLOCATOR_BYTES


@pytest.mark.parametrize(
    ("said", "status"),
    [("x" * (16 << 20), 1009), ("{" * 4000, 1008), ('{"t":"ack","pane":0,"seq":"' + "9" * 900 + '"}', 1008)],
    ids=["16 MiB", "no JSON", "no number"],
)
def test_hostile_words_end_only_the_connection_they_came_by(
    monitor: Monitor, sender: Callable[[], int], said: str, status: int
) -> None:
    good = Good(monitor)
    for _ in range(4):
        good.see(sender())
    before, n_times = monitor.memory_bytes, 10
    for _ in range(n_times):
        hostile = monitor.open()
        with contextlib.suppress(ConnectionClosed):
            hostile.send(said)
        assert end_of(hostile)[0] in (status, 1006), "1006 where it was cut off in the middle of what it said"
        good.see(sender())
    assert monitor.memory_bytes - before < n_times * KEPT_PER_FRAME + ALLOCATOR_BYTES


def test_a_page_of_another_origin_gets_nothing_although_it_has_the_cookie(
    monitor: Monitor, sender: Callable[[], int]
) -> None:
    good = Good(monitor)
    for origin in ("http://evil.example", "null", f"http://evil.example:{monitor.link.port}"):
        with pytest.raises(InvalidStatus) as refused:
            monitor.open(origin=origin)
        assert refused.value.response.status_code == 403
        good.see(sender())
