"""What all threads of one monitor share."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field

from beamstream.frame import Frame
from beamstream_consumers.monitor.board import Board
from beamstream_consumers.monitor.pictures.history import Bounded
from beamstream_consumers.monitor.pictures.said_peaks import SaidPeaks

from .scenes import Scenes
from .wants import Wants

HistoryKey = tuple[str, bool, str, int, int]
"""Source, whether it is a hit, stream, when that was made, message id."""


@dataclass(frozen=True, slots=True)
class KeptFrame:
    """A frame as it came, and what was said of it."""

    frame: Frame
    said: SaidPeaks | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What all threads share.

    Attributes
    ----------
    board : Board
        Where pictures and documents go.
    broker : str or None
        The broker's URL.
    fps : float
        Most pictures of a source and kind in a second [Hz].
    scenes : Scenes
        Masks and geometries.
    history : Bounded
        The last frames.
    wants : Wants
        What somebody looks at.
    counts : Counter
        What was shown, skipped, refused.
    stop : threading.Event
        Ends all threads.
    """

    board: Board
    broker: str | None
    fps: float
    scenes: Scenes
    history: Bounded[HistoryKey, KeptFrame]
    wants: Wants = field(default_factory=Wants)
    counts: Counter[str] = field(default_factory=Counter)
    stop: threading.Event = field(default_factory=threading.Event)
