"""How far a stream's groups have got, and so what may leave memory. Pure.

Places in an index are Redis stream ids, as pairs of numbers. Acknowledged means: given to a member and not pending.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

Place = tuple[int, int]
"""An entry's id in a Redis stream: ``42-0`` is (42, 0)."""

START: Place = (0, 0)
"""Before the first entry."""

END: Place = (2**53, 0)
"""Behind every entry: message ids are exact in Lua's numbers up to here."""

_MAX_SEQUENCE = 2**64 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupPosition:
    """How far one group is.

    Attributes
    ----------
    name : str
        The group.
    required : bool
        Whether it holds data until it has acknowledged them.
    done : Place
        Everything up to here is acknowledged.
    """

    name: str
    required: bool
    done: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Releasable:
    """What may leave memory.

    Attributes
    ----------
    read : Place
        Up to here every group is done; `START` where no group has come yet.
    unread : Place
        Up to here no required group minds; what lies between the two is counted as dropped.
    holding : tuple of str
        The required groups that keep the rest.
    """

    read: Place
    unread: Place
    holding: tuple[str, ...]


def parse_place(text: bytes | str) -> Place:
    """Read an id as the server writes it.

    Examples
    --------
    >>> parse_place(b"42-0")
    (42, 0)
    """
    first, _, second = (text.decode() if isinstance(text, bytes) else text).partition("-")
    return int(first), int(second or 0)


def format_place(place: Place) -> str:
    """Write an id as the server reads it."""
    return f"{place[0]}-{place[1]}"


def place_before(place: Place) -> Place:
    """Return the last possible place before another one.

    Examples
    --------
    >>> place_before((42, 3))
    (42, 2)
    """
    if place[1] > 0:
        return place[0], place[1] - 1
    return (place[0] - 1, _MAX_SEQUENCE) if place[0] > 0 else START


def acknowledged_up_to(last_delivered: Place, oldest_pending: Place | None) -> Place:
    """Return the place up to which a group has acknowledged everything."""
    return last_delivered if oldest_pending is None else place_before(oldest_pending)


def find_releasable(groups: Iterable[GroupPosition]) -> Releasable:
    """Return what may leave memory, given where the groups are.

    A stream that no group reads yet has nobody who is done with it: all of it counts as unread.
    """
    readers = list(groups)
    required = [group for group in readers if group.required]
    unread = min((group.done for group in required), default=END)
    return Releasable(
        read=min((group.done for group in readers), default=START),
        unread=unread,
        holding=tuple(sorted(group.name for group in required if group.done == unread)),
    )
