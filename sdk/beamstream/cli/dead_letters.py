"""Commands about dead letters, the messages that a group gave up: ls, reinject, purge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from beamstream.errors import UsageError
from beamstream.groups import DeadLetter, list_dead_letters, purge_dead_letters, reinject_dead_letters
from beamstream.streams import stream_state

from .options import Broker, GroupName, Json, StreamAddress
from .output import print_fields, print_rows
from .streams import locate

app = typer.Typer(no_args_is_help=True, help="Messages that a group gave up.", callback=lambda: None)

MessageIds = Annotated[
    list[int] | None, typer.Option("--id", metavar="N", min=1, help="This message; may be said several times.")
]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


@app.command()
def ls(where: StreamAddress, group: GroupName, broker: Broker = None, as_json: Json = False) -> None:
    """List what a group gave up: message, deliveries, when, who, and why (JSON: the whole traceback).

    Example: stream dead-letters ls 11012345/eiger/lysozyme_run_042 --group peaks
    """
    server, address = locate(where, broker)
    stream_state(server, address)
    letters = list_dead_letters(server, address, group)
    rows = [asdict(letter) if as_json else _row(letter) for letter in letters]
    print_rows(rows, as_json=as_json, nothing="no dead letters")


def _row(letter: DeadLetter) -> dict[str, str | int]:
    lines = letter.why.strip().splitlines()
    return {
        "message": letter.message_id,
        "deliveries": letter.n_deliveries,
        "time": datetime.fromtimestamp(letter.time_s, UTC).isoformat(timespec="seconds"),
        "member": letter.member,
        "why": lines[-1] if lines else "",
    }


@app.command()
def reinject(
    where: StreamAddress,
    group: GroupName,
    message_ids: MessageIds = None,
    everything: All = False,
    broker: Broker = None,
    as_json: Json = False,
) -> None:
    """Put messages back into their group's delivery, with attempts from 1 again.

    Example: stream dead-letters reinject 11012345/eiger/lysozyme_run_042 --group peaks --id 17 --id 23
    """
    server, address = locate(where, broker)
    stream_state(server, address)
    done = reinject_dead_letters(server, address, group, _chosen(message_ids, everything=everything))
    print_fields({"group": group, "reinjected": len(done)}, as_json=as_json)


@app.command()
def purge(
    where: StreamAddress,
    group: GroupName,
    message_ids: MessageIds = None,
    everything: All = False,
    broker: Broker = None,
    as_json: Json = False,
) -> None:
    """Forget dead letters.

    Example: stream dead-letters purge 11012345/eiger/lysozyme_run_042 --group peaks --all
    """
    server, address = locate(where, broker)
    stream_state(server, address)
    done = purge_dead_letters(server, address, group, _chosen(message_ids, everything=everything))
    print_fields({"group": group, "purged": len(done)}, as_json=as_json)


def _chosen(message_ids: Sequence[int] | None, *, everything: bool) -> Sequence[int] | None:
    """Return the ids, or None for all.

    Raises
    ------
    UsageError
        If both or neither was said.
    """
    if bool(message_ids) == everything:
        raise UsageError("name the messages with --id, or say --all")
    return message_ids or None
