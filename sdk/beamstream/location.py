"""Where in shared memory a payload lies; travels in the header of its message. Pure."""

from __future__ import annotations

import struct
from typing import NamedTuple

PACKED = struct.Struct(">QII")
"""Segment, epoch, offset."""

LOCATION_BYTES = PACKED.size


class Location(NamedTuple):
    """A place in a segment of the shared-memory tier; how long the payload is, its header says.

    Attributes
    ----------
    segment : int
        Which segment: a number that no other one has, of whatever broker (64 bits).
    epoch : int
        Which use of the segment (32 bits); when it is used again, what lay there is gone.
    offset : int
        Where the payload begins [bytes].
    """

    segment: int
    epoch: int
    offset: int
