"""How a view looks: a table on a terminal, a line in a log, an object for scripts."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from rich.table import Table

from .view import View

_STYLES = {"live": "green", "delayed": "yellow", "silent": "red", "finished": "cyan", "waiting": "dim"}


def as_table(view: View) -> Table:
    """Return a view as a table of two columns."""
    table = Table(box=None, show_header=False, pad_edge=False, title=str(view.address), title_justify="left")
    table.add_column(style="dim", justify="right")
    table.add_column()
    for name, value in _fields(view):
        table.add_row(name, value, style=_STYLES.get(view.life) if name == "stream" else None)
    return table


def as_line(view: View) -> str:
    """Return a view as one line of text."""
    return f"{view.address}  " + "  ".join(f"{name} {value}" for name, value in _fields(view))


def as_object(view: View) -> dict[str, Any]:
    """Return a view as plain values for JSON."""
    plain = {name: value for name, value in asdict(view).items() if name not in {"address", "frame"}}
    plain = {"address": str(view.address), **plain, "lag": view.lag}
    if view.frame is not None:
        plain["frame"] = {"message_id": view.frame.message_id, "timestamp_ns": view.frame.timestamp_ns}
        if (measured := view.frame.statistics) is not None:
            plain["frame"] |= {**asdict(measured), "mean": measured.mean, "zero_fraction": measured.zero_fraction}
        if view.frame.note:
            plain["frame"]["note"] = view.frame.note
    return plain


def _fields(view: View) -> list[tuple[str, str]]:
    """Return what there is to say, as names and texts."""
    stream = view.state if view.life == "finished" else view.life
    if view.age_s is not None and view.life != "finished":
        stream += f", newest frame {view.age_s:.1f} s old"
    if view.life == "waiting":
        return [("stream", stream)]
    expected = "" if view.n_expected is None else f" of {view.n_expected}"
    fields = [
        ("stream", stream),
        ("received", f"{view.n_received}{expected}"),
        ("rate", f"{view.rate_hz:.1f} Hz  {view.rate_mb_s:.1f} MB/s"),
        ("newest", f"{view.newest_id}"),
    ]
    if view.n_missing or view.n_dropped:
        fields.append(("missing", f"{view.n_missing}" + (f"  dropped {view.n_dropped}" if view.n_dropped else "")))
    if view.flaw:
        fields.append(("disk", f"takes nothing: {view.flaw}"))
    return fields + _frame_fields(view)


def _frame_fields(view: View) -> list[tuple[str, str]]:
    """Return what there is to say about the frame that is shown."""
    frame = view.frame
    if frame is None:
        return []
    shown = f"{frame.message_id}" + (f" ({view.lag} behind)" if view.lag else "")
    measured = frame.statistics
    if measured is None:
        return [("shown", f"{shown}  {frame.note}")]
    return [
        ("shown", shown),
        ("mean", f"{measured.mean:.4g}"),
        ("max", f"{measured.maximum:.6g}"),
        ("zero", f"{100 * measured.zero_fraction:.1f} %"),
        ("saturated or masked", f"{measured.n_flagged}"),
        ("mask", f"{measured.n_masked}"),
    ]
