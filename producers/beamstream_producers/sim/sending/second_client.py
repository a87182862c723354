"""Another client of the detector, which takes its share: a PULL socket that PUSH deals to like to any other.

It is connected within the process, so that what it was given can be told at once, message by message.
"""

from __future__ import annotations

import itertools

import zmq

_numbers = itertools.count()
"""A name within the process is free again only some time after its socket was closed."""


class SecondClientSocket:
    """Takes messages and forgets them; used by the thread that sends."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], push: zmq.Socket[bytes]) -> None:
        self._push = push
        self._endpoint = f"inproc://second-client-{next(_numbers)}"
        self._pull = context.socket(zmq.PULL)
        self._pull.bind(self._endpoint)
        push.connect(self._endpoint)

    def take(self) -> bool:
        """Take what it was given since the last time; tell whether that was anything."""
        taken = False
        try:
            while True:
                self._pull.recv_multipart(zmq.NOBLOCK, copy=False)
                taken = True
        except zmq.Again:
            return taken

    def close(self) -> None:
        """Leave; nothing is given to it any more."""
        self._push.disconnect(self._endpoint)
        self.take()
        self._pull.close(linger=0)
