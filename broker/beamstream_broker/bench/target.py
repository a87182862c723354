"""The broker that is measured: one of our own that lives as long as the bench, or somebody's.

Of somebody's nothing is changed, nobody is disturbed: it has to be idle, and what is sent in one go stays below the
level at which a broker begins to release what others have in memory.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from beamstream.address import Address, SourceAddress
from beamstream.presence import read_presence
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.put_back import put_back
from beamstream.sizes import format_bytes
from beamstream.state import read_state
from beamstream.streams import delete_stream, list_sources, list_streams, newest_streams
from beamstream_broker.embedded import MINIMUM_MEMORY_BYTES
from beamstream_broker.errors import MemoryLimitError
from beamstream_broker.guarded import GuardedChild
from beamstream_broker.memory import HIGH_WATER, measure_memory

from .ceilings import forget_pages
from .errors import BrokerNotIdleError, WorkerFailedError
from .processor_time import used_by_s

READY_TIMEOUT_S = 30.0
"""How long the broker may take to say where it is [s]; it takes a second."""

POLL_S = 0.02

ROOM_SHARE = HIGH_WATER - 0.05
"""Share of somebody's memory that is used with what is sent in one go; above `HIGH_WATER` their broker acts."""

SHARING_ROOM_SHARE = 0.1
"""The same where a broker shares out memory between its server and segments of shared memory (see `sharing.budget`):
what is more than this on the server is taken from the segments, and what others have in them would have to go."""

LEAST_ROOM_BYTES = 64 << 20
"""Least room in somebody's memory with which it is worth while to begin [bytes]."""

IDLE_LOOK_S = 0.5
"""How long somebody's server is watched before it counts as idle [s]."""

IDLE_COMMANDS_PER_S = 500.0
"""Commands that an idle server answers: brokers, monitors and waiting consumers ask some times a second each."""

NEWEST = 4
"""Streams of each source that are looked at: one that grows is among the newest."""

SCAN_KEYS = 1000
"""Keys looked at in one step when somebody's server is cleared of what an interrupted bench has left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A broker, and what may be done with it.

    Attributes
    ----------
    server : Server
        Its server.
    is_ours : bool
        Whether it is one of our own.
    memory_bytes : int
        What its server may use [bytes].
    room_bytes : int
        How much of that may be used for what is sent in one go [bytes].
    child : GuardedChild or None
        Our own broker process.
    pid : int
        Its process id; 0 of one that is not ours.
    spill : Path or None
        Where our own writes segments.
    """

    server: Server
    is_ours: bool
    memory_bytes: int
    room_bytes: int
    child: GuardedChild | None = None
    pid: int = 0
    spill: Path | None = None

    def check(self) -> None:
        """Raise if our own broker has ended.

        Raises
        ------
        WorkerFailedError
            With its last log lines.
        """
        how = self.child.describe_end() if self.child else None
        if how is not None:
            raise WorkerFailedError("broker", how, "", self._log_lines())

    def server_cpu_s(self) -> float:
        """Return what the server, all its threads together, has used of the processors [s]."""
        used = info(self.server, "cpu")
        return float(used["used_cpu_sys"]) + float(used["used_cpu_user"])

    def broker_cpu_s(self) -> float | None:
        """Return what our own broker process has used [s]; None of one that is not ours."""
        if not self.pid:
            return None
        return used_by_s(self.pid)

    def leave_to_disk(self, address: Address) -> None:
        """Have a stream that keeps all lie on disk only, and the kernel forget what it has of the files.

        A stream that was deleted comes back from its segments when it is asked for: index and groups, without payloads.

        Raises
        ------
        WorkerFailedError
            If it does not come back.
        """
        delete_stream(self.server, address)
        if not put_back(self.server, address):
            raise WorkerFailedError("broker", f"it does not put {address} back", "", self._log_lines())
        for path in () if self.spill is None else self.spill.rglob("*.seg"):
            forget_pages(path)

    def _log_lines(self) -> list[str]:
        return self.child.read_log() if self.child else []

    def delete(self, address: Address) -> None:
        """Delete a stream of the bench that nobody uses any more."""
        delete_stream(self.server, address)
        if self.spill is not None:
            shutil.rmtree(self.spill / str(address), ignore_errors=True)

    def delete_all(self, source: SourceAddress) -> None:
        """Delete what the bench has left in somebody's server, once its processes have ended; most often nothing."""
        if self.is_ours:
            return
        for address in list_streams(self.server, source):
            delete_stream(self.server, address)
        # A producer that was ended between the two steps of sending has left payloads without an entry; what it had
        # sent may still be read by the server while we look.
        for pattern in (f"bs1:p:{source}/*", f"{bare_prefix(source)}:*"):
            while self._unlink_all(pattern):
                pass

    def _unlink_all(self, pattern: str) -> int:
        """Delete the keys of a pattern; returns how many there were."""
        cursor, n = b"", 0
        while cursor != b"0":
            cursor, keys = self.server.call("SCAN", cursor or b"0", "MATCH", pattern, "COUNT", SCAN_KEYS)
            n += self.server.call("UNLINK", *keys) if keys else 0
        return n


def bare_prefix(source: SourceAddress) -> str:
    """Return what the keys of the bare redis-py loop begin with."""
    return f"bench:{source}"


@contextlib.contextmanager
def own_broker(memory_bytes: int, folder: Path) -> Iterator[Target]:
    """Run a broker of our own; it and what it writes beneath `folder` are gone afterwards, however we end.

    Raises
    ------
    MemoryLimitError
        If no server can have so much memory.
    WorkerFailedError
        If it does not start.
    """
    if not MINIMUM_MEMORY_BYTES <= memory_bytes <= measure_memory():
        raise MemoryLimitError(memory_bytes, MINIMUM_MEMORY_BYTES, measure_memory())
    home = Path(tempfile.mkdtemp(prefix="stream-bench-", dir=folder))
    spill = home / "spill"
    arguments = ["broker", "run", "--json", "--memory", str(memory_bytes), "--port", "0", "--spill", str(spill)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("STREAM_")}
    spill.mkdir()
    child = GuardedChild(
        command=[sys.executable, "-m", "beamstream.cli", "--log-level", "warning", *arguments],
        environment=environment,
        log=tempfile.TemporaryFile(),  # noqa: SIM115 (lives as long as the child)
        remove=[home],
    )
    try:
        url, pid = _await_ready(child)
        room_bytes = int(memory_bytes * ROOM_SHARE)
        server = Server(url)
        try:
            yield Target(
                server=server,
                is_ours=True,
                memory_bytes=memory_bytes,
                room_bytes=room_bytes,
                child=child,
                pid=pid,
                spill=spill,
            )
        finally:
            server.close()
    finally:
        child.close()


def _await_ready(child: GuardedChild) -> tuple[str, int]:
    """Wait until the broker says where it is; return the server's URL and the broker's process id."""
    ends_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < ends_s:
        for line in child.read_log():
            if line.startswith("{") and line.endswith("}"):
                said = json.loads(line)
                return str(said["url"]), int(said["pid"])
        how = child.describe_end()
        if how is not None:
            raise WorkerFailedError("broker", how, "", child.read_log())
        time.sleep(POLL_S)
    raise WorkerFailedError("broker", f"it did not start within {READY_TIMEOUT_S:g} s", "", child.read_log())


@contextlib.contextmanager
def somebodys_broker(url: str) -> Iterator[Target]:
    """Use a server that is there, if it is idle and has room.

    Raises
    ------
    BrokerNotIdleError
        If it is not.
    ServerUnavailableError, ServerRefusedError
        If it cannot be used.
    """
    server = Server(url)
    try:
        server.check()
        limit_bytes, room_bytes = measure_room(server)
        reason = _why_full(limit_bytes, room_bytes) or _why_busy(server)
        if reason:
            raise BrokerNotIdleError(server.shown_url, reason)
        yield Target(server=server, is_ours=False, memory_bytes=limit_bytes, room_bytes=room_bytes)
    finally:
        server.close()


def info(server: Server, section: str) -> dict[str, str]:
    """Return what a server says of itself."""
    text = server.call("INFO", section).decode("utf-8", "replace")
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)


def measure_room(server: Server) -> tuple[int, int]:
    """Return a server's limit, and how much of it may be used without disturbing anybody [bytes].

    A server without a limit has its machine's memory, of which it is left half.
    """
    memory = info(server, "memory")
    limit_bytes = int(memory["maxmemory"]) or int(memory["total_system_memory"]) // 2
    presence = read_presence(server)
    share = SHARING_ROOM_SHARE if presence is not None and presence.shared else ROOM_SHARE
    return limit_bytes, int(limit_bytes * share) - int(memory["used_memory"])


def _why_full(limit_bytes: int, room_bytes: int) -> str:
    if room_bytes >= LEAST_ROOM_BYTES:
        return ""
    return (
        f"it is full: of its {format_bytes(limit_bytes)} of memory {format_bytes(max(0, room_bytes))} can be used "
        f"without disturbing others, at least {format_bytes(LEAST_ROOM_BYTES)} are needed"
    )


def _why_busy(server: Server) -> str:
    """Return in words who is at work on a server; empty where nobody is."""
    before, n_commands, began_s = _received(server), _commands(server), time.monotonic()
    time.sleep(IDLE_LOOK_S)
    rate_hz = (_commands(server) - n_commands) / (time.monotonic() - began_s)
    growing = [str(address) for address, n in _received(server).items() if n != before.get(address, n)]
    if growing:
        return f"it is busy: {', '.join(growing[:3])} {'are' if len(growing) > 1 else 'is'} being written"
    if rate_hz > IDLE_COMMANDS_PER_S:
        return f"it is busy: it answers {rate_hz:.0f} commands per second, {IDLE_COMMANDS_PER_S:.0f} count as idle"
    return ""


def _received(server: Server) -> dict[Address, int]:
    """Return how many messages the newest streams of all sources have received."""
    received = {}
    for source in list_sources(server):
        for address in newest_streams(server, source, NEWEST):
            state = read_state(server, StreamKeys(address))
            if state is not None:
                received[address] = state.n_received
    return received


def _commands(server: Server) -> int:
    return int(info(server, "stats")["total_commands_processed"])
