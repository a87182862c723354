"""`stream simulate eiger`: a detector to practise on, from the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import nullcontext

import typer

from beamstream.cli.options import Json
from beamstream.stop import Stop, stop_on_signals

from . import flags
from .acquisition import State
from .eiger import SimulatedEiger
from .faults import Faults
from .faults.report import describe_last, describe_total, list_faults
from .options import BUFFER_IMAGES, SimulatedEigerOptions
from .pilatus_command import pilatus
from .recorded_run import RecordedRun

LOOK_S = 0.2
"""How often waiting looks whether it was interrupted [s]."""

DEFAULT_PORTS = {flags.Version.V1: 9999, flags.Version.V2: 31001}
"""Where a real detector's streams are."""

DEFAULT_API_PORT = 8088
"""Where the REST interface is; a real one is at 80, where only root may listen."""

DEFAULT_FRAMES = 100
DEFAULT_RATE_HZ = 100.0

FORMATS = {flags.Version.V1: "legacy", flags.Version.V2: "cbor"}
"""SIMPLON's names of the versions."""

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def simulate() -> None:
    """Detectors to practise on: real sockets and real bytes, only the photons are made up."""


app.command()(pilatus)


@app.command()
def eiger(
    *,
    size: flags.DetectorSize = flags.Size.S1M,
    version: flags.Format = flags.Version.V2,
    compression: flags.Compression = flags.Packing.BSLZ4,
    header_detail: flags.HeaderDetail = flags.Detail.BASIC,
    bit_depth: flags.BitDepth = flags.Depth.D16,
    frames: flags.Frames = None,
    triggers: flags.Triggers = 1,
    rate: flags.Rate = None,
    hits: flags.Hits = 0.2,
    seed: flags.Seed = 0,
    unique: flags.Unique = False,
    wait: flags.Wait = False,
    buffer: flags.Buffer = BUFFER_IMAGES,
    host: flags.Host = "127.0.0.1",
    stream_port: flags.StreamPort = None,
    api_port: flags.ApiPort = DEFAULT_API_PORT,
    auto: flags.Auto = False,
    series: flags.NSeries = 1,
    first_series: flags.FirstSeries = 1,
    faults: flags.FaultText = None,
    recorded: flags.RecordedPath = None,
    as_json: Json = False,
) -> None:
    """Simulate an EIGER2: its stream, version 1 or 2, and its REST interface.

    Without --auto it waits for a REST client to arm and trigger it. With --from it plays a recorded run: shape, depth,
    number, rate and metadata of the images are the recording's, --size, --bit-depth, --hits and --unique mean nothing.

    Examples:

    stream simulate eiger --auto --frames 1000 --rate 200

    stream simulate eiger --size 4M --format v1 --auto --series 3 --rate 0 --wait

    stream simulate eiger --auto --series 5 --faults drop=0.01,reorder=0.02,abort=0.2,garbage=0.01,second-client=0.5

    stream simulate eiger --from ./run_042_master.h5 --auto --format v1

    stream simulate eiger --faults list

    curl -X PUT http://127.0.0.1:8088/detector/api/1.8.0/command/arm
    """
    if faults == "list":
        typer.echo(list_faults())
        raise typer.Exit
    ports = _stream_ports(version, stream_port)
    with RecordedRun(recorded) if recorded else nullcontext() as run:
        options = SimulatedEigerOptions(
            size=size.value,
            stream_format=FORMATS[version],
            compression=run.compression if run else compression.value,
            header_detail=header_detail.value,
            bit_depth=run.bit_depth if run else int(bit_depth),
            n_images=frames or (run.n_images if run else DEFAULT_FRAMES),
            n_triggers=triggers,
            rate_hz=_rate_hz(rate, run),
            hit_fraction=hits,
            unique=unique,
            seed=seed,
            wait=wait,
            buffer_images=buffer,
            host=host,
            legacy_port=ports[flags.Version.V1],
            cbor_port=ports[flags.Version.V2],
            api_port=api_port,
            first_series_id=first_series,
            faults=Faults.parse(faults) if faults else Faults(),
            recorded=run,
        )
        raise typer.Exit(_run(options, n_series=series if auto else None, as_json=as_json))


def _rate_hz(chosen: float | None, run: RecordedRun | None) -> float:
    """Return the rate that was asked for, else the recording's, else the usual one [Hz]."""
    if chosen is not None:
        return chosen
    return DEFAULT_RATE_HZ if run is None or run.rate_hz is None else run.rate_hz


def _stream_ports(version: flags.Version, port: int | None) -> dict[flags.Version, int]:
    """Return the port of each version; with one chosen, the other shall not collide with anything."""
    if port is None:
        return dict(DEFAULT_PORTS)
    return {each: port if each is version else 0 for each in flags.Version}


def _run(options: SimulatedEigerOptions, *, n_series: int | None, as_json: bool) -> int:
    """Run a detector until its series are taken or it is interrupted; return the exit status."""
    with stop_on_signals() as stop, SimulatedEiger(options) as detector:
        _announce(detector, as_json=as_json)
        if n_series is None:
            stop.wait()
            _report(detector, as_json=as_json)
        else:
            _take_series(detector, n_series, stop, as_json=as_json)
    if options.faults.any:
        typer.echo(describe_total(detector.journal, as_json=as_json))
    return stop.exit_status


def _take_series(detector: SimulatedEiger, n_series: int, stop: Stop, *, as_json: bool) -> None:
    """Arm and trigger, series by series, as soon as a receiver is there."""
    for _ in range(n_series):
        if not _wait(detector.wait_for_receiver, stop):
            return
        detector.arm()
        for _ in range(detector.options.n_triggers):
            if detector.state is not State.READY:
                break  # it has restarted
            if not _wait(detector.begin_trigger().wait, stop):
                detector.abort()
                break
        _wait(detector.wait_for_end, stop)
        _report(detector, as_json=as_json)


def _wait(look: Callable[[float], bool], stop: Stop) -> bool:
    """Look, a while at a time, until it is so or until told to stop; tell which."""
    while not stop.is_set():
        if look(LOOK_S):
            return True
    return False


def _announce(detector: SimulatedEiger, *, as_json: bool) -> None:
    n_slow, n_fast = detector.model.shape
    if as_json:
        typer.echo(json.dumps({"stream": detector.endpoint, "api": detector.api_url}))
        return
    run = detector.options.recorded
    what = "simulated" if run is None else f"played from {run.path}"
    typer.echo(f"{detector.model.description}, {what}: {n_slow} x {n_fast} pixels")
    if run is not None:
        typer.echo(f"run     {detector.options.n_images} images at {detector.options.rate_hz:g} Hz")
    typer.echo(f"stream  {detector.endpoint}")
    typer.echo(f"REST    {detector.api_url}")


def _report(detector: SimulatedEiger, *, as_json: bool) -> None:
    if detector.options.faults.any:
        typer.echo(describe_last(detector.journal, as_json=as_json))
        return
    if detector.series_id < detector.options.first_series_id:
        return  # nothing was ever armed
    if as_json:
        report = {"series": detector.series_id, "sent": detector.n_sent, "dropped": detector.n_dropped}
        typer.echo(json.dumps(report))
        return
    typer.echo(f"series {detector.series_id}: {detector.n_sent} images sent, {detector.n_dropped} dropped")
