"""`stream produce eiger`: the connector on the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from beamstream.cli.options import (
    DEFAULT_BUFFER,
    Broker,
    Buffer,
    KeepText,
    MetricsPort,
    Retain,
    TierText,
    To,
    parse_source,
)
from beamstream.keep import DEFAULT_KEEP
from beamstream.producer import DEFAULT_TIER
from beamstream.service import parse_upkeep, run_source
from beamstream.service.allocation import keep_freed_memory

from .api import StreamApi
from .directory import SeriesDirectory
from .endpoint import check_endpoint
from .naming import DEFAULT_TEMPLATE, StreamTemplate
from .source import EigerSource
from .watch import DetectorWatch

Endpoint = Annotated[
    str,
    typer.Argument(
        metavar="ENDPOINT",
        help="The detector's stream: tcp://DCU:31001 (v2, cbor) or tcp://DCU:9999 (v1, legacy).",
        show_default=False,
    ),
]
Template = Annotated[
    str,
    typer.Option(metavar="TEXT", help="Names the stream of a series; may use {series_id} and {unique_id}."),
]
Series = Annotated[int | None, typer.Option(metavar="N", min=1, help="Stop after N series.", show_default="never")]
Api = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="The detector's REST API, e.g. http://DCU: says if it is off, drops images, or others take them.",
        show_default=False,
    ),
]


def eiger(
    endpoint: Endpoint,
    to: To,
    broker: Broker = None,
    stream_template: Template = DEFAULT_TEMPLATE,
    series: Series = None,
    api: Api = None,
    keep: KeepText = DEFAULT_KEEP,
    retain: Retain = None,
    buffer: Buffer = DEFAULT_BUFFER,
    tier: TierText = DEFAULT_TIER,
    metrics_port: MetricsPort = None,
) -> None:
    """Bring in the stream of a DECTRIS detector (EIGER, EIGER2, PILATUS4, SELUN); each series becomes a stream.

    Start it before the detector is armed: what is sent while nobody is connected is lost.

    Examples:

    stream produce eiger tcp://dcu:31001 --to 11012345/eiger

    stream produce eiger tcp://dcu:9999 --to 11012345/eiger --series 1 --stream-template lysozyme_run_042

    stream produce eiger tcp://dcu:31001 --to 11012345/eiger --api http://dcu --keep all
    """
    keep_freed_memory()
    upkeep = parse_upkeep(keep, retain, buffer, tier)
    template = StreamTemplate(stream_template)
    data_source = parse_source(to)
    detector_api = StreamApi(api) if api else None
    directory = SeriesDirectory(data_source, broker)
    watch = DetectorWatch(check_endpoint(endpoint), detector_api, directory)
    source = EigerSource(endpoint, template=template, n_series=series, directory=directory, watch=watch)
    try:
        status = run_source(
            source,
            data_source,
            broker=broker,
            metrics_port=metrics_port,
            upkeep=upkeep,
        )
    finally:
        source.close()
        watch.close()  # which sees now how the last series ended
        directory.close()
    raise typer.Exit(status)
