"""`stream consume statistics`: what adds up over the peaks of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from beamstream.cli.options import Broker, Follow, From, Group, MetricsPort, TierText, Where, parse_source, parse_start
from beamstream.producer import DEFAULT_TIER, check_tier
from beamstream.service import Intake, Upkeep, run_reducer

from .reducer import PeakStatisticsReducer


def statistics(
    where: Where,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="BEAMTIME/SOURCE",
            help="Data source of the statistics; without it, the detector's with -statistics behind its name.",
            show_default=False,
        ),
    ] = None,
    period: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Shortest time between two results.")] = 1.0,
    broker: Broker = None,
    group: Group = None,
    start: From = "start",
    follow: Follow = False,
    required: Annotated[
        bool, typer.Option("--required/--best-effort", help="Whether peak lists stay in memory until they are counted.")
    ] = False,
    tier: TierText = DEFAULT_TIER,
    metrics_port: MetricsPort = None,
) -> None:
    """Add up what 'stream consume peaks' finds: hit rate, histograms, virtual powder.

    WHERE is a stream of peaks, BEAMTIME/SOURCE-peaks. About once a second a
    result goes to SOURCE-statistics. It survives its own restart exactly; to
    begin anew: stream parameters set BEAMTIME/SOURCE-peaks --group statistics
    resets=1

    Examples:

      stream consume statistics 11012345/eiger-peaks --follow
    """
    intake = Intake(group=group, start=parse_start(start), follow=follow, required=required)
    upkeep = Upkeep(tier=check_tier(tier))
    reducer = PeakStatisticsReducer(parse_source(to) if to else None)
    status = run_reducer(
        reducer, where, broker=broker, intake=intake, upkeep=upkeep, period_s=period, metrics_port=metrics_port
    )
    raise typer.Exit(status)
