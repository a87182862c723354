"""The connections to one server, and where their exceptions become ours.

A module of its own because redis-py takes longer to import than all of ours: `client` imports it when the first
`Server` is made, and a simulated detector or `--help` never does.
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from beamstream.errors import BeamstreamError, BufferFullError, ServerRefusedError, ServerUnavailableError

from .buffers import SHARED
from .packing import Argument
from .receiving import receive_each, receive_strings
from .wire import TIMEOUT_S, AnsweredError, Wire

CONNECT_TIMEOUT_S = 3.0
"""How long connecting may take [s]; a LAN answers within milliseconds."""

ON_THE_MOVE = ("ASK", "TRYAGAIN", "CLUSTERDOWN")
"""What a node of a cluster answers while slots move or nodes are lost; its caller tries again later."""

SAYS_NOTHING = frozenset(("ERR", "NOAUTH", "NOPERM", "READONLY", "EXECABORT", "CROSSSLOT"))
"""Codes in front of an error that tell people nothing which its text does not."""

TROUBLES = (redis.RedisError, OSError, UnicodeError)
"""What is raised where a command comes to no answer."""


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
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=CONNECT_TIMEOUT_S,
            # The callers retry themselves, visibly; a hidden retry would double what is counted.
            retry=Retry(NoBackoff(), 0),
        )
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._idle: list[Wire] = []
        self._all: weakref.WeakSet[Wire] = weakref.WeakSet()

    def call(self, *arguments: Argument) -> Any:
        """Run one command and return its answer as the server gives it."""
        return self._use(_run, arguments)

    def begin(self, *arguments: Argument) -> Callable[[], Any]:
        """Send one command; returns what reads its answer, to be called once."""
        return self._begin_with(arguments, Wire.read)

    def pipeline(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Run several commands in one round trip; an answer that is an error comes back as one of ours, not raised."""

        def run(wire: Wire) -> list[Any]:
            wire.send_all(commands)
            return [self._answer(wire) for _ in commands]

        answers: list[Any] = self._use(run)
        return answers

    def strings(self, keys: Sequence[str]) -> Sequence[bytes | memoryview | None]:
        """Get the strings under some keys; each comes from the socket into its place, and is not copied again."""

        def get(wire: Wire) -> Any:
            wire.send(("MGET", *keys))
            found = None if wire.plain is None else receive_strings(wire.plain, SHARED)
            return wire.read() if found is None else found

        answer: Sequence[bytes | memoryview | None] = self._use(get)
        return answer

    def each_string(self, keys: Sequence[str]) -> list[bytes | memoryview | MovedError | None]:
        """Get the strings under some keys, each by a command of its own, as the nodes of a cluster want it."""

        def get(wire: Wire) -> tuple[list[Any], list[Any]]:
            wire.send_all([("GET", key) for key in keys])
            found: list[Any] = [] if wire.plain is None else receive_each(wire.plain, len(keys), SHARED)
            return found, [self._answer(wire) for _ in range(len(found), len(keys))]

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
            self._idle, wires = [], list(self._all)
        for wire in wires:
            wire.close()

    def _begin_with(self, command: Sequence[Argument], read: Callable[..., Any], *more: Any) -> Callable[[], Any]:
        wire = self._take()
        try:
            wire.send(command)
        except TROUBLES as error:
            wire.close()
            raise self._unavailable(error) from error
        return partial(self._finish, wire, read, *more)

    def _use(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return self._finish(self._take(), work, *arguments)

    def _finish(self, wire: Wire, work: Callable[..., Any], *arguments: Any) -> Any:
        """Work with a connection; one that did not come to an answer is in an unknown state, and closed."""
        try:
            answer = work(wire, *arguments)
        except AnsweredError as error:
            self._idle.append(wire)
            raise self._refusal(str(error)) from error
        except TROUBLES as error:
            wire.close()
            raise self._unavailable(error) from error
        except BaseException:
            wire.close()
            raise
        self._idle.append(wire)
        return answer

    def _take(self) -> Wire:
        """Return a connection that nobody uses; one that the server has closed meanwhile is not."""
        if self._pid != os.getpid():  # a child of a fork: the connections are its parent's
            self._begin()
        while self._idle:
            try:
                wire = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if not wire.has_word:
                return wire
            wire.close()
        try:
            wire = Wire(self._maker)
        except redis.AuthenticationError as error:
            raise ServerRefusedError(self._shown_url, str(error)) from error
        except redis.ResponseError as error:
            raise self._refusal(str(error)) from error
        except TROUBLES as error:
            raise self._unavailable(error) from error
        with self._lock:
            self._all.add(wire)
        return wire

    def _answer(self, wire: Wire) -> Any:
        try:
            return wire.read()
        except AnsweredError as error:
            return self._refusal(str(error))

    def _unavailable(self, error: Exception) -> ServerUnavailableError:
        return ServerUnavailableError(self._shown_url, str(error) or type(error).__name__)

    def _refusal(self, text: str) -> ServerRefusedError | BufferFullError | ServerUnavailableError:
        """Turn an error answer into one of ours; a script's carries the code in its text."""
        code, _, said = text.partition(" ")
        if code == "MOVED":
            return MovedError(
                self._shown_url, f"the cluster has the key elsewhere ({said}); let this user ask for CLUSTER SLOTS"
            )
        if code in ON_THE_MOVE:
            return ServerUnavailableError(self._shown_url, f"the cluster is on the move: {said}")
        if code == "LOADING":
            return ServerUnavailableError(self._shown_url, said)
        if code == "OOM" or "OOM command not allowed" in text:
            return BufferFullError(self._shown_url, 0.0)
        return ServerRefusedError(self._shown_url, said if code in SAYS_NOTHING else text)


def _run(wire: Wire, arguments: Sequence[Argument]) -> Any:
    wire.send(arguments)
    return wire.read()


def _run_script(wire: Wire, source: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
    wire.send(("EVALSHA", _digest(source), len(keys), *keys, *arguments))
    return _answer_of_script(wire, source, keys, arguments)


def _answer_of_script(wire: Wire, source: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
    try:
        return wire.read()
    except AnsweredError as error:
        if not str(error).startswith("NOSCRIPT"):
            raise
    return _run(wire, ("EVAL", source, len(keys), *keys, *arguments))


@cache
def _digest(source: str) -> str:
    return hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest()
