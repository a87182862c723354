"""`stream consume peaks`: the peaks of every frame, and the frames that are hits."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

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
from beamstream_consumers.calibration_files import read_mask
from beamstream_consumers.geometry import geometry_text
from beamstream_consumers.options import GeometryFile, MaskFile

from .processor import PeakProcessor
from .settings import PeakSettings, all_parameters

PARAMETERS = all_parameters()


def setting(name: str) -> Any:
    """Return the option of a parameter: bounds, unit and help stand with its declaration."""
    bounds = PARAMETERS[name].bounds
    return typer.Option(help=bounds.help, metavar=bounds.unit.upper().replace(" ", "-"), min=bounds.minimum,
                        max=bounds.maximum, rich_help_panel="Peak finder")  # fmt: skip


def default(name: str) -> Any:
    """Return a parameter's default."""
    return PARAMETERS[name].default


def peaks(
    where: WhereOrPath,
    adc_threshold: Annotated[float, setting("adc_threshold")] = default("adc_threshold"),
    minimum_snr: Annotated[float, setting("minimum_snr")] = default("minimum_snr"),
    min_pixel_count: Annotated[int, setting("min_pixel_count")] = default("min_pixel_count"),
    max_pixel_count: Annotated[int, setting("max_pixel_count")] = default("max_pixel_count"),
    local_bg_radius: Annotated[int, setting("local_bg_radius")] = default("local_bg_radius"),
    min_res: Annotated[float, setting("min_res")] = default("min_res"),
    max_res: Annotated[float, setting("max_res")] = default("max_res"),
    max_num_peaks: Annotated[int, setting("max_num_peaks")] = default("max_num_peaks"),
    min_hit_peaks: Annotated[int, setting("min_hit_peaks")] = default("min_hit_peaks"),
    max_hit_peaks: Annotated[int, setting("max_hit_peaks")] = default("max_hit_peaks"),
    lowest_valid: Annotated[float | None, setting("lowest_valid")] = default("lowest_valid"),
    geometry: GeometryFile = None,
    mask: MaskFile = None,
    hits_to: Annotated[
        str | None,
        typer.Option(metavar="BEAMTIME/SOURCE", help="Data source of the hits; else SOURCE-hits.", show_default=False),
    ] = None,
    peaks_to: Annotated[
        str | None,
        typer.Option(
            metavar="BEAMTIME/SOURCE", help="Data source of the peak lists; else SOURCE-peaks.", show_default=False
        ),
    ] = None,
    workers: Workers = 1,
    broker: Broker = None,
    group: Group = None,
    start: From = "start",
    follow: Follow = False,
    required: Annotated[
        bool, typer.Option("--required/--best-effort", help="Whether frames stay in memory until they were looked at.")
    ] = False,
    part: Part = None,
    tier: TierText = DEFAULT_TIER,
    metrics_port: MetricsPort = None,
) -> None:
    """Find Bragg peaks (peakfinder8) in every frame, and publish hits and peaks.

    Hits go to SOURCE-hits, their bytes untouched; a small message for every
    frame goes to SOURCE-peaks. All options under "Peak finder", mask and
    geometry can be changed while it runs: stream parameters set.

    Examples:

      stream consume peaks 11012345/eiger/series_00042

      stream consume peaks 11012345/eiger --follow --workers 4 --adc-threshold 15

      stream consume peaks 11012345/jungfrau --follow --geometry jf.geom

      stream consume peaks run_042_master.h5
    """
    values: dict[str, Any] = {
        "adc_threshold": adc_threshold,
        "minimum_snr": minimum_snr,
        "min_pixel_count": min_pixel_count,
        "max_pixel_count": max_pixel_count,
        "local_bg_radius": local_bg_radius,
        "min_res": min_res,
        "max_res": max_res,
        "max_num_peaks": max_num_peaks,
        "min_hit_peaks": min_hit_peaks,
        "max_hit_peaks": max_hit_peaks,
        "lowest_valid": lowest_valid,
        "geometry": None if geometry is None else geometry_text(geometry),
        "mask": None if mask is None else read_mask(mask).astype("u1"),
    }
    make = partial(
        PeakProcessor,
        PeakSettings.of(values),
        hits_to=parse_source(hits_to) if hits_to else None,
        peaks_to=parse_source(peaks_to) if peaks_to else None,
    )
    intake = Intake(group=group, start=parse_start(start), follow=follow, required=required, part=part)
    upkeep = Upkeep(tier=check_tier(tier))
    status = run_processor(
        make, where, workers=workers, broker=broker, intake=intake, upkeep=upkeep, metrics_port=metrics_port
    )
    raise typer.Exit(status)
