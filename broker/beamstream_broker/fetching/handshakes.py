"""Connections that end before they have spoken ZeroMQ: port scanners, browsers, other people's detectors."""

from __future__ import annotations

import zmq
from zmq.utils.monitor import parse_monitor_message

_WATCHED = zmq.EVENT_ACCEPTED | zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_DISCONNECTED


class Handshakes:
    """Watches a socket's connections; not thread-safe.

    Attributes
    ----------
    monitor : zmq.Socket
        Is readable when there is something for `note`.
    """

    def __init__(self, watched: zmq.Socket[bytes]) -> None:
        self._watched = watched
        self._greeted: set[int] = set()
        self.monitor: zmq.Socket[bytes] = watched.get_monitor_socket(_WATCHED)

    def note(self) -> bool:
        """Take note of what happened; True where a connection ended that never spoke ZeroMQ."""
        event = parse_monitor_message(self.monitor.recv_multipart())
        connection = int(event["value"])
        if event["event"] == zmq.EVENT_ACCEPTED:
            self._greeted.add(connection)
            return False
        was_open = connection in self._greeted
        self._greeted.discard(connection)
        return was_open and event["event"] == zmq.EVENT_DISCONNECTED

    def close(self) -> None:
        """Watch no more."""
        self._watched.disable_monitor()
        self.monitor.close(0)
