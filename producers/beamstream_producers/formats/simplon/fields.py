"""Fields of decoded JSON and CBOR, read with their type and range checked.

The mappings are whatever the two libraries make of hostile bytes, so nothing about a value is taken for
granted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .errors import FieldError, LimitError, SizeError
from .messages import Buffer

MAX_ID = 2**53 - 2
"""Largest series or image id that is believed: one more is the largest message id of a stream."""

MAX_TICKS = 2**62
"""Largest clock value that is believed [ticks]: 146 years of ns; a captured clock showed 33 days."""

MAX_AXIS_PIXELS = 65_536
"""Longest image axis [pixels]; EIGER2 16M has 4,362."""

MAX_DEPTH = 32
"""Deepest nesting of a configuration or of user data; DECTRIS's own go to 3."""

_INT64_MIN, _UINT64_MAX = -(2**63), 2**64 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Tagged:
    """A CBOR tag that may mean something here; looked into only after the library is done."""

    tag: int
    content: Any


def integer(fields: Mapping[Any, Any], key: str, what: str, *, maximum: int = MAX_ID) -> int:
    """Return a non-negative integer field, else raise `FieldError`."""
    value = fields.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= maximum:
        raise FieldError(what, f"{key!r} must be an integer from 0 to {maximum}", value)
    return value


def optional_integer(fields: Mapping[Any, Any], key: str, what: str) -> int | None:
    """Return a non-negative integer field, None where it is absent or null."""
    return None if fields.get(key) is None else integer(fields, key, what)


def text(fields: Mapping[Any, Any], key: str, what: str) -> str:
    """Return a text field, else raise `FieldError`."""
    value = fields.get(key)
    if not isinstance(value, str):
        raise FieldError(what, f"{key!r} must be a text", value)
    return encodable(value, what)


def optional_text(fields: Mapping[Any, Any], key: str, what: str) -> str | None:
    """Return a text field, None where it is absent or null."""
    return None if fields.get(key) is None else text(fields, key, what)


def number(fields: Mapping[Any, Any], key: str) -> float | None:
    """Return a finite number, None where there is none: metadata is left out rather than invented."""
    value = fields.get(key)
    if isinstance(value, int | float) and math.isfinite(value):
        return float(value)
    return None


def shape(value: object, what: str, n_axes: int = 2) -> tuple[int, ...]:
    """Return the axes of an array in the order given, each from 1 to `MAX_AXIS_PIXELS`."""
    if not isinstance(value, list | tuple) or len(value) != n_axes:
        raise FieldError(what, f"a shape must have {n_axes} axes", value)
    for length in value:
        if not isinstance(length, int) or isinstance(length, bool) or not 1 <= length <= MAX_AXIS_PIXELS:
            raise FieldError(what, f"an axis must have 1 to {MAX_AXIS_PIXELS} pixels", length)
    return tuple(value)


def encodable(value: str, what: str) -> str:
    """Return a text that can be written as UTF-8; JSON can smuggle in half a surrogate pair."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise FieldError(what, "a text is no valid Unicode", value) from None
    return value


def plain(value: object, what: str, depth: int = 0) -> Any:
    """Return a decoded value made of None, bool, int, float, str, bytes, list and dict with text keys only.

    Raises
    ------
    FieldError
        For an integer that does not fit 64 bits, a text that is no Unicode.
    LimitError
        If it is nested deeper than `MAX_DEPTH`.
    """
    if depth > MAX_DEPTH:
        raise LimitError(what, f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, Mapping):
        return {encodable(str(key), what): plain(item, what, depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, what, depth + 1) for item in value]
    if isinstance(value, Tagged):
        return plain(value.content, what, depth + 1)
    return _plain_leaf(value, what)


def _plain_leaf(value: object, what: str) -> Any:
    if value is None or isinstance(value, bool | float | bytes):
        return value
    if isinstance(value, memoryview | bytearray):
        return bytes(value)
    if isinstance(value, int):
        if not _INT64_MIN <= value <= _UINT64_MAX:
            raise FieldError(what, "an integer does not fit 64 bits")
        return value
    return encodable(str(value), what)


def array(data: Buffer, dtype: str, axes: tuple[int, ...], what: str) -> np.ndarray[Any, Any]:
    """Return bytes as a read-only array over them, else raise `SizeError`."""
    expected = math.prod(axes) * np.dtype(dtype).itemsize
    measured = memoryview(data).nbytes
    if measured != expected:
        raise SizeError(what, f"{measured} bytes where shape {axes} of {dtype} takes {expected}")
    values = np.frombuffer(data, dtype=dtype).reshape(axes)
    values.flags.writeable = False
    return values
