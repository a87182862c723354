"""Options that several consumers have, spelt and explained once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

GeometryFile = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="CrystFEL .geom, pyFAI .poni or NeXus file; else the stream's own."),
]

MaskFile = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="More bad pixels, not 0 where bad: .npy, FILE.h5:/dataset, or what fabio reads.",
        show_default=False,
    ),
]
