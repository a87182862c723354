"""`stream consume write`: streams to NeXus files."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from beamstream.cli.options import Broker, Follow, From, Group, MetricsPort, Part, WhereOrPath, Workers, parse_start
from beamstream.service import Intake, run_processor

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
    images_per_file: Annotated[
        int | None,
        typer.Option(
            "--images-per-file",
            metavar="N",
            min=1,
            help="Write NAME_master.h5 and data files of N images, as detectors do; otherwise one file.",
            show_default=False,
        ),
    ] = None,
    shared: Annotated[
        bool,
        typer.Option(
            "--shared",
            help="Several writers write each stream, on this host or others: each its own data files, one the master.",
        ),
    ] = False,
    packed: Annotated[
        bool | None,
        typer.Option(
            "--packed/--by-id",
            help="Rows as messages come, or row i for message i + 1; packed by itself where the first ids are "
            "declined, and for sources called …-hits.",
            show_default=False,
        ),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace a finished recording of this name: one file once the new one is whole, several at once.",
        ),
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read every frame back and compare checksums before a file gets its name.")
    ] = False,
    workers: Workers = 1,
    broker: Broker = None,
    group: Group = None,
    start: From = "start",
    follow: Follow = False,
    required: Annotated[
        bool, typer.Option("--required/--best-effort", help="Whether frames stay in memory until they are written.")
    ] = True,
    part: Part = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Write each stream to NeXus files: images as NXmx, as they were compressed; whatever else has numbers, too.

    A file is called NAME.partial until its stream has ended and all of it is
    on the disk. A writer that was stopped or killed is simply started again:
    it goes on where it was, and frames that come again are there already.
    One writer writes a stream, but with --workers N, or with --shared: start
    as many as you like, on as many hosts.

    Examples:

      stream consume write 11012345/eiger/series_00042 -d /data/raw

      stream consume write 11012345/eiger --follow -d /data --file '{source}/{stream}.nxs'

      stream consume write 11012345/eiger --follow -d /data --images-per-file 1000

      stream consume write 11012345/eiger --follow -d /gpfs/raw --workers 4
    """
    make = partial(
        WriteHandler,
        directory,
        file,
        images_per_file=images_per_file,
        shared=shared or workers > 1,
        packed=packed,
        overwrite=overwrite,
        verify=verify,
    )
    intake = Intake(group=group, start=parse_start(start), follow=follow, required=required, part=part)
    status = run_processor(make, where, workers=workers, broker=broker, intake=intake, metrics_port=metrics_port)
    raise typer.Exit(status)
