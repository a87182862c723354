"""`stream demo` on the command line."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from beamstream.cli.options import Json
from beamstream.cli.streams import print_receipt
from beamstream.receipt import Receipt
from beamstream.service.desktop import open_page
from beamstream.service.shell import Shell, service_shell
from beamstream.stop import INTERRUPTED
from beamstream_broker.errors import RunDirectoryError

from .session import DemoSession
from .stages import STREAM, DemoOptions, find_flaws


class Size(StrEnum):
    """Models of the EIGER2 family."""

    S500K = "500k"
    S1M = "1M"
    S4M = "4M"
    S9M = "9M"
    S16M = "16M"


class Format(StrEnum):
    """Versions of the detector's stream."""

    V1 = "v1"
    V2 = "v2"


def demo(
    frames: Annotated[int, typer.Option(min=1, help="Frames of the series.")] = 400,
    rate: Annotated[float, typer.Option(min=0, max=10_000, help="Frames per second; 0 for as many as go.")] = 100.0,
    size: Annotated[Size, typer.Option(case_sensitive=False, help="Model of the simulated detector.")] = Size.S1M,
    stream_format: Annotated[Format, typer.Option("--format", help="Version of the stream.")] = Format.V2,
    directory: Annotated[
        Path, typer.Option(metavar="DIR", help="Where the run's own directory is made, with data and logs.")
    ] = Path("runs"),
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same frames.")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Leave the browser closed.")] = False,
    keep_running: Annotated[
        bool, typer.Option("--keep-running", help="Leave server and monitor running until Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Show it all: a server, a simulated detector, its connector, binning, peak finder, monitor and writer.

    Each is a process. The address of the monitor's page is printed; on a
    desktop a browser is opened with it, and the page stays until Ctrl-C.
    Ends with the receipt and the hit rate, and with status 0 only if every
    frame was written and the file's checksum is the stream's.

    Examples:

      stream demo

      stream demo --frames 10000 --rate 1000 --size 4M --no-browser
    """
    options = DemoOptions(n_frames=frames, rate_hz=rate, size=size.value, stream_format=stream_format.value, seed=seed)
    run_directory = make_run_directory(directory)
    session = DemoSession(options, run_directory)
    with service_shell("demo", session.snapshot) as shell:
        typer.echo(f"demo: data and logs in {run_directory}", err=True)
        try:
            return _run(session, shell, options, no_browser=no_browser, keep_running=keep_running, as_json=as_json)
        except KeyboardInterrupt:
            session.crew.kill()
            raise
        finally:
            session.crew.close()


def _run(
    session: DemoSession, shell: Shell, options: DemoOptions, *, no_browser: bool, keep_running: bool, as_json: bool
) -> int:
    """Run the demo to its end and return the exit status."""
    session.start()
    page = session.await_page()
    typer.echo(f"demo: watch it at {page}", err=True)
    stays = (not no_browser and open_page(page)) or keep_running
    complete = session.watch(shell)
    shell.display.hide()
    if not complete:
        typer.echo("demo: interrupted; the processes hand on what they have", err=True)
        session.crew.drain()
    receipt = session.draw_receipt()
    flaws = ["no stream was made"] if receipt is None else find_flaws(receipt, options.n_frames)
    _print_outcome(receipt, flaws, session.count_hits(), as_json=as_json)
    if not complete:
        return INTERRUPTED
    if stays:
        typer.echo(f"still running; look at it with: stream --broker {session.broker} info {STREAM}", err=True)
        typer.echo("Ctrl-C ends it.", err=True)
        session.stay(shell)
    return 1 if flaws else 0


def _print_outcome(receipt: Receipt | None, flaws: list[str], n_hits: int, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps((receipt.as_dict() if receipt else {}) | {"flaws": flaws, "hits": n_hits}))
        return
    if receipt is not None:
        print_receipt(receipt)
        share = n_hits / max(1, receipt.received)
        typer.echo(f"demo: {n_hits} of {receipt.received} frames are hits ({share:.0%})", err=True)
    for flaw in flaws:
        typer.echo(f"demo: {flaw}", err=True)
    if not flaws:
        typer.echo("demo: every frame is there, and the file's checksum is the stream's", err=True)


def make_run_directory(parent: Path) -> Path:
    """Make a new directory named after the time, with room for logs.

    Raises
    ------
    RunDirectoryError
        If that is not possible.
    """
    name = f"demo_{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    for n in range(1, 1000):
        directory = (parent / (name if n == 1 else f"{name}_{n}")).absolute()
        try:
            directory.mkdir(parents=True)
            (directory / "logs").mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise RunDirectoryError(directory, error.strerror or str(error)) from error
        return directory
    raise RunDirectoryError(parent, f"there are too many directories called {name}")
