"""Commands about consumer groups: ls, set, seek, delete."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import Annotated, Any

import typer

from beamstream.address import Address
from beamstream.errors import UsageError
from beamstream.groups import (
    GroupInfo,
    Seek,
    change_group,
    delete_group,
    group_info,
    group_names,
    group_rates,
    list_groups,
    list_members,
    parse_target,
    seek_group,
)
from beamstream.groups.listing import server_time_s
from beamstream.groups.redelivery import parse_delays
from beamstream.protocol.client import Server
from beamstream.streams import stream_state

from .options import Broker, GroupName, Json, StreamAddress
from .output import print_fields, print_rows, size_text, warn_of_flaw
from .streams import locate

app = typer.Typer(no_args_is_help=True, help="Consumer groups.", callback=lambda: None)

Force = Annotated[bool, typer.Option("--force", help="Although members live: their messages are let go.")]

SHORT = ("name", "required", "n_members", "n_pending", "n_delayed", "position", "lag_messages", "lag_bytes", "lag_s")
COUNTS = ("oldest_s", "n_redelivered", "n_skipped", "n_passed_over", "n_expired", "n_dead")
"""What the table for people has; JSON has everything."""


@app.command()
def ls(
    where: StreamAddress,
    members: Annotated[bool, typer.Option("--members", help="List the members of the groups instead.")] = False,
    over: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.1, help="Look twice: adds rates and when a group has caught up."),
    ] = None,
    broker: Broker = None,
    as_json: Json = False,
) -> None:
    """List the groups of a stream: how far they are, how far behind, what they redelivered and gave up.

    Example: stream group ls 11012345/eiger/lysozyme_run_042 --over 2
    """
    server, address = locate(where, broker)
    stream_state(server, address)
    if members:
        rows = _member_rows(server, address)
        print_rows(rows, as_json=as_json, nothing="no members; a consumer is one from its first read to its end")
        return
    warn_of_flaw(server)
    rows = _rows(server, address, over, as_json=as_json)
    print_rows(rows, as_json=as_json, nothing="no groups yet; a consumer makes one when it first reads")


def _member_rows(server: Server, address: Address) -> list[dict[str, Any]]:
    return [
        {"group": name, **asdict(member)}
        for name in group_names(server, address)
        for member in list_members(server, address, name)
    ]


def _rows(server: Server, address: Address, over_s: float | None, *, as_json: bool) -> list[dict[str, Any]]:
    before_s, before = server_time_s(server), {info.name: info for info in list_groups(server, address)}
    if over_s is None:
        return [_row(info, as_json=as_json) for info in before.values()]
    time.sleep(over_s)
    between_s = server_time_s(server) - before_s
    return [
        _row(info, as_json=as_json) | asdict(group_rates(before.get(info.name, info), info, between_s))
        for info in list_groups(server, address)
    ]


def _row(info: GroupInfo, *, as_json: bool) -> dict[str, Any]:
    row = asdict(info)
    if as_json:
        return row
    row["lag_bytes"] = size_text(info.lag_bytes)
    return {name: row[name] for name in (*SHORT, *COUNTS)}


@app.command("set")
def set_(
    where: StreamAddress,
    group: GroupName,
    max_attempts: Annotated[
        int | None, typer.Option(min=1, help="Deliveries after which a message goes to the dead letters.")
    ] = None,
    delays: Annotated[
        str | None,
        typer.Option(metavar="SECONDS,…", help="Delays after the first, second, … failed delivery, e.g. 1,5,30."),
    ] = None,
    required: Annotated[
        bool | None, typer.Option("--required/--best-effort", help="Whether it holds data in memory.")
    ] = None,
    broker: Broker = None,
    as_json: Json = False,
) -> None:
    """Change how often a group delivers a message again, after which delays, and whether it holds data.

    Example: stream group set 11012345/eiger/lysozyme_run_042 --group peaks --max-attempts 3 --delays 0.5,10
    """
    server, address = locate(where, broker)
    stream_state(server, address)
    if max_attempts is None and delays is None and required is None:
        raise UsageError("nothing to change; name --max-attempts, --delays, --required or --best-effort")
    change_group(
        server,
        address,
        group,
        max_attempts=max_attempts,
        delays_s=None if delays is None else parse_delays(delays),
        required=required,
    )
    info = group_info(server, address, group)
    fields = {
        "group": info.name,
        "required": info.required,
        "max_attempts": info.max_attempts,
        "delays_s": list(info.delays_s),
    }
    print_fields(fields, as_json=as_json)


@app.command()
def seek(
    where: StreamAddress,
    group: GroupName,
    to: Annotated[
        str,
        typer.Option(
            metavar="start|newest|ID|TIME", help="A message id, an ISO 8601 time, or how long ago, e.g. -10min."
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would do.")] = False,
    force: Force = False,
    broker: Broker = None,
    as_json: Json = False,
) -> None:
    """Set a group to another position; what its members hold is let go.

    Example: stream group seek 11012345/eiger/lysozyme_run_042 --group peaks --to -10min --dry-run
    """
    server, address = locate(where, broker)
    stream_state(server, address)
    target = parse_target(to, round(server_time_s(server) * 1e9))
    done = seek_group(server, address, group, target, dry_run=dry_run, force=force)
    if as_json:
        typer.echo(json.dumps(asdict(done)))
    else:
        typer.echo(_describe(address, group, done))


def _describe(address: Address, group: str, done: Seek) -> str:
    will = "is set" if done.applied else "would be set"
    text = (
        f"{address}: group {group} {will} behind {done.position}: {done.n_again} message(s) delivered again, "
        f"{done.n_passed_over} passed over; {done.n_let_go} were in members' hands and are let go"
    )
    return f"{text}; {done.n_alive} member(s) live" if done.n_alive else text


@app.command()
def delete(
    where: StreamAddress,
    group: GroupName,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    force: Force = False,
    broker: Broker = None,
) -> None:
    """Delete a group with its position and dead letters; the messages stay.

    Example: stream group delete 11012345/eiger/lysozyme_run_042 --group peaks --yes
    """
    server, address = locate(where, broker)
    stream_state(server, address)
    info = group_info(server, address, group)
    if not yes:
        if not typer.get_text_stream("stdin").isatty():
            raise UsageError(f"group {group} has {info.n_pending} pending message(s); say --yes to delete it")
        typer.confirm(f"Delete group {group} with {info.n_pending} pending, {info.n_dead} dead?", abort=True)
    delete_group(server, address, group, force=force)
    typer.echo(f"{address}: group {group} deleted")
