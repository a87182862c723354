"""How listings are printed: a table for people, JSON for scripts."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import typer

from beamstream.presence import read_presence
from beamstream.protocol.client import Server

WIDE = 1000
"""Columns where the output is no terminal."""


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool, nothing: str) -> None:
    """Print rows of the same columns; `nothing` says for people that there are none."""
    if as_json:
        typer.echo(json.dumps(list(rows)))
    elif not rows:
        typer.echo(nothing)
    else:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in rows[0]:
            table.add_column(column.replace("_", " "), no_wrap=column == "stream", overflow="fold")
        for row in rows:
            table.add_row(*(Text(_cell(value)) for value in row.values()))  # names are no markup
        # A pipe has no width: nothing is to be cut or folded there.
        Console(width=None if sys.stdout.isatty() else WIDE).print(table)


def print_fields(fields: Mapping[str, Any], *, as_json: bool) -> None:
    """Print one record, a line per field."""
    if as_json:
        typer.echo(json.dumps(dict(fields)))
        return
    width = max(len(name) for name in fields)
    for name, value in fields.items():
        typer.echo(f"{name.replace('_', ' '):<{width}}  {_cell(value)}")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def size_text(n_bytes: int) -> str:
    """Write a size for people, e.g. ``4.2 MB``."""
    size = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def warn_of_flaw(server: Server) -> None:
    """Say on the standard error what keeps the broker from writing to disk, or from using its shared memory."""
    presence = read_presence(server)
    if presence is not None and presence.flaw:
        typer.echo(f"warning: the broker on {presence.host} cannot write to disk: {presence.flaw}", err=True)
    if presence is not None and presence.pinned:
        typer.echo(f"warning: the broker on {presence.host} cannot use its shared memory: {presence.pinned}", err=True)


def plain_tree(tree: Any) -> Any:
    """Return metadata as JSON can carry it: arrays become a line about them."""
    import numpy as np

    if isinstance(tree, Mapping):
        return {key: plain_tree(value) for key, value in tree.items()}
    if isinstance(tree, np.ndarray):
        return f"array {tree.dtype} {'x'.join(map(str, tree.shape))}"
    if isinstance(tree, bytes):
        return f"{len(tree)} bytes"
    if isinstance(tree, list | tuple):
        return [plain_tree(value) for value in tree]
    return tree
