"""Set, seek and delete groups. Each is one script, so that members never see half of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from beamstream.address import Address
from beamstream.errors import MembersAliveError
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server

from .listing import as_map, check_group
from .members import MEMBER_TIMEOUT_S, PARKED
from .position import Target, find_target
from .redelivery import Redelivery

_TIMEOUT_MS = int(MEMBER_TIMEOUT_S * 1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seek:
    """What setting a group to another position did, or would do.

    Attributes
    ----------
    applied : bool
        Whether it was done.
    n_again : int
        Messages that were delivered before and will be again.
    n_passed_over : int
        Messages that will not be delivered any more: not given to anybody yet, or given and not acknowledged.
    n_let_go : int
        Messages that were in members' hands, or waited to be delivered again; they are part of one or the other.
    n_alive : int
        Living members.
    position : str
        The entry id behind which the group goes on.
    """

    applied: bool
    n_again: int
    n_passed_over: int
    n_let_go: int
    n_alive: int
    position: str


def seek_group(
    server: Server, address: Address, group: str, target: Target, *, dry_run: bool = False, force: bool = False
) -> Seek:
    """Set a group to another position; it goes on from exactly there.

    What its members hold is let go: an acknowledgement of it has no effect any more. Dead letters that will be
    delivered again are forgotten.

    Parameters
    ----------
    dry_run : bool
        Change nothing, only say what would be.
    force : bool
        Seek although members live; they may still hand out what they fetched ahead.

    Raises
    ------
    GroupNotFoundError
        If there is no such group.
    MembersAliveError
        If members live, and neither `force` nor `dry_run` is set.
    """
    keys = check_group(server, address, group)
    answer = server.script(
        "seek",
        [*keys.delivery(group), keys.state],
        [group, PARKED, find_target(server, keys, target), _TIMEOUT_MS, int(force), int(dry_run)],
    )
    applied, n_again, n_passed_over, n_let_go, n_alive, position = answer
    if not applied and not dry_run:
        raise MembersAliveError(str(address), group, n_alive)
    return Seek(
        applied=bool(applied),
        n_again=n_again,
        n_passed_over=n_passed_over,
        n_let_go=n_let_go,
        n_alive=n_alive,
        position=position.decode(),
    )


def delete_group(server: Server, address: Address, group: str, *, force: bool = False) -> None:
    """Delete a group with its position, dead letters and counts; the messages stay.

    Raises
    ------
    GroupNotFoundError
        If there is no such group.
    MembersAliveError
        If members live, and `force` is not set.
    """
    keys = check_group(server, address, group)
    deleted, n_alive = server.script("drop_group", keys.delivery(group), [group, PARKED, _TIMEOUT_MS, int(force)])
    if not deleted:
        raise MembersAliveError(str(address), group, n_alive)


def change_group(
    server: Server,
    address: Address,
    group: str,
    *,
    max_attempts: int | None = None,
    delays_s: Sequence[float] | None = None,
    required: bool | None = None,
) -> Redelivery:
    """Change a group's attempts, delays, or whether it holds data; what is None stays.

    Holds for what is given back from now on. `required` holds until a member joins who says otherwise.

    Raises
    ------
    GroupNotFoundError
        If there is no such group.
    UsageError
        If the values cannot be meant.
    """
    keys = check_group(server, address, group)
    redelivery = _read(server, keys, group)
    if max_attempts is not None:
        redelivery = replace(redelivery, max_attempts=max_attempts)
    if delays_s is not None:
        redelivery = replace(redelivery, delays_s=tuple(delays_s))
    fields: list[str | int] = ["max_attempts", redelivery.max_attempts, "delays_ms", redelivery.delays_text]
    if required is not None:
        fields += ["required", int(required)]
    server.script("note", [keys.group(group)], ["set", *fields])
    return redelivery


def _read(server: Server, keys: StreamKeys, group: str) -> Redelivery:
    return Redelivery.read(as_map(server.call("HGETALL", keys.group(group))))
