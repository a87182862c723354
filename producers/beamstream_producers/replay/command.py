"""`stream produce replay`: on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from beamstream.address import Address, parse_where
from beamstream.cli.options import DEFAULT_BUFFER, Broker, Buffer, KeepText, MetricsPort, Retain, TierText
from beamstream.errors import UsageError
from beamstream.keep import DEFAULT_KEEP
from beamstream.offline import open_recording
from beamstream.producer import DEFAULT_TIER
from beamstream.protocol.client import Server
from beamstream.service import parse_upkeep, run_source

from .errors import OtherContentsError
from .pace import parse_pace
from .source import ReplaySource
from .target import Target, look_at_target

RecordedPath = Annotated[
    Path,
    typer.Argument(
        metavar="PATH",
        help="A run in files: a folder with segments, a NeXus file, a detector's master file (#threshold_2 behind it "
        "names a channel), whatever 'stream receipt PATH' knows.",
        show_default=False,
    ),
]
ToStream = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="BEAMTIME/SOURCE[/STREAM]",
        help="Where it goes; the stream is called as it was recorded, or as the file, if none is named.",
        show_default=False,
    ),
]
PaceText = Annotated[
    str,
    typer.Option(
        "--pace",
        metavar="recorded|max|2x|500Hz",
        help="As it was recorded, as fast as it is taken, so many times faster, or so many messages a second.",
    ),
]
FirstId = Annotated[int | None, typer.Option("--from", metavar="ID", min=1, help="Only from this message on.")]
LastId = Annotated[int | None, typer.Option("--until", metavar="ID", min=1, help="Only up to this message.")]


def replay(
    path: RecordedPath,
    to: ToStream,
    broker: Broker = None,
    pace: PaceText = "recorded",
    first: FirstId = None,
    last: LastId = None,
    keep: KeepText = DEFAULT_KEEP,
    retain: Retain = None,
    buffer: Buffer = DEFAULT_BUFFER,
    tier: TierText = DEFAULT_TIER,
    metrics_port: MetricsPort = None,
) -> None:
    """Send a past run through the same consumers: same ids, times, metadata and bytes, same gaps, same end.

    Ctrl-C leaves the stream open; the same command goes on with what is not there yet.

    Examples:

    stream produce replay ./run_042.nxs --to practice/eiger

    stream produce replay /data/run_042_master.h5 --to practice/eiger/again --pace 2x

    stream produce replay spill/11012345/eiger/run_042 --to practice/eiger --pace 500Hz --from 1000 --until 2000
    """
    chosen, upkeep = parse_pace(pace), parse_upkeep(keep, retain, buffer, tier)
    if first is not None and last is not None and first > last:
        raise UsageError(f"--from {first} lies behind --until {last}")
    where = parse_where(to)
    recording = open_recording(path)
    try:
        address = where if isinstance(where, Address) else where.stream(recording.address.name)
        server = Server(broker)
        target = look_at_target(server, address, recording, upkeep.keep)
        server.close()
        source = ReplaySource(recording, address.name, chosen, target, first_id=first, last_id=last)
        if _is_there(source, target):
            typer.echo(f"{address}: all of it is there already, nothing is sent", err=True)
            return
        status = run_source(
            source,
            address.source_address,
            broker=server.url,
            metrics_port=metrics_port,
            upkeep=upkeep,
        )
    finally:
        recording.close()
    raise typer.Exit(status or (1 if source.n_damaged else 0))


def _is_there(source: ReplaySource, target: Target) -> bool:
    """Whether the stream has ended with all that the recording has.

    Raises
    ------
    OtherContentsError
        If it has ended without.
    """
    if target.state is None or not target.state.finished:
        return False
    _, n_wanted = source.progress()
    if target.n_messages < n_wanted:
        raise OtherContentsError(
            str(target.address),
            f"has ended with {target.n_messages} of the {n_wanted} messages that are to be replayed",
        )
    return True
