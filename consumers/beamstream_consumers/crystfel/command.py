"""`stream consume crystfel`: frames for indexamajig."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer

from beamstream.address import SourceAddress, is_path, parse_where, split_url
from beamstream.cli.options import Broker, Follow, From, Group, MetricsPort, parse_start
from beamstream.consumer import Consumer
from beamstream.errors import UsageError
from beamstream.protocol.client import Server, broker_url
from beamstream.service import Intake
from beamstream.service.consuming.agenda import Agenda
from beamstream.service.consuming.joining import joining_early
from beamstream.service.shell import service_shell
from beamstream_consumers.calibration_files import read_mask

from .bridge import GROUP, Bridge, BridgeOptions
from .endpoint import Endpoint
from .frames import FrameOptions
from .messages import FORMATS
from .protocol import MAX_REQUEST_BYTES

DEFAULT_BIND = "tcp://127.0.0.1:5002"

WORKER_TIMEOUT_S = 300.0
"""How long a worker may keep a frame [s]; indexamajig itself kills one that is silent for 240 s."""


def crystfel(
    where: Annotated[
        str,
        typer.Argument(
            metavar="WHERE",
            help="BEAMTIME/SOURCE/STREAM, or BEAMTIME/SOURCE for all its streams; or files.",
            show_default=False,
        ),
    ],
    bind: Annotated[
        str, typer.Option("--bind", metavar="ENDPOINT", help="Where indexamajig asks; port 0 chooses a free one.")
    ] = DEFAULT_BIND,
    data_format: Annotated[
        str, typer.Option("--data-format", metavar="msgpack|hdf5", help="As given to indexamajig; peaks need msgpack.")
    ] = "msgpack",
    request: Annotated[
        str, typer.Option("--request", metavar="TEXT", help="As given to indexamajig with --zmq-request.")
    ] = "next",
    geometry: Annotated[
        Path | None,
        typer.Option("--geometry", metavar="FILE", help="A .geom, .poni or NeXus file that the frames have to fit."),
    ] = None,
    write_geometry: Annotated[
        Path | None,
        typer.Option("--write-geometry", metavar="FILE", help="Write the .geom that indexamajig needs, and go on."),
    ] = None,
    mask: Annotated[
        list[str] | None,
        typer.Option("--mask", metavar="FILE", help="A further mask, bad where not 0: FILE.h5:/path, .npy, .tif."),
    ] = None,
    photon_energy: Annotated[
        float | None,
        typer.Option("--photon-energy", metavar="EV", min=1.0, help="In place of what the stream says, in eV."),
    ] = None,
    distance: Annotated[
        float | None,
        typer.Option("--distance", metavar="MM", min=0.001, help="In place of what the stream says, in mm."),
    ] = None,
    worker_timeout: Annotated[
        float,
        typer.Option("--worker-timeout", metavar="S", min=1.0, help="When a silent worker loses its frame to another."),
    ] = WORKER_TIMEOUT_S,
    broker: Broker = None,
    group: Group = None,
    start: From = "start",
    follow: Follow = False,
    required: Annotated[
        bool, typer.Option("--required/--best-effort", help="Whether frames stay in memory until they are indexed.")
    ] = False,
    metrics_port: MetricsPort = None,
) -> None:
    """Give frames to CrystFEL's indexamajig, to each of its workers the next one.

    A frame is acknowledged when its worker asks for the next one; a worker
    that dies, or is silent for too long, loses its frame to another. Several
    indexamajig, and several of this command, share the frames of a group.

    Examples:

      stream consume crystfel 11012345/eiger-hits --follow --write-geometry run.geom

      indexamajig --zmq-input=tcp://127.0.0.1:5002 --zmq-request=next -g run.geom \\
        --data-format=msgpack --peaks=msgpack -o run.stream -j 16
    """
    options = BridgeOptions(
        frames=FrameOptions(
            data_format=_one_of(data_format),
            geometry=geometry,
            write_geometry=write_geometry,
            masks={f"mask {name}": read_mask(name) for name in mask or ()},
            photon_energy_ev=photon_energy,
            distance_mm=distance,
        ),
        intake=Intake(group=group or GROUP, start=parse_start(start), follow=follow, required=required),
        request=_request(request),
        worker_timeout_s=worker_timeout,
    )
    raise typer.Exit(run_bridge(where, bind, options, broker=broker, metrics_port=metrics_port))


def run_bridge(
    where: str, bind: str, options: BridgeOptions, *, broker: str | None = None, metrics_port: int | None = None
) -> int:
    """Run a bridge until its streams are finished or a signal asks it to end; returns the exit status.

    Raises
    ------
    AddressError, UsageError
        If `where` or the endpoint cannot be meant.
    StreamNotFoundError, NoRecordingError
        If there is nothing there and nothing is to be waited for.
    ServerUnavailableError, ServerRefusedError
        If the broker cannot be used at the start.
    """
    intake = options.intake
    with contextlib.ExitStack() as stack:
        if is_path(where):
            consumer = Consumer(where, start=intake.start)
            endpoint = stack.enter_context(contextlib.closing(Endpoint(bind)))
            bridge = Bridge(endpoint, "", options)
            shell = stack.enter_context(service_shell("crystfel", bridge.snapshot, metrics_port))
            bridge.give_all(consumer, shell)
            bridge.say_goodbye()
            return shell.exit_status(failed=bridge.failed)
        url, text = split_url(where)
        at = parse_where(text)
        broker = broker_url(url or broker)
        server = Server(broker)
        stack.callback(server.close)
        server.check()
        endpoint = stack.enter_context(contextlib.closing(Endpoint(bind)))
        bridge = Bridge(endpoint, broker, options)
        if intake.required and isinstance(at, SourceAddress):
            stack.enter_context(joining_early(server, at, intake.group or GROUP, intake.start))
        shell = stack.enter_context(service_shell("crystfel", bridge.snapshot, metrics_port))
        bridge.run(Agenda(at, server, follow=intake.follow), shell)
        return shell.exit_status(failed=bridge.failed)


def _one_of(data_format: str) -> str:
    if data_format not in FORMATS:
        raise UsageError(f"--data-format {data_format!r} is none of {' and '.join(FORMATS)}")
    return data_format


def _request(text: str) -> bytes:
    request = text.encode()
    if not 0 < len(request) <= MAX_REQUEST_BYTES:
        raise UsageError(f"--request has {len(request)} bytes; it has 1 to {MAX_REQUEST_BYTES}")
    return request
