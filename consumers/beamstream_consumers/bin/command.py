"""`stream consume bin`: a stream of smaller frames beside each stream."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from beamstream.cli.options import (
    Broker,
    Follow,
    From,
    Group,
    MetricsPort,
    Part,
    TierText,
    WhereOrPath,
    Workers,
    parse_source,
    parse_start,
)
from beamstream.producer import DEFAULT_TIER, check_tier
from beamstream.service import Intake, Upkeep, run_processor

from .processor import BinProcessor


def bin_frames(
    where: WhereOrPath,
    factor: Annotated[int, typer.Option("--factor", "-n", metavar="N", help="Edge of a block in pixels.")] = 2,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="BEAMTIME/SOURCE",
            help="Data source of the binned streams; without it, the source with -bin behind its name.",
            show_default=False,
        ),
    ] = None,
    workers: Workers = 1,
    scale: Annotated[
        bool, typer.Option("--scale", help="Make up for pixels that are left out: mean of the good ones times N x N.")
    ] = False,
    broker: Broker = None,
    group: Group = None,
    start: From = "start",
    follow: Follow = False,
    required: Annotated[
        bool, typer.Option("--required/--best-effort", help="Whether frames stay in memory until they are binned.")
    ] = False,
    part: Part = None,
    tier: TierText = DEFAULT_TIER,
    metrics_port: MetricsPort = None,
) -> None:
    """Add up N x N pixels, and publish the smaller frames as a stream of their own, ids kept.

    Masked and saturated pixels are left out and counted: a block is what its
    good pixels have counted, and with --scale (float32) what all of them would
    have. Where N does not divide the detector, the last blocks hold what is left.

    Examples:

      stream consume bin 11012345/eiger/series_00042 --factor 4

      stream consume bin 11012345/eiger --follow --to 11012345/preview
    """
    make = partial(BinProcessor, factor, parse_source(to) if to else None, scale=scale)
    intake = Intake(group=group, start=parse_start(start), follow=follow, required=required, part=part)
    upkeep = Upkeep(tier=check_tier(tier))
    status = run_processor(
        make, where, workers=workers, broker=broker, intake=intake, upkeep=upkeep, metrics_port=metrics_port
    )
    raise typer.Exit(status)
