"""`stream simulate pilatus`: a folder that fills, from the command line."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from beamstream.cli.options import Json
from beamstream.stop import stop_on_signals

from .flags import Seed
from .pilatus import SimulatedPilatus, SimulatedPilatusOptions


class PilatusSize(StrEnum):
    """Models of the PILATUS family."""

    S300K = "300k"
    S1M = "1M"
    S6M = "6M"


Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the files come; made if need be.")]
Size = Annotated[PilatusSize, typer.Option("--size", case_sensitive=False, help="Model of the PILATUS family.")]
Frames = Annotated[int, typer.Option("--frames", metavar="N", min=1, help="Files of the scan.")]
Rate = Annotated[float, typer.Option("--rate", metavar="HZ", min=0, help="Files per second; 0 for as many as go.")]
Base = Annotated[str, typer.Option("--base", metavar="NAME", help="Name of the scan: NAME_00001.cbf.")]
Start = Annotated[int, typer.Option("--start", metavar="N", min=0, help="Number of the first file.")]
SlowWriter = Annotated[
    bool, typer.Option("--slow-writer", help="Write files in place and in pieces; else renamed when they are whole.")
]


def pilatus(
    folder: Folder,
    size: Size = PilatusSize.S300K,
    frames: Frames = 100,
    rate: Rate = 10.0,
    base: Base = "test",
    start: Start = 1,
    seed: Seed = 0,
    slow_writer: SlowWriter = False,
    as_json: Json = False,
) -> None:
    """Simulate a PILATUS: a folder that fills with CBF files.

    Examples:

    stream simulate pilatus /tmp/frames --frames 100 --rate 10

    stream simulate pilatus /tmp/frames --size 6M --base run_042 --start 10001 --slow-writer
    """
    options = SimulatedPilatusOptions(
        size=size.value,
        base=base,
        start_number=start,
        n_frames=frames,
        rate_hz=rate,
        seed=seed,
        slow_writer=slow_writer,
    )
    with stop_on_signals() as stop:
        detector = SimulatedPilatus(folder, options)
        n_slow, n_fast = detector.model.shape
        if not as_json:
            typer.echo(f"{detector.model.description}, simulated: {n_slow} x {n_fast} pixels")
        detector.run(stop)
        if as_json:
            typer.echo(json.dumps({"folder": str(folder), "base": base, "written": detector.n_written}))
        else:
            typer.echo(f"{detector.n_written} files {base}_*.cbf written to {folder}")
    raise typer.Exit(stop.exit_status)
