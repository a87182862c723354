"""A picture: one image as viewers see parts of it, with what is known of it. Shared by all viewers, made once.

What is costly and not always wanted (smaller levels, without the mask, by the mean) is made when the first viewer
asks, under a lock, and kept as long as the picture.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .pooling import halve

Kind = Literal["frame", "hit", "sum", "max", "hits-sum", "hits-max"]
"""What a picture is of: the newest frame or hit, the sum or maximum of all frames or hits that were seen."""

Pool = Literal["max", "mean"]
"""What a pixel of a smaller level says of the four below it that have a value."""

KINDS: tuple[Kind, ...] = ("frame", "hit", "sum", "max", "hits-sum", "hits-max")

SMALLEST_EDGE = 512
"""Levels are not made smaller than this, along the longer axis [pixels]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of a picture besides its pixels.

    Attributes
    ----------
    percentiles : mapping
        ``"1"``, ``"50"``, ``"95"``, ``"99.5"``, ``"99.95"`` → value, of all good pixels.
    histogram : mapping
        ``first``, ``step``, ``counts`` of log10(1 + value) of all good pixels.
    numbers : mapping
        ``maximum``, ``mean``, ``total``, ``n_good``, ``n_flagged``, ``n_masked``.
    hit, n_peaks : bool or None, int or None
        What the peak finder says; None where it has said nothing.
    peaks : (n, 3) float32 or None
        x, y [pixels of the picture] and intensity; None where the peak finder has said nothing.
    radial : (2, n) float32 or None
        Radius [pixels] and mean of the good pixels there; None where the beam's centre is not known.
    """

    percentiles: Mapping[str, float]
    histogram: Mapping[str, Any]
    numbers: Mapping[str, float]
    hit: bool | None = None
    n_peaks: int | None = None
    peaks: npt.NDArray[np.float32] | None = None
    radial: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Picture:
    """One image.

    Attributes
    ----------
    number : int
        Different for every picture of a process, growing; what is made of a picture is kept under it.
    source : str
        Address of its data source.
    kind : str
        What it is of.
    stream : str
        Name of its stream.
    message_id, n_frames : int
        The newest message in it; how many are in it.
    taken_ns : int
        When that message was taken [ns since 1970, UTC].
    image : (n_slow, n_fast) uint16 or uint32
        Pixels as they are shown; `flag` where there is no value, whatever the mask says.
    mask : (n_slow, n_fast) bool or None
        True where a pixel is bad, all of the run's pictures share it.
    flag : int
        The largest number of the dtype.
    scale, offset : float
        Value = number · scale + offset; 1 and 0 but for frames of floats.
    about : About
        What is known of it.
    """

    number: int
    source: str
    kind: Kind
    stream: str
    message_id: int
    n_frames: int
    taken_ns: int
    image: npt.NDArray[Any]
    mask: npt.NDArray[np.bool_] | None
    flag: int
    about: About
    scale: float = 1.0
    offset: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    _levels: dict[tuple[bool, Pool], list[npt.NDArray[Any]]] = field(default_factory=dict, repr=False)

    @property
    def shape(self) -> tuple[int, int]:
        """Shape of the whole picture (n_slow, n_fast)."""
        return self.image.shape[0], self.image.shape[1]

    @property
    def n_levels(self) -> int:
        """How many levels there are: 0 is the picture itself, each next one has half the edge."""
        edge, n = max(self.shape), 1
        while edge >= 2 * SMALLEST_EDGE:
            edge, n = -(-edge // 2), n + 1
        return n

    def level(self, level: int, *, masked: bool = True, pool: Pool = "max") -> npt.NDArray[Any]:
        """Return the picture with pixels 2**level wide; made at the first call, which takes milliseconds.

        Parameters
        ----------
        level : int
            0 to `n_levels` - 1.
        masked : bool
            Show no value where the mask says so, and pool without these pixels.
        pool : "max" or "mean"
            How pixels are put together.

        Returns
        -------
        (n_slow, n_fast) of the picture's dtype, not to be written to
        """
        with self._lock:
            levels = self._levels.setdefault((masked, pool), [])
            if not levels:
                levels.append(self._with_mask() if masked else self.image)
            while len(levels) <= level:
                levels.append(halve(levels[-1], self.flag, pool))
            return levels[level]

    def _with_mask(self) -> npt.NDArray[Any]:
        if self.mask is None:
            return self.image
        return np.where(self.mask, self.image.dtype.type(self.flag), self.image)
