"""What groups there are on a stream, how far they are and who is in them.

Lag is counted in our own index: every entry says how many messages and bytes the stream had up to it, so gaps count as
nothing and late messages as one. The server's own figures are not used: they are wrong where entries were trimmed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from beamstream.address import Address
from beamstream.errors import GroupNotFoundError, ServerRefusedError
from beamstream.protocol import Entry, EntryKind, StreamKeys, fields_of, read_entry
from beamstream.protocol.client import Server
from beamstream.state import StreamState, read_state

from .members import MEMBER_TIMEOUT_S, NO_GROUP, PARKED
from .position import message_from
from .redelivery import Redelivery

LOOK_BACK = 64
"""Entries looked at for one that can be read: what others wrote into an index stands alone, if at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupInfo:
    """A consumer group on one stream.

    Attributes
    ----------
    required : bool
        Whether it holds data.
    n_members : int
        Members that have shown themselves within the member timeout.
    n_pending : int
        Messages given to members and not acknowledged; those given back included.
    n_delayed : int
        Of these, the ones that were given back and wait for their time.
    position : int
        Last message id that was given to a member.
    n_delivered : int
        Messages up to its position.
    lag_messages, lag_bytes : int
        What it has not been given yet [messages, bytes].
    lag_s : float
        Age of the first message that it has not been given yet, by the time in its header [s]; 0 where there is none.
    oldest_s : float
        Age of the oldest message that it has not acknowledged [s]; 0 where there is none.
    n_redelivered, n_skipped, n_dead, n_passed_over, n_expired : int
        Messages delivered again; whose payload had left memory; given up and not reinjected; passed over by seeking;
        that became older than the stream is kept before the group had acknowledged them.
    max_attempts, delays_s : int, sequence of float
        After how many deliveries a message is given up; how long it waits between them [s].
    report : mapping or None
        What it made of the stream, once it has said so.
    """

    name: str
    required: bool
    n_members: int
    n_pending: int
    n_delayed: int
    position: int
    n_delivered: int
    lag_messages: int
    lag_bytes: int
    lag_s: float
    oldest_s: float
    n_redelivered: int
    n_skipped: int
    n_dead: int
    n_passed_over: int
    n_expired: int
    max_attempts: int
    delays_s: Sequence[float]
    report: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberInfo:
    """A member of a group.

    Attributes
    ----------
    n_pending : int
        Messages in its hands.
    idle_s : float
        Since when it has not shown itself [s].
    alive : bool
        Whether that is less than the member timeout.
    """

    name: str
    n_pending: int
    idle_s: float
    alive: bool


def group_names(server: Server, address: Address) -> list[str]:
    """Return the names of a stream's groups, sorted."""
    return sorted(group["name"].decode() for group in _groups(server, StreamKeys(address)))


def list_groups(server: Server, address: Address) -> list[GroupInfo]:
    """Return the consumer groups of a stream, sorted by name."""
    keys = StreamKeys(address)
    state = read_state(server, keys)
    groups = _groups(server, keys)
    if state is None or not groups:
        return []
    now_s = server_time_s(server)
    found = []
    for group in groups:
        try:
            found.append(_group_info(server, keys, group, state, now_s))
        except ServerRefusedError as error:
            if NO_GROUP not in error.reason:
                raise  # else it was deleted just now
    return sorted(found, key=lambda info: info.name)


def group_info(server: Server, address: Address, name: str) -> GroupInfo:
    """Return one group of a stream.

    Raises
    ------
    GroupNotFoundError
        If there is no such group.
    """
    groups = list_groups(server, address)
    for info in groups:
        if info.name == name:
            return info
    raise GroupNotFoundError(str(address), name, [info.name for info in groups])


def check_group(server: Server, address: Address, name: str) -> StreamKeys:
    """Return the keys of a stream that has this group.

    Raises
    ------
    GroupNotFoundError
        If there is no such group.
    """
    names = group_names(server, address)
    if name not in names:
        raise GroupNotFoundError(str(address), name, names)
    return StreamKeys(address)


def list_members(server: Server, address: Address, name: str) -> list[MemberInfo]:
    """Return the members of a group, sorted by name, the dead ones too while they hold something or are remembered.

    Raises
    ------
    GroupNotFoundError
        If there is no such group.
    """
    keys = check_group(server, address, name)
    members = [as_map(flat) for flat in server.call("XINFO", "CONSUMERS", keys.index, name)]
    return sorted(
        (
            MemberInfo(
                name=member["name"].decode("utf-8", "replace"),
                n_pending=member["pending"],
                idle_s=member["idle"] / 1000,
                alive=_is_alive(member),
            )
            for member in members
            if member["name"] != PARKED.encode()
        ),
        key=lambda member: member.name,
    )


def server_time_s(server: Server) -> float:
    """Return the server's time, by which all of a group's times are decided [s since 1970]."""
    seconds, microseconds = server.call("TIME")
    return int(seconds) + int(microseconds) / 1e6


def _groups(server: Server, keys: StreamKeys) -> list[dict[str, Any]]:
    if not server.call("EXISTS", keys.index):
        return []
    return [as_map(flat) for flat in server.call("XINFO", "GROUPS", keys.index)]


def _group_info(
    server: Server, keys: StreamKeys, group: Mapping[str, Any], state: StreamState, now_s: float
) -> GroupInfo:
    name, place = group["name"].decode(), group["last-delivered-id"].decode()
    about = as_map(server.call("HGETALL", keys.group(name)))
    redelivery = Redelivery.read(about)
    at = _entry_at(server, keys, place)
    undelivered = message_from(server, keys, f"({place}", late=True)
    pending = server.call("XPENDING", keys.index, name)[1]
    oldest = message_from(server, keys, pending.decode(), late=True) if pending else undelivered
    n_delivered, delivered_bytes = (at.n_messages, at.total_bytes) if at else (state.n_expired, state.expired_bytes)
    report = about.get("report")
    return GroupInfo(
        name=name,
        required=about.get("required") == b"1",
        n_members=sum(_is_alive(as_map(flat)) for flat in server.call("XINFO", "CONSUMERS", keys.index, name)),
        n_pending=group["pending"],
        n_delayed=server.call("ZCARD", keys.delayed(name)),
        position=_position(at) if at else min(state.expired_id, int(place.partition("-")[0])),
        n_delivered=n_delivered,
        lag_messages=max(0, state.n_entries - n_delivered) if undelivered else 0,
        lag_bytes=max(0, state.total_bytes - delivered_bytes) if undelivered else 0,
        lag_s=_age_s(undelivered, now_s),
        oldest_s=_age_s(oldest, now_s),
        n_redelivered=int(about.get("n_redelivered", 0)),
        n_skipped=int(about.get("n_skipped", 0)),
        n_dead=int(about.get("n_dead", 0)),
        n_passed_over=int(about.get("n_passed_over", 0)),
        n_expired=int(about.get("n_expired", 0)),
        max_attempts=redelivery.max_attempts,
        delays_s=redelivery.delays_s,
        report=json.loads(report) if report else None,
    )


def _is_alive(member: Mapping[str, Any]) -> bool:
    return bool(member["idle"] < MEMBER_TIMEOUT_S * 1000 and member["name"] != PARKED.encode())


def _position(at: Entry | None) -> int:
    if at is None:
        return 0
    return int(at.entry_id.partition("-")[0]) if at.late else at.message_id


def _age_s(entry: Entry | None, now_s: float) -> float:
    return max(0.0, now_s - entry.header.timestamp_ns / 1e9) if entry and entry.header else 0.0


def _entry_at(server: Server, keys: StreamKeys, place: str) -> Entry | None:
    """Return the newest entry up to a place that can be read."""
    for n_wanted in (1, LOOK_BACK):
        for entry_id, flat in server.call("XREVRANGE", keys.index, place, "-", "COUNT", n_wanted):
            entry = read_entry(entry_id, fields_of(flat))
            if entry.kind is not EntryKind.UNREADABLE:
                return entry
    return None


def as_map(flat: Sequence[Any]) -> dict[str, Any]:
    """Turn the flat list that a server answers into a mapping."""
    return {key.decode(): value for key, value in zip(flat[::2], flat[1::2], strict=True)}
