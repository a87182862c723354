"""`stream consume integrate`: a stream of curves beside each stream."""

from __future__ import annotations

from functools import partial
from pathlib import Path
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
    Where,
    Workers,
    parse_source,
    parse_start,
)
from beamstream.producer import DEFAULT_TIER, check_tier
from beamstream.service import Intake, Upkeep, run_processor
from beamstream_consumers.calibration_files import read_mask
from beamstream_consumers.geometry import geometry_text

from .processor import IntegrateProcessor
from .settings import DEFAULT_BINS, IntegrationSettings


def integrate(
    where: Where,
    geometry: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Where the detector is: a .poni, .geom or NeXus file; without it, the stream's metadata.",
            show_default=False,
        ),
    ] = None,
    bins: Annotated[int, typer.Option("--bins", "-n", metavar="N", help="Points of a curve.")] = DEFAULT_BINS,
    unit: Annotated[
        str, typer.Option(metavar="UNIT", help="The axis: q_A^-1, q_nm^-1, 2th_deg, 2th_rad or r_mm.")
    ] = "q_A^-1",
    radial_min: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Where the axis begins; without it, at the first good pixel.", show_default=False
        ),
    ] = None,
    radial_max: Annotated[
        float | None,
        typer.Option(metavar="X", help="Where the axis ends; without it, at the last good pixel.", show_default=False),
    ] = None,
    split: Annotated[
        str, typer.Option(metavar="no|bbox", help="Count a pixel in one bin, or in all that it reaches over.")
    ] = "no",
    error_model: Annotated[
        str, typer.Option(metavar="poisson|azimuthal|none", help="Where sigma comes from.")
    ] = "poisson",
    polarisation: Annotated[
        float | None,
        typer.Option(
            metavar="P",
            help="Degree of polarisation, 1 horizontal, -1 vertical, to correct for; without it, no correction.",
            show_default=False,
        ),
    ] = None,
    solid_angle: Annotated[
        bool, typer.Option("--solid-angle/--no-solid-angle", help="Correct for the solid angle of each pixel.")
    ] = True,
    mask: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="More bad pixels, not 0: .npy, FILE.h5:/path, or an image that fabio reads.",
            show_default=False,
        ),
    ] = None,
    dark: Annotated[
        str | None, typer.Option(metavar="FILE", help="What pixels read without a beam.", show_default=False)
    ] = None,
    gain: Annotated[
        str | None,
        typer.Option(metavar="FILE|X", help="What a photon adds to the reading.", show_default=False),
    ] = None,
    flatfield: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="How sensitive pixels are, 1 for the average one.", show_default=False),
    ] = None,
    valid_min: Annotated[
        float | None,
        typer.Option(metavar="X", help="Least value of a good pixel; without it, 0 for integers.", show_default=False),
    ] = None,
    valid_max: Annotated[
        float | None,
        typer.Option(
            metavar="X",
            help="Largest value of a good pixel; without it, the detector's saturation, and its flag never.",
            show_default=False,
        ),
    ] = None,
    normalize_by: Annotated[
        str | None,
        typer.Option(
            metavar="KEY",
            help="Divide each curve by this number of the message's metadata; a.b is b within a.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="numba|pyfai", help="What computes: our kernels, or pyFAI where it is installed.")
    ] = "numba",
    to: Annotated[
        str | None,
        typer.Option(
            metavar="BEAMTIME/SOURCE",
            help="Data source of the curves; without it, the source with -integrate behind its name.",
            show_default=False,
        ),
    ] = None,
    workers: Workers = 1,
    broker: Broker = None,
    group: Group = None,
    start: From = "start",
    follow: Follow = False,
    required: Annotated[
        bool, typer.Option("--required/--best-effort", help="Whether frames stay in memory until they are integrated.")
    ] = False,
    part: Part = None,
    tier: TierText = DEFAULT_TIER,
    metrics_port: MetricsPort = None,
) -> None:
    """Average each frame over rings around the beam, and publish the curves as a stream of their own, ids kept.

    A message holds intensity and its standard error, (2, N) float32; the axis is
    in the stream's metadata. Masked, flagged and saturated pixels are left out.

    Examples:

      stream consume integrate 11012345/eiger/series_00042

      stream consume integrate 11012345/eiger --follow --geometry agbh.poni --bins 2000

      stream consume integrate 11012345/eiger/series_00042 --unit 2th_deg --polarisation 0.99
    """
    settings = IntegrationSettings(
        geometry=None if geometry is None else geometry_text(Path(geometry)),
        mask=None if mask is None else read_mask(mask),
        dark=dark,
        gain=gain,
        flatfield=flatfield,
        unit=unit,
        split=split,
        engine=engine,
        normalize_by=normalize_by,
        n_bins=bins,
        radial_min=radial_min,
        radial_max=radial_max,
        error_model=error_model,
        polarisation=polarisation,
        solid_angle=solid_angle,
        valid_min=valid_min,
        valid_max=valid_max,
    )
    make = partial(IntegrateProcessor, settings, parse_source(to) if to else None)
    intake = Intake(group=group, start=parse_start(start), follow=follow, required=required, part=part)
    upkeep = Upkeep(tier=check_tier(tier))
    status = run_processor(
        make, where, workers=workers, broker=broker, intake=intake, upkeep=upkeep, metrics_port=metrics_port
    )
    raise typer.Exit(status)
