"""The connections to one server: all of redis-py that we use, and where its exceptions become ours.

A module of its own because redis-py takes longer to import than all of ours: `client` imports it when the first
`Server` is made, and a simulated detector or `--help` never does.
"""

from __future__ import annotations

import hashlib
import os
import select
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from beamstream.errors import BeamstreamError, BufferFullError, ServerRefusedError, ServerUnavailableError

from .buffers import SHARED
from .packing import Argument, pack_commands
from .receiving import receive_each, receive_strings
from .sending import limit_waiting, send_pieces

SOCKET_TIMEOUT_S = 15.0
"""How long one answer may take [s]; blocking reads ask for at most a second, so this means that the server is gone."""

CONNECT_TIMEOUT_S = 3.0
"""How long connecting may take [s]; a LAN answers within milliseconds."""

READ_BYTES = 256 << 10
"""What is read from a socket at once [bytes]: a little more than Linux lets wait in a Unix socket; four times
redis-py's own value, which costs a fifth of the rate at 1 MB."""


ON_THE_MOVE = (
    redis.exceptions.AskError,
    redis.exceptions.TryAgainError,
    redis.exceptions.ClusterDownError,
)
"""What a node of a cluster answers while slots move or nodes are lost; its caller tries again later."""


TROUBLES = (redis.RedisError, OSError, UnicodeError)
"""What redis-py raises where a command comes to no answer, or to an error."""


class MovedError(ServerRefusedError):
    """A node of a cluster says that another one has the key; `cluster` follows it where it may ask for the map."""


class Connections:
    """The connections to one server; safe to share between threads.

    They are kept here and not in redis-py's pool: what that does for each call costs half as much as the call.

    Parameters
    ----------
    url : str
        ``redis://host:port``, ``rediss://…`` or ``unix:///path``.
    shown_url : str
        What error messages call it.

    Raises
    ------
    ValueError
        If the URL makes no sense.
    """

    def __init__(self, url: str, shown_url: str) -> None:
        self._shown_url = shown_url
        self._maker = redis.ConnectionPool.from_url(
            url,
            protocol=2,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_read_size=READ_BYTES,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            # The callers retry themselves, visibly; a hidden retry would double what is counted.
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=_greet,
        )
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._idle: list[Any] = []
        self._all: weakref.WeakSet[Any] = weakref.WeakSet()

    def call(self, *arguments: Argument) -> Any:
        """Run one command and return its answer as the server gives it."""
        return self._use(_run, arguments)

    def begin(self, *arguments: Argument) -> Callable[[], Any]:
        """Send one command; returns what reads its answer, to be called once."""
        return self._begin_with(arguments, _answer_of)

    def pipeline(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Run several commands in one round trip; an answer that is an error comes back as one of ours, not raised."""

        def run(connection: Any) -> list[Any]:
            _send(connection, pack_commands(commands))
            return [self._answer(connection) for _ in commands]

        answers: list[Any] = self._use(run)
        return answers

    def strings(self, keys: Sequence[str]) -> Sequence[bytes | memoryview | None]:
        """Get the strings under some keys; each comes from the socket into its place, and is not copied again."""

        def get(connection: Any) -> Any:
            connection.send_command("MGET", *keys)
            sock = _plain_socket(connection)
            found = None if sock is None else receive_strings(sock, SOCKET_TIMEOUT_S, SHARED)
            return connection.read_response() if found is None else found

        answer: Sequence[bytes | memoryview | None] = self._use(get)
        return answer

    def each_string(self, keys: Sequence[str]) -> list[bytes | memoryview | MovedError | None]:
        """Get the strings under some keys, each by a command of its own, as the nodes of a cluster want it."""

        def get(connection: Any) -> tuple[list[Any], list[Any]]:
            _send(connection, pack_commands([("GET", key) for key in keys]))
            sock = _plain_socket(connection)
            found: list[Any] = [] if sock is None else receive_each(sock, len(keys), SOCKET_TIMEOUT_S, SHARED)
            return found, [self._answer(connection) for _ in range(len(found), len(keys))]

        found, answers = self._use(get)
        for answer in answers:
            if isinstance(answer, BeamstreamError) and not isinstance(answer, MovedError):
                raise answer
        return [*found, *answers]

    def cluster_slots(self) -> list[Any] | None:
        """Return which node of a cluster has which slots; None where this is no cluster."""
        try:
            answer: list[Any] = self.call("CLUSTER", "SLOTS")
        except ServerRefusedError:  # it is none, or does not say so to us
            return None
        return answer

    def script(self, source: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run a script; its text travels only where the server does not know it yet."""
        return self._use(_run_script, source, keys, arguments)

    def begin_script(self, source: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Callable[[], Any]:
        """Have a script run, as `begin`; where the server does not know it, it is run when the answer is read."""
        command = ("EVALSHA", _digest(source), len(keys), *keys, *arguments)
        return self._begin_with(command, _answer_of_script, source, keys, arguments)

    def close(self) -> None:
        """Close all connections, also those that somebody waits at."""
        with self._lock:
            self._idle, connections = [], list(self._all)
        for connection in connections:
            connection.disconnect()

    def _begin_with(self, command: Sequence[Argument], read: Callable[..., Any], *more: Any) -> Callable[[], Any]:
        connection = self._take()
        try:
            connection.send_command(*command)
        except TROUBLES as error:
            connection.disconnect()
            raise self._translated(error) from error
        return partial(self._finish, connection, read, *more)

    def _use(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return self._finish(self._take(), work, *arguments)

    def _finish(self, connection: Any, work: Callable[..., Any], *arguments: Any) -> Any:
        """Work with a connection; one that did not come to an answer is in an unknown state, and closed."""
        try:
            answer = work(connection, *arguments)
        except redis.ResponseError as error:
            self._idle.append(connection)
            raise self._translated(error) from error
        except TROUBLES as error:
            connection.disconnect()
            raise self._translated(error) from error
        except BaseException:
            connection.disconnect()
            raise
        self._idle.append(connection)
        return answer

    def _take(self) -> Any:
        """Return a connection that nobody uses; one that the server has closed meanwhile is not."""
        if self._pid != os.getpid():  # a child of a fork: the connections are its parent's
            self._begin()
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if not _has_word(connection):
                return connection
            connection.disconnect()
        connection = self._maker.connection_class(**self._maker.connection_kwargs)
        try:
            connection.connect()
        except TROUBLES as error:
            raise self._translated(error) from error
        with self._lock:
            self._all.add(connection)
        return connection

    def _answer(self, connection: Any) -> Any:
        try:
            return connection.read_response()
        except redis.exceptions.OutOfMemoryError:
            return BufferFullError(self._shown_url, 0.0)
        except redis.ResponseError as error:
            return self._refusal(error)

    def _translated(self, error: Exception) -> BeamstreamError:
        """Turn what went wrong into one of our errors."""
        if isinstance(error, redis.AuthenticationError | redis.exceptions.NoPermissionError):
            return ServerRefusedError(self._shown_url, str(error))
        if isinstance(error, redis.exceptions.OutOfMemoryError):
            return BufferFullError(self._shown_url, 0.0)
        if isinstance(error, redis.RedisError) and not isinstance(error, redis.ConnectionError | redis.TimeoutError):
            return self._refusal(error)
        return ServerUnavailableError(self._shown_url, str(error) or type(error).__name__)

    def _refusal(self, error: redis.RedisError) -> ServerRefusedError | BufferFullError | ServerUnavailableError:
        """Turn an error answer into one of ours; a script's carries the code in its text."""
        text = str(error)
        if isinstance(error, redis.exceptions.MovedError):
            return MovedError(
                self._shown_url, f"the cluster has the key elsewhere ({text}); let this user ask for CLUSTER SLOTS"
            )
        if isinstance(error, ON_THE_MOVE):
            return ServerUnavailableError(self._shown_url, f"the cluster is on the move: {text}")
        if text.startswith("OOM") or "OOM command not allowed" in text:
            return BufferFullError(self._shown_url, 0.0)
        return ServerRefusedError(self._shown_url, text)


def _greet(connection: Any) -> None:
    """Set up a new connection: its socket, then what redis-py says to a server first."""
    sock = _plain_socket(connection)
    if sock is not None:
        limit_waiting(sock)
    connection.on_connect()


def _run(connection: Any, arguments: Sequence[Argument]) -> Any:
    connection.send_command(*arguments)
    return connection.read_response()


def _answer_of(connection: Any) -> Any:
    return connection.read_response()


def _run_script(connection: Any, source: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
    connection.send_command("EVALSHA", _digest(source), len(keys), *keys, *arguments)
    return _answer_of_script(connection, source, keys, arguments)


def _answer_of_script(connection: Any, source: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
    try:
        return connection.read_response()
    except redis.exceptions.NoScriptError:
        return _run(connection, ("EVAL", source, len(keys), *keys, *arguments))


def _send(connection: Any, pieces: Iterator[bytes | memoryview]) -> None:
    sock = _plain_socket(connection)
    if sock is None:
        connection.send_packed_command(pieces)
    else:
        send_pieces(sock, pieces, SOCKET_TIMEOUT_S)


def _has_word(connection: Any) -> bool:
    """Whether a connection that nobody uses has something to say: that can only be its end."""
    poll = select.poll()
    try:
        poll.register(_socket_of(connection), select.POLLIN)
        return bool(poll.poll(0))
    except (OSError, ValueError, TypeError):  # it is closed
        return True


def _plain_socket(connection: Any) -> socket.socket | None:
    """Return a connection's socket if bytes can go through it as they are."""
    sock = _socket_of(connection)
    return sock if isinstance(sock, socket.socket) and not isinstance(sock, ssl.SSLSocket) else None


def _socket_of(connection: Any) -> Any:
    """Return a connection's socket; redis-py has no public name for it."""
    return getattr(connection, "_sock", None)


@cache
def _digest(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
