"""Dead letters: messages that a group gave up, with what went wrong.

A letter is a reference: the message stays in the stream, but nothing keeps its payload in memory for the letter's sake.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import msgpack

from beamstream.address import Address
from beamstream.errors import EntryError, MessageNotFoundError
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server

from .listing import check_group
from .members import PARKED

PAGE = 500
"""Letters handled with one call: below a millisecond in which the server does nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A message that a group gave up.

    Attributes
    ----------
    message_id : int
        The message.
    entry_id : str
        Its entry in the index.
    n_deliveries : int
        How often it was delivered.
    time_s : float
        When it was given up, by the server's clock [s since 1970].
    member : str
        Who gave it up.
    why : str
        What went wrong the last time, e.g. a traceback.
    """

    message_id: int
    entry_id: str
    n_deliveries: int
    time_s: float
    member: str
    why: str


def list_dead_letters(server: Server, address: Address, group: str) -> list[DeadLetter]:
    """Return a group's dead letters in order of their messages.

    Raises
    ------
    GroupNotFoundError
        If there is no such group.
    """
    return _letters(server, check_group(server, address, group), group)


def _letters(server: Server, keys: StreamKeys, group: str) -> list[DeadLetter]:
    flat = server.call("HGETALL", keys.dead(group))
    letters = [read_letter(entry_id, packed) for entry_id, packed in zip(flat[::2], flat[1::2], strict=True)]
    return sorted(letters, key=lambda letter: (letter.message_id, letter.entry_id))


def read_letter(entry_id: bytes, packed: bytes) -> DeadLetter:
    """Read a letter as the scripts pack it.

    Raises
    ------
    EntryError
        If it is none.
    """
    try:
        message_id, n_deliveries, time_ms, member, why = msgpack.unpackb(packed, unicode_errors="replace")
        return DeadLetter(
            message_id=int(message_id),
            entry_id=entry_id.decode(),
            n_deliveries=int(n_deliveries),
            time_s=float(time_ms) / 1000,
            member=str(member),
            why=str(why),
        )
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise EntryError(f"dead letter {entry_id!r:.60}", str(error)) from error


def reinject_dead_letters(
    server: Server, address: Address, group: str, message_ids: Collection[int] | None = None
) -> list[int]:
    """Put messages back into their group's delivery, due at once and with attempts from 1 again.

    Parameters
    ----------
    message_ids : collection of int, optional
        Only these; by default all.

    Returns
    -------
    list of int
        The messages that were put back; those that are not in the index any more stay dead letters.

    Raises
    ------
    GroupNotFoundError
        If there is no such group.
    MessageNotFoundError
        If one of `message_ids` is no dead letter.
    """
    keys = check_group(server, address, group)
    entries = _chosen(server, keys, group, message_ids)
    names = list(entries)
    done: list[int] = []
    for start in range(0, len(names), PAGE):
        answer = server.script("reinject", keys.delivery(group), [group, PARKED, *names[start : start + PAGE]])
        done += [entries[entry_id.decode()] for entry_id in answer]
    return done


def purge_dead_letters(
    server: Server, address: Address, group: str, message_ids: Collection[int] | None = None
) -> list[int]:
    """Forget dead letters; the group's count of what it gave up stays.

    Raises
    ------
    GroupNotFoundError
        If there is no such group.
    MessageNotFoundError
        If one of `message_ids` is no dead letter.
    """
    keys = check_group(server, address, group)
    entries = _chosen(server, keys, group, message_ids)
    names = list(entries)
    for start in range(0, len(names), PAGE):
        server.call("HDEL", keys.dead(group), *names[start : start + PAGE])
    return list(entries.values())


def _chosen(server: Server, keys: StreamKeys, group: str, message_ids: Collection[int] | None) -> dict[str, int]:
    """Return the message ids of the chosen letters, by entry id."""
    letters = {letter.entry_id: letter.message_id for letter in _letters(server, keys, group)}
    if message_ids is None:
        return letters
    for message_id in sorted(set(message_ids) - set(letters.values())):
        raise MessageNotFoundError(str(keys.address), message_id, f"it is no dead letter of group {group}")
    return {entry_id: message_id for entry_id, message_id in letters.items() if message_id in message_ids}
