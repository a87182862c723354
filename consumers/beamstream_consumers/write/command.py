"""`stream consume write`: streams to NeXus files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from beamstream.cli.options import Broker, Follow, From, Group, MetricsPort, WhereOrPath, parse_start
from beamstream.service import run_handler

from .handler import WriteHandler
from .paths import DEFAULT_TEMPLATE


def write(
    where: WhereOrPath,
    directory: Annotated[
        Path, typer.Option("--directory", "-d", metavar="DIR", help="Where files are made; made itself if need be.")
    ] = Path(),
    file: Annotated[
        str,
        typer.Option("--file", metavar="TEMPLATE", help="Name of a file, from {beamtime}, {source} and {stream}."),
    ] = DEFAULT_TEMPLATE,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace a finished file of this name once the new one is whole.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every frame back and compare checksums before a file gets its name.")
    ] = False,
    broker: Broker = None,
    group: Group = None,
    start: From = "start",
    follow: Follow = False,
    required: Annotated[
        bool, typer.Option("--required/--best-effort", help="Whether frames stay in memory until they are written.")
    ] = True,
    metrics_port: MetricsPort = None,
) -> None:
    """Write each stream to a NeXus (NXmx) file, the frames as they were compressed.

    A file is called NAME.partial until its stream has ended and all of it is
    on the disk. A writer that was stopped or killed is simply started again:
    it goes on where it was, and frames that come again replace themselves.
    One writer writes a stream.

    Examples:

      stream consume write 11012345/eiger/series_00042 -d /data/raw

      stream consume write 11012345/eiger --follow -d /data --file '{source}/{stream}.nxs'
    """
    handler = WriteHandler(directory, file, overwrite=overwrite, verify=verify)
    status = run_handler(
        handler,
        where,
        broker=broker,
        group=group,
        start=parse_start(start),
        follow=follow,
        required=required,
        metrics_port=metrics_port,
    )
    raise typer.Exit(status)
