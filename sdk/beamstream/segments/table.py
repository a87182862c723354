"""The index at the end of a closed segment: one row of fixed length for each record; pure."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from .layout import ALIGNMENT, RECORD_FIXED_BYTES, RecordHead

_ROW = struct.Struct("<QQQQQQIBxH")

ROW = np.dtype(
    [
        ("offset", "<u8"),
        ("payload_bytes", "<u8"),
        ("position", "<u8"),
        ("sequence", "<u8"),
        ("message_id", "<u8"),
        ("payload_checksum", "<u8"),
        ("header_bytes", "<u4"),
        ("kind", "u1"),
        ("reserved", "u1"),
        ("flags", "<u2"),
    ]
)
"""One row of the index: what finds a record without reading it; 56 bytes."""

ROW_BYTES = ROW.itemsize

Table = npt.NDArray[Any]
"""Rows of dtype `ROW`, in the order of the file."""


def pack_row(head: RecordHead) -> bytes:
    """Pack the row of a record."""
    return _ROW.pack(
        head.offset,
        head.payload_bytes,
        head.position,
        head.sequence,
        head.message_id,
        head.payload_checksum,
        head.header_bytes,
        head.kind,
        head.flags,
    )


def make_table(heads: Iterable[RecordHead]) -> Table:
    """Return the rows of records."""
    return np.frombuffer(b"".join(map(pack_row, heads)), ROW)


def unpack_table(packed: bytes, first_offset: int, end: int) -> Table | None:
    """Read an index; None if its rows are not records one behind the other between `first_offset` and `end`."""
    if len(packed) % ROW_BYTES:
        return None
    table = np.frombuffer(packed, ROW)
    if not len(table):
        return table
    in_bounds = (table["offset"] <= end) & (table["payload_bytes"] <= end)
    if not in_bounds.all():
        return None
    record_bytes = _aligned(RECORD_FIXED_BYTES + table["header_bytes"].astype("u8")) + _aligned(table["payload_bytes"])
    ends = table["offset"] + record_bytes
    in_order = (table["offset"][1:] >= ends[:-1]).all()
    return table if in_order and table["offset"][0] >= first_offset and ends[-1] <= end else None


def _aligned(length: npt.NDArray[Any]) -> npt.NDArray[Any]:
    # Python's int would turn uint64 into float64 before NumPy 2; the type of the scalar is named to be sure.
    step = np.uint64(ALIGNMENT)
    return (length + step - np.uint64(1)) // step * step
