"""The three messages of a SIMPLON stream, the same for versions 1 and 2.

What differs between the versions is turned here once and for all: shapes are (n_slow, n_fast), image ids
count from 0, codecs have beamstream's names. Values are otherwise as sent; times stay in the detector's ticks
(see `times`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Buffer = bytes | bytearray | memoryview

DEFAULT_CHANNEL = "threshold_1"
"""The only channel of stream v1, and the first one of v2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pixels:
    """The pixels of one channel of one image, packed as they came.

    Attributes
    ----------
    shape : (n_slow, n_fast)
        Of the unpacked image [pixels].
    dtype : str
        NumPy's name of the element with its byte order: ``|u1``, ``<u2``, ``<u4``.
    codec : str
        A name of `beamstream.codecs`: ``none``, ``lz4``, ``lz4-block`` or ``bslz4``.
    payload : bytes-like
        The packed pixels, untouched; a view into the message, not a copy.
    """

    shape: tuple[int, int]
    dtype: str
    codec: str
    payload: Buffer


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticks:
    """A time by the detector's clock, which runs since `initialize`: only differences mean something.

    Attributes
    ----------
    count : int
        Ticks since the clock began.
    rate_hz : int or None
        Ticks per second; None in stream v1, where only the header can tell (see `times.tick_rate_hz`).
    """

    count: int
    rate_hz: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Start:
    """A series begins (v1: `dheader-1.0` and what follows it; v2: `start`).

    Attributes
    ----------
    version : int
        1 or 2.
    series_id : int
        The detector's number of the series; what `command/arm` returned.
    header_detail : str
        v1: ``none``, ``basic`` or ``all``; v2: always ``all``.
    config : mapping
        v1: the detector configuration as sent; v2: the plain fields of the message, without `type` and
        arrays.
    channels : tuple of str
        v1: ``("threshold_1",)``.
    n_images : int or None
        What the detector promises: v1 `nimages` × `ntrigger`, v2 `number_of_images`. An aborted series sends
        fewer.
    shape : (n_slow, n_fast) or None
        Of the images, the region of interest if one is set [pixels].
    dtype : str or None
        Of the images, if the message tells.
    arrays : mapping of str to array
        ``pixel_mask`` and ``flatfield`` (n_slow, n_fast), in v2 one per channel as
        ``pixel_mask/threshold_1``; ``countrate_table``: v1 (n, 2), v2 (n,). Read-only, mostly views into the
        message. Absent, empty and damaged ones are left out.
    appendix : bytes or plain value or None
        v1: the header appendix; v2: `user_data`.
    series_unique_id : str or None
        v2 only.
    notes : tuple of str
        What was left out and why, in words.
    """

    version: int
    series_id: int
    header_detail: str = "basic"
    config: Mapping[str, Any] = field(default_factory=dict)
    channels: tuple[str, ...] = (DEFAULT_CHANNEL,)
    n_images: int | None = None
    shape: tuple[int, int] | None = None
    dtype: str | None = None
    arrays: Mapping[str, npt.NDArray[np.generic]] = field(default_factory=dict)
    appendix: Any = None
    series_unique_id: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One exposure, with the pixels of every channel.

    Attributes
    ----------
    image_id : int
        Counts from 0 within the series.
    channels : mapping of str to Pixels
        By the channel's name.
    start, stop, real : Ticks or None
        Begin and end of the exposure, and how long the detector really counted.
    series_date : str or None
        v2: when the series began, as sent (ISO 8601).
    appendix : bytes or plain value or None
        v1: the image appendix; v2: `user_data`.
    """

    version: int
    series_id: int
    image_id: int
    channels: Mapping[str, Pixels]
    start: Ticks | None = None
    stop: Ticks | None = None
    real: Ticks | None = None
    series_date: str | None = None
    series_unique_id: str | None = None
    appendix: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """A series ends; it may hold fewer images than were promised."""

    version: int
    series_id: int
    series_unique_id: str | None = None


Message = Start | Image | End
