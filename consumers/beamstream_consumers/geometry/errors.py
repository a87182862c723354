"""What can be wrong with a geometry; all of it is for whoever wrote or chose the file to mend."""

from __future__ import annotations

from collections.abc import Sequence

from beamstream.errors import ShapeError, UsageError


class GeometryFormatError(UsageError):
    """A geometry that cannot be meant as it is written; `line` is where, 0 where it is about the whole."""

    def __init__(self, where: str, line: int, reason: str) -> None:
        self.where = where
        self.line = line
        self.reason = reason
        place = f"{where}, line {line}" if line else where
        super().__init__(f"{place}: {reason}")


class GeometryShapeError(ShapeError):
    """A geometry that is of another detector, readout or binning than the frames."""

    def __init__(self, where: str, geometry_shape: Sequence[int], frame_shape: Sequence[int]) -> None:
        self.where = where
        self.geometry_shape = tuple(geometry_shape)
        self.frame_shape = tuple(frame_shape)
        super().__init__(
            f"{where} describes images of {self.geometry_shape} (n_slow, n_fast), these have {self.frame_shape}; "
            "use the geometry of this detector, readout mode and binning"
        )


class GeometryIncompleteError(UsageError):
    """Something that was asked for needs a number that the geometry does not have."""

    def __init__(self, where: str, missing: str, advice: str) -> None:
        self.where = where
        self.missing = missing
        super().__init__(f"{where} does not say {missing}; {advice}")
