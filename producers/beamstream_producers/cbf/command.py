"""`stream produce cbf`: folders of CBF files on the command line."""

from __future__ import annotations

import contextlib
import logging
import time
from pathlib import Path
from typing import Annotated

import typer

from beamstream.address import Address, parse_where
from beamstream.cli.options import DEFAULT_BUFFER, Broker, Buffer, KeepText, MetricsPort, Retain, TierText
from beamstream.durations import NEVER, parse_duration
from beamstream.errors import UsageError
from beamstream.keep import DEFAULT_KEEP
from beamstream.producer import DEFAULT_TIER
from beamstream.service import parse_upkeep, run_source
from beamstream.service.allocation import keep_freed_memory

from .files import DEFAULT_PATTERN, Folders
from .known_streams import KnownStreams
from .options import CbfOptions
from .removal import Remover
from .source import CbfSource
from .zones import VARIABLE, find_zone

log = logging.getLogger(__name__)

FolderPaths = Annotated[
    list[Path], typer.Argument(metavar="FOLDER...", help="Where the files are, or will be.", show_default=False)
]
To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="BEAMTIME/SOURCE[/STREAM]",
        help="The data source whose streams are written; with STREAM, one scan becomes that stream.",
        show_default=False,
    ),
]
Follow = Annotated[bool, typer.Option("--follow", help="Wait for files; else end when all that are there are sent.")]
Pattern = Annotated[str, typer.Option(metavar="PATTERN", help="Which names are taken, e.g. 'scan_*.cbf'.")]
Recursive = Annotated[bool, typer.Option("--recursive", help="Look into sub-folders, too.")]
IdleTimeout = Annotated[
    float | None,
    typer.Option(
        metavar="S", min=0.1, help="With --follow: a scan has ended after so many seconds without a file.",
        show_default="never",
    ),
]  # fmt: skip
Frames = Annotated[
    int | None,
    typer.Option(metavar="N", min=1, help="How many images a scan has: it ends with them.", show_default="unknown"),
]
Scans = Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after N scans.", show_default="never")]
FirstNumber = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=0, help="Number of the file that is message 1.", show_default="the lowest that is there"
    ),
]
NewerThan = Annotated[
    str | None,
    typer.Option(
        metavar="TIME", help="Leave files alone that were last written longer ago, e.g. 1h.", show_default="take all"
    ),
]
Timezone = Annotated[
    str | None,
    typer.Option(
        envvar=VARIABLE,
        metavar="ZONE",
        help="Whose local time the files' time stamps are, e.g. Europe/Berlin.",
        show_default="this machine's",
    ),
]
Convert = Annotated[bool, typer.Option("--convert", help="Pack pixels anew as bslz4; else bytes stay as they are.")]
Remove = Annotated[bool, typer.Option("--remove", help="Delete each file when its message is safe; see --keep.")]


def cbf(
    folders: FolderPaths,
    to: To,
    broker: Broker = None,
    follow: Follow = False,
    pattern: Pattern = DEFAULT_PATTERN,
    recursive: Recursive = False,
    idle_timeout: IdleTimeout = None,
    frames: Frames = None,
    scans: Scans = None,
    first_number: FirstNumber = None,
    newer_than: NewerThan = None,
    timezone: Timezone = None,
    convert: Convert = False,
    remove: Remove = False,
    keep: KeepText = DEFAULT_KEEP,
    retain: Retain = None,
    buffer: Buffer = DEFAULT_BUFFER,
    tier: TierText = DEFAULT_TIER,
    metrics_port: MetricsPort = None,
) -> None:
    """Bring in folders of CBF files (PILATUS): full ones, or with --follow those that fill; each scan becomes a stream.

    A scan are the files NAME_NUMBER.cbf of one folder. Started again, it goes on where it was stopped.

    Examples:

    stream produce cbf /data/run_042 --to 11012345/pilatus

    stream produce cbf /ramdisk/current --to 11012345/pilatus --follow --timezone Europe/Berlin --idle-timeout 60

    stream produce cbf /ramdisk/current --to 11012345/pilatus/run_042 --follow --frames 3600 --remove --keep all
    """
    keep_freed_memory()
    where = parse_where(to)
    upkeep = parse_upkeep(keep, retain, buffer, tier)
    if not follow and idle_timeout is not None:
        raise UsageError("--idle-timeout says how long files are waited for; say --follow, too")
    newer_than_s = parse_duration(newer_than or NEVER)
    options = CbfOptions(
        stream=where.name if isinstance(where, Address) else None,
        follow=follow,
        n_frames=frames,
        idle_timeout_s=idle_timeout,
        n_scans=scans,
        first_number=first_number,
        newer_than_ns=0 if newer_than_s is None else time.time_ns() - int(newer_than_s * 1e9),
        zone=find_zone(timezone),
        convert=convert,
    )
    places = Folders(folders, pattern, recursive=recursive)
    data_source = where.source_address if isinstance(where, Address) else where
    if remove and upkeep.keep != "all":
        log.warning("files are deleted when their messages are in the server's memory; with --keep all, on its disk")
    with contextlib.ExitStack() as stack:
        remover = stack.enter_context(Remover()) if remove else None
        source = CbfSource(places, options, known=KnownStreams(data_source, broker), remover=remover)
        status = run_source(
            source,
            data_source,
            broker=broker,
            metrics_port=metrics_port,
            upkeep=upkeep,
        )
    raise typer.Exit(status)
