"""`stream export crystfel`: what indexamajig needs for files on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from beamstream.errors import UsageError

from .listing import geometry_of, list_events

app = typer.Typer(no_args_is_help=True, callback=lambda: None, help="Write what other programs need for our files.")


@app.command("crystfel")
def crystfel(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="NeXus files, or a detector's master files.", show_default=False),
    ],
    events: Annotated[
        Path | None, typer.Option("--list", "-l", metavar="FILE", help="Write the list here; standard output if none.")
    ] = None,
    write_geometry: Annotated[
        Path | None, typer.Option("--write-geometry", metavar="FILE", help="Write a .geom for the files here.")
    ] = None,
    geometry: Annotated[
        Path | None,
        typer.Option("--geometry", metavar="FILE", help="A .geom, .poni or NeXus file that is better than their own."),
    ] = None,
) -> None:
    """Write the list of images in files, and their geometry, for indexamajig.

    Images that never came are not in the list.

    Examples:

      stream export crystfel /data/raw/run_042.nxs --list run.lst --write-geometry run.geom

      indexamajig -i run.lst -g run.geom -o run.stream -j 16
    """
    listing = list_events(files)
    text = "".join(f"{line}\n" for line in listing.lines)
    if write_geometry is not None:
        _write(write_geometry, geometry_of(files[0], listing, geometry, f"for {files[0]}"))
    if events is None:
        typer.echo(text, nl=False)
    else:
        _write(events, text)
        typer.echo(f"{len(listing.lines)} images of {len(files)} file(s) are listed in {events}", err=True)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror}") from error
