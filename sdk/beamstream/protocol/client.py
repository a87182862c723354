"""The server as the rest of us sees it: one thin layer that speaks our error tree.

Nothing of redis-py gets past this folder: every call goes through `Server`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from beamstream.address import DEFAULT_BROKER, SCHEMES, hide_password
from beamstream.errors import ServerRefusedError, UsageError

from . import scripts
from .packing import Argument

if TYPE_CHECKING:
    from .cluster import Cluster
    from .connections import Connections

MIN_VERSION = {"valkey": (8, 0), "redis": (7, 0)}
"""Oldest servers that run the scripts (shebang flags, partial auto ids in XADD)."""

URL_OPTIONS = ("db", "username", "password")
"""What a broker's URL may hold behind a ``?``, beside what begins with ``ssl_``."""


def broker_url(url: str | None = None) -> str:
    """Return the URL of the broker: the given one, else `STREAM_BROKER`, else the default."""
    return url or os.environ.get("STREAM_BROKER") or DEFAULT_BROKER


def check_url(url: str) -> None:
    """Check a broker's URL as far as that goes without asking anybody.

    Raises
    ------
    UsageError
        If it makes no sense; the message holds no password.
    """
    parts = urlsplit(url)
    unknown = [name for name in parse_qs(parts.query) if name not in URL_OPTIONS and not name.startswith("ssl_")]
    if parts.scheme not in SCHEMES or "://" not in url:
        flaw = f"it begins with none of {', '.join(f'{scheme}://' for scheme in SCHEMES)}"
    elif parts.scheme == "unix" and not parts.path:
        flaw = "it names no socket; write unix:///path/to/socket"
    elif not _has_port(parts):
        flaw = "its port is no number from 0 to 65535"
    elif unknown:
        flaw = f"nobody knows {unknown[0]!r}; it may hold {', '.join(URL_OPTIONS)} and ssl_…"
    else:
        return
    raise UsageError(f"{hide_password(url)!r} is no broker URL: {flaw}")


def _has_port(parts: SplitResult) -> bool:
    """Whether the port can be one; urllib says so by an exception that quotes it, and it may be a password."""
    try:
        return parts.port is None or parts.port >= 0
    except ValueError:
        return False


class Server:
    """Connections to one server, or to a cluster of them; safe to share between threads.

    Parameters
    ----------
    url : str, optional
        ``redis://host:port``, ``rediss://…`` or ``unix:///path``; default: `STREAM_BROKER` or the local one. Any
        node of a cluster; which others there are is asked when it is first used.

    Raises
    ------
    UsageError
        If the URL makes no sense.
    """

    def __init__(self, url: str | None = None) -> None:
        from .connections import Connections  # and with it redis-py, which takes a while

        self.url = broker_url(url)
        check_url(self.url)
        try:
            self._seed = Connections(self.url, self.shown_url)
        except ValueError as error:
            raise UsageError(f"{self.shown_url!r} is no broker URL: {error}") from error
        self._way: Connections | Cluster | None = None

    @property
    def _connections(self) -> Connections | Cluster:
        """The way to the one server, or to all nodes of a cluster; asked for on the first call."""
        if self._way is None:
            from .cluster import Cluster  # as above

            is_cluster = self._seed.cluster_slots() is not None
            self._way = Cluster(self._seed, self.url, self.shown_url) if is_cluster else self._seed
        return self._way

    @property
    def nodes(self) -> tuple[str, ...]:
        """Where the nodes of a cluster listen, as ``host:port``; empty where the server is none."""
        return tuple(map(str, getattr(self._connections, "nodes", ())))

    @property
    def shown_url(self) -> str:
        """The URL without its password, for messages and logs."""
        return hide_password(self.url)

    def call(self, *arguments: Argument) -> Any:
        """Run one command and return its answer as the server gives it (lists and bytes, no client-side reshaping)."""
        return self._connections.call(*arguments)

    def begin(self, *arguments: Argument) -> Callable[[], Any]:
        """Send one command, and return what reads its answer: to be called once, and soon, by whoever has begun."""
        return self._connections.begin(*arguments)

    def pipeline(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Run several commands in one round trip; an answer that is an error comes back as one of ours, not raised."""
        return self._connections.pipeline(commands) if commands else []

    def call_all(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Run several commands in one round trip; the first answer that is an error is raised, after all were run."""
        answers = self.pipeline(commands)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def strings(self, keys: Sequence[str]) -> Sequence[bytes | memoryview | None]:
        """Return the strings under some keys, None where there is none; large ones as views of where they came to."""
        return self._connections.strings(keys) if keys else []

    def script(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Any:
        """Run one of the scripts of `protocol.scripts`."""
        return self._connections.script(scripts.source(name), keys, arguments)

    def begin_script(self, name: str, keys: Sequence[str], arguments: Sequence[Argument]) -> Callable[[], Any]:
        """Have one of the scripts of `protocol.scripts` run, as `begin`."""
        return self._connections.begin_script(scripts.source(name), keys, arguments)

    def check(self) -> str:
        """Return the server's kind and version, e.g. ``valkey 9.1.2``.

        Raises
        ------
        ServerUnavailableError
            If nobody answers.
        ServerRefusedError
            If the server is older than `MIN_VERSION` or wants another password.
        """
        fields = self._info()
        kind = "valkey" if "valkey_version" in fields else "redis"
        version = fields.get(f"{kind}_version", "0.0")
        if tuple(int(part) for part in version.split(".")[:2]) < MIN_VERSION[kind]:
            oldest = ".".join(map(str, MIN_VERSION[kind]))
            raise ServerRefusedError(
                self.shown_url, f"{kind} {version} is too old, {kind} {oldest} is the oldest that works"
            )
        return f"{kind} {version}"

    def run_id(self) -> str:
        """Return what names this run of the server: another one after every start."""
        return self._info().get("run_id", "")

    def _info(self) -> dict[str, str]:
        text = self.call("INFO", "server").decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)

    def close(self) -> None:
        """Close all connections."""
        (self._way or self._seed).close()
