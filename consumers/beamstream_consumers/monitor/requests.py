"""What viewers may ask for beyond the newest: other messages, exact pixels, and, as an operator, changes.

All of these may take their time (they read the broker or a file) and are called in worker threads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from .pictures.picture import Kind, Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class ExactPixel:
    """One pixel of a picture.

    Attributes
    ----------
    value : float or None
        What it counted; None where it has no value.
    why : str or None
        ``masked``, ``no value`` or ``outside``, where there is none.
    raw : mapping or None
        ``fs``, ``ss``, ``panel``: where it lies in the frame, of assembled pictures.
    resolution_a : float or None
        d [Å].
    """

    value: float | None
    why: str | None
    raw: Mapping[str, int | str] | None
    resolution_a: float | None


class Archive(Protocol):
    """Finds messages by their ids, in runs of now and before."""

    def picture(self, source: str, kind: Kind, stream: str, message_id: int) -> Picture:
        """Return the picture of one message; of the last ones it is at hand.

        Raises
        ------
        BeamstreamError
            If it is gone, never came, or is no image; says which.
        """
        ...

    def neighbour(self, source: str, kind: Kind, stream: str, message_id: int, by: int) -> int:
        """Return the id `by` messages of this kind after (or before) one; the last (first) one there is at most.

        Raises
        ------
        BeamstreamError
            If the stream has none.
        """
        ...

    def pixel(self, picture: Picture, x: int, y: int) -> ExactPixel:
        """Return what one pixel of a picture says, whatever is pooled on the way to the page."""
        ...


class Control(Protocol):
    """What an operator may change."""

    def parameters(self, source: str) -> Mapping[str, Any]:
        """Return the peak finder's parameters, as ``GET control/parameters`` gives them."""
        ...

    def preview(
        self, source: str, kind: Kind, stream: str, message_id: int, values: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the peaks of one message with other parameters; nothing is changed."""
        ...

    def apply(self, source: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change parameters of the running group."""
        ...

    def draw_mask(self, source: str, shapes: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Add polygons to the peak finder's mask, or take them from it."""
        ...

    def reset_powder(self, source: str) -> None:
        """Begin the powders of a source anew."""
        ...
