"""What `faults.py` kills: a producer, a consumer, brokers; and a proxy that cuts connections.

Producers and consumers write down what they did with one system call each, so that it is there however they end: a
producer what was reported to it as sent, a consumer what it has worked on, before it acknowledges.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from beamstream import Address, Consumer, Producer
from beamstream.errors import NotKeptError, ServerUnavailableError
from beamstream.payloads import MemoryTier
from broker_process import END_TIMEOUT_S, ProofError

T = TypeVar("T")

RETRY_S = 60.0
MEMBER_TIMEOUT_S = 0.5
"""After so long the messages of a consumer that was killed go to its successor [s]."""

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["fault_processes", "beamstream.producer", "beamstream.consumer", "beamstream.spilled"]
)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one producer and one consumer do.

    Attributes
    ----------
    n_messages, large_bytes : int
        Messages; every second one is as large as that [bytes], the others lie in the index.
    pace_s : float
        Between two messages [s].
    """

    url: str
    address: Address
    folder: Path
    keep: Any
    n_messages: int
    large_bytes: int
    pace_s: float

    def payload(self, message_id: int) -> bytes:
        """Return the bytes of a message; no other has the same."""
        size = self.large_bytes if message_id % 2 else 64
        return random.Random(f"{self.address} {message_id}").randbytes(64) * (size // 64)

    @property
    def sent(self) -> Path:
        """What was reported as sent."""
        return self.folder / "sent"

    @property
    def handled(self) -> Path:
        """What was worked on, and when."""
        return self.folder / "handled"


def note(path: Path, text: str) -> None:
    """Append a line with one system call: the kernel has it, whatever becomes of us."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def lines(path: Path) -> list[list[str]]:
    """Return what was noted."""
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def when_there(make: Callable[[], T]) -> T:
    """Make a producer or a consumer as soon as there is a server to make it with, and somebody who keeps."""
    ends_at = time.monotonic() + RETRY_S
    while True:
        try:
            return make()
        except (ServerUnavailableError, NotKeptError):
            if time.monotonic() > ends_at:
                raise
            time.sleep(0.05)


def produce(work: Work, dies_after_store: int) -> None:
    """Send everything, as one does who does not know what a predecessor did; may die between payload and index."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if dies_after_store:
        _die_after_store(dies_after_store)

    def told(message_id: int, future: Future[str]) -> None:
        if future.exception() is None:
            note(work.sent, str(message_id))

    with when_there(
        lambda: Producer(
            work.address,
            broker=work.url,
            keep=work.keep,
            patience_s=RETRY_S,
            retry_timeout_s=RETRY_S,
            block_timeout_s=None,
            n_expected=work.n_messages,
        )
    ) as producer:
        for message_id in range(1, work.n_messages + 1):
            future = producer.send(message_id, work.payload(message_id))
            future.add_done_callback(lambda done, message_id=message_id: told(message_id, done))
            time.sleep(work.pace_s)
        producer.finish()
        if producer.counts.n_failed:
            note(work.folder / "flaws", f"{producer.counts.n_failed} messages could not be sent")
    note(work.folder / "finished", "producer")


def _die_after_store(number: int) -> None:
    store = MemoryTier.store
    n_stored = 0

    def store_and_die(self: MemoryTier, payloads: Any) -> Any:
        nonlocal n_stored
        answer = store(self, payloads)
        n_stored += 1
        if n_stored >= number:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    MemoryTier.store = store_and_die  # type: ignore[method-assign]


def consume(work: Work, dies_after: int) -> None:
    """Work on everything that the group gets; may die between work and acknowledgement."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with when_there(
        lambda: Consumer(
            work.address,
            broker=work.url,
            group="work",
            required=True,
            wait_for_stream=True,
            member_timeout_s=MEMBER_TIMEOUT_S,
            max_attempts=1000,
            retry_timeout_s=RETRY_S,
        )
    ) as consumer:
        for number, frame in enumerate(consumer, start=1):
            right = frame.payload == work.payload(frame.message_id)
            note(work.handled, f"{frame.message_id} {time.time():.3f} {int(right)}")
            if number == dies_after:
                os.kill(os.getpid(), signal.SIGKILL)
        counts = consumer.counts
        for name in ("n_skipped", "n_corrupt", "n_missing", "n_dead"):
            if getattr(counts, name):
                note(work.folder / "flaws", f"the consumer counts {name} {getattr(counts, name)}")
    note(work.folder / "finished", "consumer")


class Worker:
    """A producer or a consumer that is started again when it was killed."""

    def __init__(self, target: Any, work: Work, dies_after: int = 0) -> None:
        self._target, self._work = target, work
        self.n_starts = 0
        self.start(dies_after)

    def start(self, dies_after: int = 0) -> None:
        """Start it; it kills itself after so many steps."""
        self._process = PROCESSES.Process(target=self._target, args=(self._work, dies_after), daemon=True)
        self._process.start()
        self.n_starts += 1

    def kill(self) -> None:
        """Kill it, and start another one."""
        self._process.kill()
        self._process.join()
        self.start()

    def wait(self, ends_at: float) -> bool:
        """Wait for its end; one that was killed has a successor. False where it takes too long."""
        while True:
            self._process.join(max(0.0, ends_at - time.monotonic()))
            if self._process.exitcode is None:
                self._process.kill()
                self._process.join()
                return False
            if self._process.exitcode == 0:
                return True
            if self._process.exitcode != -signal.SIGKILL:
                note(self._work.folder / "flaws", f"{self._target.__name__} ended with {self._process.exitcode}")
                return False
            self.start()


class Broker:
    """A `stream broker run` that can be killed and started again; its server's socket keeps its name.

    Parameters
    ----------
    folder : Path
        For segments and, where the server is its own, its socket.
    memory : str
        Of its server.
    attach : str, optional
        The server that it looks after; by default one of its own.
    """

    def __init__(self, folder: Path, memory: str, attach: str | None = None) -> None:
        self.spill = folder / "spill"
        self._said = folder / "broker.log"
        self._command = [sys.executable, "-m", "beamstream.cli", "--log-level", "critical"]
        options = ["broker", "run", "--json", "--spill", str(self.spill)]
        socket_path = folder / "socket"
        if attach is None:
            options += ["--memory", memory, "--port", "0", "--socket", str(socket_path)]
            self.url = f"unix://{socket_path}"
        else:
            options += ["--broker", attach]
            self.url = attach
        self._command += options
        self.start()

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        with self._said.open("a") as said:
            self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, stderr=said, text=True)
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise ProofError(
                f"the broker did not start, status {self._process.wait()}: {self._said.read_text()[-2000:]}"
            )
        self.server_pid = json.loads(line)["server_pid"]

    def kill(self) -> None:
        """Kill it; a server of its own ends with it."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def restart(self) -> None:
        """End it in order, and start another one."""
        self.close()
        self.start()

    def close(self) -> None:
        """End it in order."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_TIMEOUT_S)
        self.kill()


class Proxy:
    """Hands everything on to a server's Unix socket, and cuts all connections when it is told to."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._lock = threading.Lock()
        self.n_cut = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._socket_path)
                pair = (client, server)
                with self._lock:
                    self._pairs.add(pair)
                for source, sink in (pair, pair[::-1]):
                    threading.Thread(target=self._pump, args=(pair, source, sink), daemon=True).start()

    def _pump(self, pair: tuple[socket.socket, socket.socket], source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        self._close(pair)

    def _close(self, pair: tuple[socket.socket, socket.socket]) -> bool:
        with self._lock:
            known = pair in self._pairs
            self._pairs.discard(pair)
        for one in pair:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        return known

    def cut(self) -> None:
        """Cut every connection, in the middle of whatever it carries."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            with contextlib.suppress(OSError):
                pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.n_cut += self._close(pair)

    def close(self) -> None:
        """Let nobody in any more."""
        self._listener.close()
        self.cut()


@contextlib.contextmanager
def proxied(url: str) -> Iterator[Proxy]:
    """Run a proxy in front of a server's Unix socket."""
    proxy = Proxy(url.removeprefix("unix://"))
    try:
        yield proxy
    finally:
        proxy.close()
