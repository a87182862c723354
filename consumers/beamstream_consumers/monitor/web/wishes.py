"""What a page may say, as records; strict, because anybody who is let in may say anything.

A message is a JSON object of at most 4 kB with exactly the fields of its type, each of its kind and within its limits.
Whatever else comes is a `PageMessageError`, and nothing is kept of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from beamstream_consumers.monitor.pictures.picture import KINDS, Kind, Pool

from .errors import PageMessageError

MAX_REQUEST_BYTES = 4096
"""Longest message of a page [bytes]; the longest one of ours, a pane with all it wants, has some 400."""

N_PANES = 4
"""Panes of a page."""

MAX_COORDINATE = 2.0**24
"""Farthest from the corner that a page may look [pixels]; a hundred times the largest detector."""

MAX_CANVAS = 32768
"""Largest canvas [device pixels]; what the largest texture of a graphics card is."""

MAX_NAME = 512
"""Longest name of a data source or a stream [characters]."""

MAX_ID = 2**63 - 1
"""Largest message id."""

STEPS = (-10, -1, 1, 10)
"""How far a step may go [messages]."""

Rect = tuple[float, float, float, float]
"""x0, y0, x1, y1 [pixels of the picture]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """All that one pane wants to show.

    Attributes
    ----------
    pane : int
        Which one, from 0.
    source, kind : str
        What of; one of `KINDS`.
    rect : (4,) float
        x0, y0, x1, y1: what of it is seen [pixels]; may reach beyond the picture.
    canvas : (2,) int
        Width and height that it is seen on [device pixels].
    masked : bool
        Whether bad pixels are left out.
    pool : str
        How pixels are put together.
    full : bool
        All pixels of the whole picture, whatever is seen.
    roi : (4,) float or None
        Region that is to be counted.
    at : (str, int) or None
        Stream and id of the message that is to be shown; None follows the newest.
    """

    pane: int
    source: str
    kind: Kind
    rect: Rect
    canvas: tuple[int, int]
    masked: bool
    pool: Pool
    full: bool
    roi: Rect | None
    at: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class Step:
    """The message so many after the one shown."""

    pane: int
    by: int


@dataclass(frozen=True, slots=True)
class ClosePane:
    """No more pictures for this pane."""

    pane: int


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """A picture was drawn."""

    pane: int
    seq: int


@dataclass(frozen=True, slots=True)
class Hide:
    """The page is not visible, or visible again."""

    hidden: bool


@dataclass(frozen=True, slots=True)
class PixelWish:
    """The exact pixel of the picture that a pane shows."""

    pane: int
    x: int
    y: int


Wish = View | Step | ClosePane | Acknowledgement | Hide | PixelWish


def read_wish(text: str) -> Wish:
    """Read a message of the page.

    Parameters
    ----------
    text : str
        The message, as it came.

    Raises
    ------
    PageMessageError
        If it is too long, no JSON object, of no known type, or has a field too many, too few, or of a wrong kind.
    """
    if len(text) > MAX_REQUEST_BYTES or len(text.encode("utf-8", "replace")) > MAX_REQUEST_BYTES:
        raise PageMessageError(f"it has more than {MAX_REQUEST_BYTES} bytes")
    try:
        message = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise PageMessageError("it is no JSON") from error
    if not isinstance(message, dict):
        raise PageMessageError("it is no JSON object")
    kind = message.pop("t", None)
    if not isinstance(kind, str) or kind not in _READERS:
        raise PageMessageError(f"its type {_short(kind)} is none of {', '.join(_READERS)}")
    fields, read = _READERS[kind]
    if message.keys() != fields:
        wrong = ", ".join(sorted(_short(name) for name in message.keys() ^ fields))
        raise PageMessageError(f"{kind}: these fields are missing or too many: {wrong[:200]}")
    return read(message)


def _view(message: Mapping[str, Any]) -> View:
    at = message["at"]
    if at is not None:
        if not isinstance(at, dict) or at.keys() != {"stream", "id"}:
            raise PageMessageError("pane: at is neither null nor {stream, id}")
        at = (_text(at["stream"], "at.stream"), _integer(at["id"], "at.id", 0, MAX_ID))
    width, height = _list(message["canvas"], "canvas", 2)
    kind, pool = message["kind"], message["pool"]
    if not isinstance(kind, str) or kind not in KINDS:
        raise PageMessageError(f"pane: kind {_short(kind)} is none of {', '.join(KINDS)}")
    if not isinstance(pool, str) or pool not in ("max", "mean"):
        raise PageMessageError(f"pane: pool {_short(pool)} is neither max nor mean")
    return View(
        pane=_pane(message),
        source=_text(message["source"], "source"),
        kind=kind,
        rect=_rect(message["rect"], "rect"),
        canvas=(_integer(width, "canvas", 1, MAX_CANVAS), _integer(height, "canvas", 1, MAX_CANVAS)),
        masked=_flag(message["masked"], "masked"),
        pool=cast("Pool", pool),
        full=_flag(message["full"], "full"),
        roi=None if message["roi"] is None else _rect(message["roi"], "roi"),
        at=at,
    )


def _step(message: Mapping[str, Any]) -> Step:
    by = _integer(message["by"], "by", min(STEPS), max(STEPS))
    if by not in STEPS:
        raise PageMessageError(f"step: by {by} is none of {', '.join(map(str, STEPS))}")
    return Step(_pane(message), by)


def _close(message: Mapping[str, Any]) -> ClosePane:
    return ClosePane(_pane(message))


def _acknowledgement(message: Mapping[str, Any]) -> Acknowledgement:
    return Acknowledgement(_pane(message), _integer(message["seq"], "seq", 0, MAX_ID))


def _hide(message: Mapping[str, Any]) -> Hide:
    return Hide(_flag(message["hidden"], "hidden"))


def _pixel(message: Mapping[str, Any]) -> PixelWish:
    limit = int(MAX_COORDINATE)
    x, y = (_integer(message[name], name, -limit, limit) for name in ("x", "y"))
    return PixelWish(_pane(message), x, y)


_READERS: Mapping[str, tuple[frozenset[str], Callable[[Mapping[str, Any]], Wish]]] = {
    "pane": (
        frozenset(("pane", "source", "kind", "rect", "canvas", "masked", "pool", "full", "roi", "at")),
        _view,
    ),
    "step": (frozenset(("pane", "by")), _step),
    "close": (frozenset(("pane",)), _close),
    "ack": (frozenset(("pane", "seq")), _acknowledgement),
    "hide": (frozenset(("hidden",)), _hide),
    "px": (frozenset(("pane", "x", "y")), _pixel),
}


# --- fields ------------------------------------------------------------------------------------------------------


def _pane(message: Mapping[str, Any]) -> int:
    return _integer(message["pane"], "pane", 0, N_PANES - 1)


def _integer(value: Any, name: str, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        raise PageMessageError(f"{name} {_short(value)} is no integer from {least} to {most}")
    return value


def _flag(value: Any, name: str) -> bool:
    if not isinstance(value, bool):
        raise PageMessageError(f"{name} {_short(value)} is neither true nor false")
    return value


def _text(value: Any, name: str) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_NAME:
        raise PageMessageError(f"{name} {_short(value)} is no text of 1 to {MAX_NAME} characters")
    return value


def _list(value: Any, name: str, n: int) -> list[Any]:
    if not isinstance(value, list) or len(value) != n:
        raise PageMessageError(f"{name} {_short(value)} is no list of {n}")
    return value


def _rect(value: Any, name: str) -> Rect:
    numbers = _list(value, name, 4)
    for number in numbers:
        if type(number) not in (int, float) or not abs(number) <= MAX_COORDINATE or not math.isfinite(number):
            raise PageMessageError(f"{name}: {_short(number)} is no coordinate")
    x0, y0, x1, y1 = map(float, numbers)
    if not (x0 < x1 and y0 < y1):
        raise PageMessageError(f"{name} has no area: x {x0:g} to {x1:g}, y {y0:g} to {y1:g}")
    return x0, y0, x1, y1


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
