"""What a producer says to the server's script `publish`, and what that answers."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from functools import partial

from beamstream.frame import Payload
from beamstream.protocol import StreamKeys, locate_header
from beamstream.protocol.client import Server
from beamstream.protocol.packing import Argument

from .queue import Outgoing
from .storing import Storing


class Status(enum.IntEnum):
    """What the publish script answers per message; the numbers are the protocol's."""

    APPENDED = 0
    HELD = 1
    DUPLICATE = 2
    CONFLICT = 3
    LATE = 4
    REFUSED = 5
    RELEASED = 6


SENT: dict[int, str] = {
    Status.APPENDED: "sent",
    Status.HELD: "sent",
    Status.LATE: "late",
    Status.DUPLICATE: "duplicate",
    Status.RELEASED: "duplicate",
}
"""What a future is told of a message that is in the stream."""

WITHOUT_USE: frozenset[int] = frozenset({Status.CONFLICT, Status.REFUSED, Status.RELEASED})
"""Answers after which the payload that was stored for the message serves nobody."""


WAITING = frozenset({Status.HELD, Status.DUPLICATE})
"""Answers to messages that may wait behind a gap: to one that is sent again, the second."""


class Publishing:
    """Publishes messages of one stream whose payloads are stored; not thread-safe.

    Parameters
    ----------
    server : Server
        The broker's server.
    keys : StreamKeys
        The stream's.
    storing : Storing
        Where the payloads were put.
    inline_bytes : int
        Payloads up to this size travel inside the index entry [bytes].
    """

    def __init__(self, server: Server, keys: StreamKeys, storing: Storing, inline_bytes: int) -> None:
        self._server = server
        self._keys = keys
        self._storing = storing
        self._inline_bytes = inline_bytes

    def has_key(self, message: Outgoing) -> bool:
        """Whether a payload has a key of its own; those of parts have, whatever their size."""
        return message.part > 0 or message.payload_bytes > self._inline_bytes

    def publish(self, batch: Sequence[Outgoing], life: str, *, again: bool) -> list[int]:
        """Publish messages.

        Parameters
        ----------
        life : str
            The life of the stream in which their payloads were stored.
        again : bool
            Whether the server may have taken them before.

        Returns
        -------
        list of int
            The next id, how many messages are held, whether the end is written, how many messages the index has, then a
            `Status` for each message.

        Raises
        ------
        ServerError
            If it cannot be done; calling `again` is safe.
        """
        answer: list[int] = self._server.script("publish", self._keys.sequence, self._arguments(batch, life, again))
        return answer

    def prepare(self, batch: Sequence[Outgoing], life: str) -> Callable[[], Callable[[], list[int]]]:
        """Return what has them published, and returns what waits for the answer; both raise what `publish` would."""
        arguments = self._arguments(batch, life, again=False)
        return partial(self._server.begin_script, "publish", self._keys.sequence, arguments)

    def settle(self) -> int:
        """Have the server look whether an open gap is to be passed over; returns how many messages are held."""
        n_held: int = self._server.script("publish", self._keys.sequence, [0])[1]
        return n_held

    def _arguments(self, batch: Sequence[Outgoing], life: str, again: bool) -> list[Argument]:
        arguments: list[Argument] = [f"{int(again)} {life}"]
        for message in batch:
            inline: Payload = message.payload
            header = message.header
            if self.has_key(message):
                inline = b""
                location = self._storing.location(message)
                header = header if location is None else locate_header(header, location)
            name = f"{message.message_id}:{message.part}" if message.part else message.message_id
            arguments += (name, header, inline)
        return arguments
