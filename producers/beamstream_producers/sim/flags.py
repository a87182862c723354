"""The options of `stream simulate eiger`, as annotated types; their defaults stand with the parameters."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Size(StrEnum):
    """Models of the EIGER2 family."""

    S500K = "500k"
    S1M = "1M"
    S4M = "4M"
    S9M = "9M"
    S16M = "16M"


class Version(StrEnum):
    """Versions of the stream."""

    V1 = "v1"
    V2 = "v2"


class Packing(StrEnum):
    """How pixels are packed."""

    BSLZ4 = "bslz4"
    LZ4 = "lz4"
    NONE = "none"


class Detail(StrEnum):
    """How much the start of a series tells."""

    ALL = "all"
    BASIC = "basic"
    NONE = "none"


class Depth(StrEnum):
    """Bits per pixel."""

    D8 = "8"
    D16 = "16"
    D32 = "32"


DetectorSize = Annotated[Size, typer.Option("--size", case_sensitive=False, help="Model of the EIGER2 family.")]
Format = Annotated[Version, typer.Option("--format", help="Version of the stream.")]
Compression = Annotated[Packing, typer.Option("--compression", help="How pixels are packed.")]
HeaderDetail = Annotated[Detail, typer.Option("--header-detail", help="'all' sends flat field and mask, too.")]
BitDepth = Annotated[Depth, typer.Option("--bit-depth", help="Bits per pixel.")]

Frames = Annotated[
    int | None,
    typer.Option("--frames", metavar="N", min=1, help="Images per trigger.", show_default="100, or the recording's"),
]
Triggers = Annotated[int, typer.Option("--triggers", metavar="N", min=1, help="Triggers per series.")]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="HZ",
        min=0,
        max=10_000,
        help="Images per second; 0 for as many as leave.",
        show_default="100, or the recording's",
    ),
]
Hits = Annotated[float, typer.Option("--hits", min=0, max=1, help="Share of images with Bragg peaks.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The same seed gives the same images.")]
Unique = Annotated[bool, typer.Option("--unique", help="Let every image of a series differ.")]

Wait = Annotated[bool, typer.Option("--wait", help="Wait for a slow receiver; a real detector drops images.")]
Buffer = Annotated[
    int, typer.Option("--buffer", metavar="N", min=1, help="Images that wait for a receiver before any is dropped.")
]

Host = Annotated[
    str, typer.Option("--host", help="Interface to listen on. Only loopback keeps others out: there is no password.")
]
StreamPort = Annotated[
    int | None,
    typer.Option(
        "--stream-port",
        metavar="PORT",
        min=0,
        max=65535,
        help="Port of the stream, 0 for any; by default 9999 for v1 and 31001 for v2.",
        show_default=False,
    ),
]
ApiPort = Annotated[
    int, typer.Option("--api-port", metavar="PORT", min=0, max=65535, help="Port of the REST interface; 0 for any.")
]

Auto = Annotated[
    bool, typer.Option("--auto", help="Arm and trigger as soon as a receiver is there, then end: no client needed.")
]
NSeries = Annotated[int, typer.Option("--series", metavar="N", min=1, help="How many series --auto takes.")]
FirstSeries = Annotated[int, typer.Option("--first-series", metavar="ID", min=1, help="Number of the first series.")]
FaultText = Annotated[
    str | None,
    typer.Option(
        "--faults",
        metavar="TEXT",
        help="What goes wrong, e.g. drop=0.01,late-header; 'list' tells what there is.",
        show_default=False,
    ),
]
RecordedPath = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="PATH",
        help="Play this run: a folder with segments, a NeXus file, a detector's master file, ….",
        show_default=False,
    ),
]
