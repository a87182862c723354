"""Commands about streams: ls, info, tail, receipt, delete."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from beamstream.address import Address, SourceAddress, is_path, parse_where, split_url
from beamstream.consumer import Consumer
from beamstream.errors import NothingNewError, StreamFinishedError, StreamNotFoundError, UsageError
from beamstream.groups import GroupInfo
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.receipt import Receipt, make_receipt
from beamstream.state import StreamState, read_metadata, read_state
from beamstream.stop import stop_on_signals
from beamstream.streams import delete_stream, list_sources, list_streams, nearest_streams, stream_state

from .options import Broker, Json, StreamAddress, StreamOrPath, Verify
from .output import plain_tree, print_fields, print_rows, size_text, warn_of_flaw


def locate(where: str, broker: str | None) -> tuple[Server, Address]:
    """Return the server and the stream that a command speaks of."""
    url, text = split_url(where)
    return Server(url or broker), Address.parse(text)


def ls(
    where: Annotated[str | None, typer.Argument(metavar="BEAMTIME/SOURCE", help="Only this data source.")] = None,
    broker: Broker = None,
    as_json: Json = False,
) -> None:
    """List the streams on the broker, oldest first.

    Example: stream ls 11012345/eiger --json
    """
    url, text = split_url(where or "")
    server = Server(url or broker)
    sources = [_source(text)] if text else list_sources(server)
    rows = [
        _row(address, stream_state(server, address)) for source in sources for address in list_streams(server, source)
    ]
    if not as_json:
        # People need not look at parts, or at what was declined, where there is none.
        hidden = set() if any(row["n_parts"] > 1 for row in rows) else {"n_parts", "incomplete"}
        hidden |= set() if any(row["declined"] for row in rows) else {"declined"}
        rows = [
            {key: value for key, value in row.items() if key not in hidden} | {"bytes": size_text(row["bytes"])}
            for row in rows
        ]
    print_rows(rows, as_json=as_json, nothing="no streams yet; 'stream demo' makes one")
    warn_of_flaw(server)


def _source(text: str) -> SourceAddress:
    where = parse_where(text)
    return where if isinstance(where, SourceAddress) else where.source_address


def _row(address: Address, state: StreamState) -> dict[str, Any]:
    return {
        "stream": str(address),
        "state": state.word,
        "messages": state.n_received,
        "expected": state.n_expected,
        "missing": state.n_missing,
        "declined": state.n_declined,
        "n_parts": state.n_parts,
        "incomplete": state.n_incomplete,
        "bytes": state.total_bytes,
        "created": _time(state.created_ns),
    }


def _time(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).isoformat(timespec="seconds")


def info(where: StreamAddress, broker: Broker = None, as_json: Json = False) -> None:
    """Show where a stream stands, and its metadata.

    Example: stream info 11012345/eiger/lysozyme_run_042
    """
    server, address = locate(where, broker)
    state = stream_state(server, address)
    metadata = plain_tree(read_metadata(server, StreamKeys(address)) or {})
    fields = {
        "stream": str(address),
        "state": state.word,
        "created": _time(state.created_ns),
        "expected": state.n_expected,
        "received": state.n_received,
        "next_id": state.next_id,
        "held_behind_a_gap": state.n_held,
        "missing": state.n_missing,
        "declined": state.n_declined,
        "n_parts": state.n_parts,
        "min_parts": state.min_parts,
        "incomplete": state.n_incomplete,
        "duplicated": state.n_duplicate,
        "sent_again": state.n_retried,
        "conflicts": state.n_conflict,
        "late": state.n_late,
        "refused": state.n_refused,
        "dropped": state.n_dropped,
        "expired": state.n_expired,
        "kept_for_s": state.retain_s,
        "bytes": state.total_bytes,
        "bytes_in_memory": state.memory_bytes,
        "keep": state.keep,
        "on_disk": state.n_spilled,
        "next_stream": state.next_stream,
    }
    warn_of_flaw(server)
    if as_json:
        typer.echo(json.dumps(fields | {"metadata": metadata}))
    else:
        print_fields(fields, as_json=False)
        typer.echo(f"metadata\n{json.dumps(metadata, indent=2)}")


def tail(
    where: StreamAddress,
    number: Annotated[
        int, typer.Option("--number", "-n", min=0, help="How many of the last messages to begin with.")
    ] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    broker: Broker = None,
    as_json: Json = False,
) -> None:
    """Show the last messages of a stream, a line each.

    Example: stream tail 11012345/eiger/lysozyme_run_042 --follow
    """
    server, address = locate(where, broker)
    first = max(1, stream_state(server, address).next_id - number)
    with stop_on_signals() as stop, Consumer(address, broker=server.url, start=first) as consumer:
        while not stop.is_set():
            try:
                frame = consumer.next(1.0 if follow else 0.3)
            except NothingNewError:
                if follow:
                    continue
                return
            except StreamFinishedError as error:
                typer.echo(str(error), err=True)
                return
            header = frame.header
            fields = {
                "id": frame.message_id,
                "time": datetime.fromtimestamp(header.timestamp_ns / 1e9, UTC).isoformat(timespec="milliseconds"),
                "bytes": header.payload_bytes,
                "codec": header.codec,
                "dtype": header.dtype,
                "shape": list(header.shape or ()),
                "late": frame.late,
                "metadata": plain_tree(header.metadata),
            }
            if header.parts:
                fields["parts"] = {part.part: plain_tree(part.metadata) for part in header.parts}
            typer.echo(json.dumps(fields) if as_json else "  ".join(f"{value}" for value in fields.values()))
    raise typer.Exit(stop.exit_status)


def receipt(where: StreamOrPath, verify: Verify = False, broker: Broker = None, as_json: Json = False) -> None:
    """Draw up a stream's receipt: expected, received, missing, duplicated, written, and the checksum over all.

    Ends with status 1 where the stream is not clean: open, or something is missing.

    Example: stream receipt 11012345/eiger/lysozyme_run_042 --json; stream receipt spill/11012345/eiger/run_042
    """
    drawn = _draw_receipt(where, broker, verify)
    if as_json:
        typer.echo(json.dumps(drawn.as_dict()))
    else:
        print_receipt(drawn)
    raise typer.Exit(0 if drawn.clean else 1)


def _draw_receipt(where: str, broker: str | None, verify: bool) -> Receipt:
    if is_path(where):
        from beamstream.offline import path_receipt  # and with it NumPy, for files only

        return path_receipt(where, verify=verify)
    if verify:
        raise UsageError(f"--verify reads files, and {where!r} is no path; a broker's readers verify what they get")
    server, address = locate(where, broker)
    stream_state(server, address)
    return make_receipt(server, address)


def print_receipt(drawn: Receipt) -> None:
    """Print a receipt for people."""
    missing = ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in drawn.missing[:10])
    more = f" and {len(drawn.missing) - 10} more ranges" if len(drawn.missing) > 10 else ""
    print_fields(
        {
            "stream": drawn.address,
            "state": drawn.state,
            "expected": drawn.expected,
            "received": drawn.received,
            "missing": f"{drawn.n_missing}" + (f" ({missing}{more})" if missing else ""),
            **({"declined": drawn.declined} if drawn.declined else {}),
            **_incomplete(drawn),
            "duplicated": drawn.duplicated,
            "late": drawn.late,
            "dropped": drawn.dropped,
            **({"expired": drawn.expired} if drawn.expired else {}),
            "written": drawn.written,
            "file": drawn.file,
            "bytes": size_text(drawn.payload_bytes),
            "checksum": drawn.checksum,
            "clean": drawn.clean,
        },
        as_json=False,
    )
    if drawn.groups:
        typer.echo()
        print_rows([_group_row(group) for group in drawn.groups], as_json=False, nothing="")


def _group_row(group: GroupInfo) -> dict[str, Any]:
    return {
        "group": group.name,
        "delivered": group.n_delivered,
        "redelivered": group.n_redelivered,
        "dead": group.n_dead,
        "skipped": group.n_skipped,
        "passed_over": group.n_passed_over,
        "pending": group.n_pending,
        "lag": group.lag_messages,
    }


def _incomplete(drawn: Receipt) -> dict[str, Any]:
    """Return what people are told of datasets; nothing where messages have no parts."""
    if drawn.n_parts == 1:
        return {}
    lacking = ", ".join(f"part {part} of {count}" for part, count in list(drawn.missing_parts.items())[:10])
    more = f" and {len(drawn.missing_parts) - 10} more parts" if len(drawn.missing_parts) > 10 else ""
    return {
        "parts": drawn.n_parts,
        "incomplete": f"{drawn.incomplete}" + (f" (missing: {lacking}{more})" if lacking else ""),
    }


def delete(
    where: StreamAddress,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    broker: Broker = None,
) -> None:
    """Delete a stream from the broker, with its payloads and groups; files stay, its segments too.

    Example: stream delete 11012345/eiger/lysozyme_run_042 --yes
    """
    server, address = locate(where, broker)
    state = read_state(server, StreamKeys(address))
    if state is None:
        raise StreamNotFoundError(str(address), nearest_streams(server, address))
    if not yes:
        if not typer.get_text_stream("stdin").isatty():
            raise UsageError(f"{address} holds {state.n_received} message(s); say --yes to delete it")
        if not typer.confirm(f"Delete {address} with {state.n_received} message(s)?"):
            raise typer.Exit(1)
    folder: bytes | None = server.call("HGET", StreamKeys(address).state, "spill_folder")
    typer.echo(f"{address}: {delete_stream(server, address)} message(s) deleted")
    if folder is not None:
        typer.echo(f"its segments stay in {os.fsdecode(folder)}")


def add_to(app: typer.Typer) -> None:
    """Add these commands to the root."""
    for command in (ls, info, tail, receipt, delete):
        app.command()(command)
