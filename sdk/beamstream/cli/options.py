"""The options that several commands share, as annotated types; their defaults stand with the parameters."""

from __future__ import annotations

from typing import Annotated

import typer

from beamstream.address import SourceAddress, parse_where
from beamstream.consumer.feed import Start
from beamstream.errors import AddressError, UsageError

Broker = Annotated[
    str | None,
    typer.Option(
        envvar="STREAM_BROKER",
        metavar="URL",
        help="The broker: redis://host:port, rediss://… or unix:///path; the local one at port 6379 if none is named.",
        show_default=False,
    ),
]

MetricsPort = Annotated[
    int | None,
    typer.Option(
        envvar="STREAM_METRICS_PORT",
        metavar="PORT",
        min=0,
        max=65535,
        help="Serve Prometheus metrics on this loopback port.",
    ),
]

Where = Annotated[
    str,
    typer.Argument(
        metavar="WHERE",
        help="BEAMTIME/SOURCE/STREAM, or BEAMTIME/SOURCE for all its streams; a broker URL may stand in front.",
        show_default=False,
    ),
]

WhereOrPath = Annotated[
    str,
    typer.Argument(
        metavar="WHERE",
        help="BEAMTIME/SOURCE/STREAM, or BEAMTIME/SOURCE for all its streams; or files: segments, NeXus, a detector's "
        "master file, a folder of CBF files.",
        show_default=False,
    ),
]

StreamAddress = Annotated[str, typer.Argument(metavar="BEAMTIME/SOURCE/STREAM", help="The stream.", show_default=False)]

StreamOrPath = Annotated[
    str,
    typer.Argument(
        metavar="BEAMTIME/SOURCE/STREAM|PATH",
        help="The stream; or files: a folder with segments, a NeXus file, a detector's master file.",
        show_default=False,
    ),
]

Verify = Annotated[
    bool, typer.Option("--verify", help="Of a path: read every payload and compute its checksum, slow as the disk is.")
]

Retain = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="How long messages are kept, read or not, e.g. 24h: for streams without an end.",
        show_default="for ever",
    ),
]

To = Annotated[
    str,
    typer.Option(
        "--to", metavar="BEAMTIME/SOURCE", help="The data source whose streams are written.", show_default=False
    ),
]

KeepText = Annotated[
    str,
    typer.Option(
        "--keep",
        metavar="memory|overflow|all",
        help="What is kept: what memory has room for; the rest on disk; or all on disk, and sent means there.",
    ),
]

TierText = Annotated[
    str,
    typer.Option(
        "--tier",
        metavar="auto|memory|shared",
        help="Where payloads lie: in shared memory if a broker here has it; the server; shared memory or nowhere.",
    ),
]

Buffer = Annotated[
    str,
    typer.Option(
        "--buffer",
        metavar="SIZE",
        help="What is held of each stream while the broker is full or away; then whoever sends has to wait.",
    ),
]

Group = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="The consumer group; members of one group share the messages. The command's name if none is given.",
        show_default=False,
    ),
]

GroupName = Annotated[str, typer.Option("--group", metavar="NAME", help="The consumer group.", show_default=False)]

From = Annotated[
    str,
    typer.Option("--from", metavar="start|newest|ID", help="Where a new group begins."),
]

Workers = Annotated[
    int,
    typer.Option(
        "--workers",
        metavar="N",
        min=1,
        help="How many processes share the work; more of them may join from other hosts, by the same command.",
    ),
]

Part = Annotated[
    int | None,
    typer.Option(
        "--part",
        metavar="N",
        min=1,
        help="Of a stream whose messages are datasets, take only this part of each.",
        show_default=False,
    ),
]

Follow = Annotated[
    bool, typer.Option("--follow", help="Wait for the stream, or for further streams of the data source.")
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]


DEFAULT_BUFFER = "256MiB"


def parse_start(text: str) -> Start:
    """Read ``start``, ``newest`` or a message id.

    Raises
    ------
    UsageError
        If it is none of these.
    """
    if text in ("start", "newest"):
        return text
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise UsageError(f"--from {text!r} is none of start, newest and a message id from 1")


def parse_source(text: str) -> SourceAddress:
    """Read ``beamtime/source``.

    Raises
    ------
    AddressError
        If it is none.
    """
    where = parse_where(text)
    if not isinstance(where, SourceAddress):
        raise AddressError(text, "a data source is needed here, BEAMTIME/SOURCE without a stream")
    return where
