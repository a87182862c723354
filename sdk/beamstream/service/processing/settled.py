"""What a group has done with, as the streams made from its stream need to know: ids for which nothing will come.

A derived stream has the ids of its source, in order, whichever member has made which message. A member publishes what
it made before it acknowledges. So what the group was given and holds no more, dead letters, skipped messages and gaps
included, is in the derived stream by now or will never be; what somebody holds, or what is to be delivered again, may
still come. Nothing here rests on a clock.
"""

from __future__ import annotations

from dataclasses import dataclass

from beamstream.address import Address
from beamstream.errors import ServerRefusedError
from beamstream.groups.listing import as_map
from beamstream.protocol import StreamKeys, fields_of, read_entry
from beamstream.protocol.client import Server

LOOK_AHEAD = 500
"""Ids looked at in one go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """Ids for which a group will not bring forth anything any more.

    Attributes
    ----------
    declined : list of int
        Those that were declined in the group's stream.
    missing : list of int
        All others: they never came there, or the group has given them up. What was made of them is among them, too:
        whoever states them finds that they are there.
    """

    declined: list[int]
    missing: list[int]

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self.declined or self.missing)


NOTHING = Settled(declined=[], missing=[])


def waited_for(server: Server, derived: Address, last_id: int | None = None) -> range:
    """Return the ids that keep others of a stream waiting, or its end, where that is to come behind `last_id`."""
    keys = StreamKeys(derived)
    next_id, lowest = server.call_all([("HGET", keys.state, "next"), ("ZRANGE", keys.held, 0, 0, "WITHSCORES")])
    first_id = int(next_id or 1)
    if lowest:
        return range(first_id, int(float(lowest[1])))
    return range(first_id, (last_id or 0) + 1)


def settled(server: Server, source: Address, group: str, ids: range) -> Settled:
    """Return those of some ids that a group has done with; of very many only the first.

    Parameters
    ----------
    server : Server
        Where the stream is.
    source : Address
        The stream that the group reads.
    group : str
        The group.
    ids : range
        What is asked for; asked for *before* this call, see `waited_for`.

    Raises
    ------
    ServerError
        If the server cannot be asked.
    """
    if not ids:
        return NOTHING
    ids = ids[:LOOK_AHEAD]
    keys = StreamKeys(source)
    try:
        position = _position(server, keys, group)
        ids = range(ids.start, min(ids.stop, position + 1))
        if not ids:
            return NOTHING
        pending = _pending(server, keys, group, ids)
    except ServerRefusedError:  # the group, or the stream, is gone: nobody can say
        return NOTHING
    declined = _declined(server, keys, ids)
    done = [message_id for message_id in ids if message_id not in pending]
    return Settled(
        declined=[message_id for message_id in done if message_id in declined],
        missing=[message_id for message_id in done if message_id not in declined],
    )


def _position(server: Server, keys: StreamKeys, group: str) -> int:
    """Return the position of the last entry that the group was given; 0 where there is no such group."""
    for flat in server.call("XINFO", "GROUPS", keys.index):
        about = as_map(flat)
        if _text(about["name"]) == group:
            return int(_text(about["last-delivered-id"]).partition("-")[0])
    return 0


def _pending(server: Server, keys: StreamKeys, group: str, ids: range) -> set[int]:
    """Return the ids that a member holds, or that are to be delivered again; late ones stand elsewhere."""
    first, last = f"{ids.start}-0", f"{ids.stop - 1}-0"
    found: set[int] = set()
    while page := server.call("XPENDING", keys.index, group, first, last, LOOK_AHEAD):
        for entry_id, *_ in page:
            position, _, number = _text(entry_id).partition("-")
            if number == "0":
                found.add(int(position))
        first = "(" + _text(page[-1][0])
    return found


def _declined(server: Server, keys: StreamKeys, ids: range) -> set[int]:
    """Return the ids that were declined; each gap stands at its last id, which may lie behind those asked for."""
    found: set[int] = set()
    for entry_id, flat in server.call("XRANGE", keys.index, f"{ids.start}-0", "+", "COUNT", len(ids)):
        entry = read_entry(entry_id, fields_of(flat))
        if entry.gap is not None and entry.gap.is_declined:
            found.update(range(max(ids.start, entry.gap.first_id), min(ids.stop, entry.gap.last_id + 1)))
        if entry.message_id >= ids.stop and not entry.late:
            break
    return found


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
