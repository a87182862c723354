"""Ports to give to a server that is started in a moment."""

from __future__ import annotations

import contextlib
import secrets
import socket

PORTS = range(20_000, 32_000)
"""Where a port is looked for: below those that Linux gives to whoever asks for any (from 32768), which it might give
away before the server takes it."""

_given: set[int] = set()


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port that nobody has on this machine's loopback interface, TCP unless told otherwise; none twice."""
    while True:
        port = secrets.choice(PORTS)
        if port in _given:
            continue
        _given.add(port)
        with socket.socket(socket.AF_INET, kind) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
