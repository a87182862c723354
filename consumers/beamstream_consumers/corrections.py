"""What is done to every frame before it is analysed: mask, dark, gain, flat field.

A `Corrections` is built once for a stream and applied to each frame, in one pass into a buffer of its own. Which pixels
are left out is known by its reason: where masks overlap, each counts its own. A dead pixel is never made up for: it has
`masked_value` in the result.

Flat fields from the detector's own configuration are not applied: manufacturers do not agree whether to multiply or to
divide, and most detectors have applied theirs already. One that is given here is divided by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import ShapeError

from .detector_metadata import detector_of, pixel_mask
from .geometry.metadata_values import as_number
from .kernels.correct import REASONS, correct
from .kernels.sum_blocks import flag_value


class CalibrationShapeError(ShapeError):
    """A mask, dark, gain or flat field of another shape than the frames."""

    def __init__(self, what: str, its_shape: tuple[int, ...], frame_shape: tuple[int, ...]) -> None:
        self.what = what
        self.its_shape = its_shape
        self.frame_shape = frame_shape
        super().__init__(f"the {what} has {its_shape} pixels (n_slow, n_fast), the frames have {frame_shape}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRules:
    """Which values are no measurement.

    Attributes
    ----------
    minimum, maximum : float or None
        Smallest and largest valid value, both included, before the dark is taken off [ADU]; what is above is
        saturated, as NeXus's `saturation_value` has it.
    flag : float or None
        A value that says that a pixel is bad.
    """

    minimum: float | None = None
    maximum: float | None = None
    flag: float | None = None


def rules_of(metadata: Mapping[str, Any], dtype: npt.DTypeLike) -> ValueRules:
    """Return what the detector's metadata says of values, and the flag of its dtype: all bits set, unless signed.

    Parameters
    ----------
    metadata : mapping
        Stream metadata.
    dtype : dtype
        Of the frames.
    """
    detector = detector_of(metadata)
    return ValueRules(
        minimum=as_number(detector.get("underload_value")),
        maximum=as_number(detector.get("saturation_value")),
        flag=flag_value(dtype),
    )


class Corrections:
    """Corrects the frames of one stream.

    Parameters
    ----------
    shape : (n_slow, n_fast)
        Shape of the frames [pixels].
    masks : mapping, optional
        Reason → (n_slow, n_fast) bool, True where a pixel is bad for this reason.
    dark : (n_slow, n_fast), optional
        What a pixel reads without a beam [ADU]; taken off first.
    gain : (n_slow, n_fast) or float, optional
        What one photon adds to it [ADU]; divided by.
    flatfield : (n_slow, n_fast), optional
        How sensitive it is, 1 for an average pixel; divided by.
    rules : ValueRules, optional
        Values that are no measurement.
    masked_value : float
        What stands in the result for pixels that are left out.

    Attributes
    ----------
    bad : (n_slow, n_fast) bool
        True where a pixel is left out whatever it reads. Pixels without a dark, or without a gain or flat field above
        0, are, too.
    n_bad : mapping
        Reason → number of pixels that have it.
    counts : mapping
        Of the last frame: reason (``masked``, ``flagged``, ``below``, ``above``) → pixels left out; the first that
        holds counts.

    Raises
    ------
    CalibrationShapeError
        If something has another shape than the frames; both are named.
    ShapeError
        If the frames are no images, or something does not hold real numbers.

    Examples
    --------
    >>> import numpy as np
    >>> corrections = Corrections((1, 4), masks={"dead": np.array([[True, False, False, False]])}, gain=2.0,
    ...                           rules=ValueRules(flag=65535))
    >>> corrections.apply(np.array([[9, 10, 65535, 4]], dtype=np.uint16)).tolist()
    [[0.0, 5.0, 0.0, 2.0]]
    >>> corrections.counts["flagged"]
    1
    """

    def __init__(
        self,
        shape: tuple[int, int],
        *,
        masks: Mapping[str, npt.NDArray[Any]] | None = None,
        dark: npt.NDArray[Any] | None = None,
        gain: npt.NDArray[Any] | float | None = None,
        flatfield: npt.NDArray[Any] | None = None,
        rules: ValueRules | None = None,
        masked_value: float = 0.0,
    ) -> None:
        if len(shape) != 2 or min(shape) < 1:
            raise ShapeError(f"frames of shape {shape} cannot be corrected; an image has (n_slow, n_fast)")
        self.shape = shape
        self.rules = rules or ValueRules()
        self.masked_value = float(masked_value)
        self.bad = np.zeros(shape, dtype=np.bool_)
        self.counts: Mapping[str, int] = dict.fromkeys(REASONS, 0)
        n_bad: dict[str, int] = {}
        for reason, mask in (masks or {}).items():
            n_bad[reason] = self._leave_out(_fitting(f"mask ({reason})", mask, shape) != 0)
        self._dark = None if dark is None else _fitting("dark", dark, shape).astype(np.float32)
        if self._dark is not None:
            n_bad["dark"] = self._leave_out(~np.isfinite(self._dark))
        self._scale = self._one_over("gain", gain, n_bad, None)
        self._scale = self._one_over("flat field", flatfield, n_bad, self._scale)
        self.n_bad: Mapping[str, int] = n_bad
        self._out: npt.NDArray[np.float32] | None = None

    @classmethod
    def for_stream(
        cls,
        metadata: Mapping[str, Any],
        shape: tuple[int, int],
        dtype: npt.DTypeLike,
        *,
        masks: Mapping[str, npt.NDArray[Any]] | None = None,
        **settings: Any,
    ) -> Corrections:
        """Return the corrections of a stream: its own mask and value rules, beside what is given.

        Parameters
        ----------
        metadata : mapping
            Stream metadata.
        shape : (n_slow, n_fast)
            Shape of the frames [pixels].
        dtype : dtype
            Of the frames.
        masks : mapping, optional
            Further masks by their reasons.
        **settings
            As for the class; `rules` replaces what the metadata says.

        Raises
        ------
        CalibrationShapeError
            If something has another shape than the frames; a mask of the metadata that does is left out.
        """
        own = pixel_mask(metadata, shape)
        all_masks = ({} if own is None else {"detector": own}) | dict(masks or {})
        settings.setdefault("rules", rules_of(metadata, dtype))
        return cls(shape, masks=all_masks, **settings)

    def apply(self, image: npt.NDArray[Any], out: npt.NDArray[np.float32] | None = None) -> npt.NDArray[np.float32]:
        """Correct a frame.

        Parameters
        ----------
        image : (n_slow, n_fast) integer or float
            Counts [ADU or photons per pixel]; not changed.
        out : (n_slow, n_fast) float32, optional
            Where to put the result; by default a buffer that the next call uses again.

        Returns
        -------
        (n_slow, n_fast) float32
            (image - dark)/(gain·flat field) [photons per pixel]; `masked_value` where a pixel is left out.

        Raises
        ------
        ShapeError
            If the frame or `out` has another shape, or no real numbers.
        """
        if image.shape != self.shape or image.dtype.kind not in "uif":
            raise ShapeError(f"the corrections are for {self.shape} real numbers, this is {image.shape} {image.dtype}")
        if out is None:
            if self._out is None:
                self._out = np.empty(self.shape, dtype=np.float32)
            out = self._out
        elif out.shape != self.shape or out.dtype != np.float32:
            raise ShapeError(f"out is {out.shape} {out.dtype}; needed is {self.shape} float32")
        rules = self.rules
        counts = correct(
            image.astype(image.dtype.newbyteorder("="), copy=False),
            self.bad,
            self._dark,
            self._scale,
            (
                -np.inf if rules.minimum is None else rules.minimum,
                np.inf if rules.maximum is None else rules.maximum,
            ),
            np.nan if rules.flag is None else rules.flag,
            self.masked_value,
            out,
        )
        self.counts = dict(zip(REASONS, map(int, counts), strict=True))
        return out

    def _leave_out(self, mask: npt.NDArray[np.bool_]) -> int:
        """Leave pixels out of all frames; returns how many."""
        self.bad |= mask
        return int(np.count_nonzero(mask))

    def _one_over(
        self,
        what: str,
        values: npt.NDArray[Any] | float | None,
        n_bad: dict[str, int],
        before: npt.NDArray[np.float32] | None,
    ) -> npt.NDArray[np.float32] | None:
        """Return `before` divided by a gain or a flat field."""
        if values is None:
            return before
        array = np.full(self.shape, values) if isinstance(values, int | float) else _fitting(what, values, self.shape)
        divisor = array.astype(np.float64)
        usable = np.isfinite(divisor) & (divisor > 0)
        n_bad[what] = self._leave_out(~usable)
        scale = np.divide(1.0 if before is None else before, divisor, where=usable, out=np.zeros(self.shape))
        return scale.astype(np.float32)


def _fitting(what: str, array: npt.NDArray[Any], shape: tuple[int, int]) -> npt.NDArray[Any]:
    """Return an array of the frames' shape; refuses another one."""
    if array.shape != shape:
        raise CalibrationShapeError(what, array.shape, shape)
    if array.dtype.kind not in "buif":
        raise ShapeError(f"the {what} holds {array.dtype}, no real numbers")
    return array
