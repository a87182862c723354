"""Where the fetch service listens, and under which name others are told to look for it. Pure.

Bound to all interfaces, it is announced under the host's own name: readers on other hosts have to have a name or an
address from somewhere, and of several interfaces nobody here knows which one they reach. Where that name means nothing
to them, `--fetch-host` says another one.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

from beamstream_broker.errors import FetchEndpointError

LOOPBACK = "tcp://127.0.0.1:0"
"""Default: a free port that only this host reaches."""

OFF = "off"
EVERYWHERE = frozenset({"0.0.0.0", "*", "[::]"})  # noqa: S104 (compared with, not listened on)

_ADDRESS = re.compile(r"tcp://(?P<host>\[[0-9A-Fa-f:.]+\]|\*|[A-Za-z0-9._-]+):(?P<port>\d{1,5}|\*)")
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchEndpoint:
    """What the service listens on.

    Attributes
    ----------
    text : str
        As it was given, for messages.
    host, port : str, int
        Interface and port; 0: a free one.
    announced_host : str
        The name under which others reach it.
    """

    text: str
    host: str
    port: int
    announced_host: str

    @property
    def bind_address(self) -> str:
        """What ZeroMQ is told."""
        return f"tcp://{self.host}:{self.port or '*'}"

    def announced(self, port: int) -> str:
        """Return where others reach it, now that it has a port."""
        return f"tcp://{self.announced_host}:{port}"


def parse_fetch(text: str, announced_host: str | None = None) -> FetchEndpoint | None:
    """Read the value of ``--fetch``; None for ``off``.

    Raises
    ------
    FetchEndpointError
        If it is neither that nor ``tcp://ADDRESS:PORT``.
    """
    if text == OFF:
        return None
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise FetchEndpointError(text, "it has to be tcp://ADDRESS:PORT or 'off'")
    port = 0 if match["port"] == "*" else int(match["port"])
    if port > 65535:
        raise FetchEndpointError(text, f"{port} is no TCP port")
    host = "127.0.0.1" if match["host"] == "localhost" else match["host"]
    name = announced_host or (socket.gethostname() if host in EVERYWHERE else host)
    if not _HOST.fullmatch(name):
        raise FetchEndpointError(text, f"{name!r:.80} cannot be the name of a host")
    return FetchEndpoint(text=text, host=host, port=port, announced_host=name)
