"""SIMPLON stream v1: ZeroMQ multipart messages of JSON and binary parts.

| message | parts                                                                                          |
|---------|------------------------------------------------------------------------------------------------|
| header  | `dheader`; config unless detail is none; three tables of header and blob if it is all; appendix |
| image   | `dimage`, `dimage_d`, blob, `dconfig`; appendix                                                  |
| end     | `dseries_end`                                                                                    |

The `hash` of an image is the MD5 of its second part, not of the pixels, and some firmwares send other things
there: it is written, and never read. `shape` is [n_fast, n_slow] on the wire and turned here.

References
----------
DECTRIS, SIMPLON API 1.8, stream interface.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from . import encodings, fields
from .errors import (
    FieldError,
    JsonError,
    LimitError,
    PartsError,
    SimplonError,
    SizeError,
    UnknownMessageError,
)
from .messages import DEFAULT_CHANNEL, Buffer, End, Image, Message, Pixels, Start, Ticks

MAX_JSON_BYTES = 2**20
"""Longest JSON part [bytes]; a captured detector configuration has 1,198."""

MAX_PARTS = 9
"""Most parts of a message: a header with all tables and its appendix."""

_TABLES = {
    "dflatfield-1.0": "flatfield",
    "dpixelmask-1.0": "pixel_mask",
    "dcountrate_table-1.0": "countrate_table",
}
_HTYPES = {name: htype for htype, name in _TABLES.items()}
_DETAILS = ("none", "basic", "all")
_END_HTYPES = ("dseries_end-1.0", "deseries_end-1.0")
"""The second is a misspelling that is on record in the field."""

_N_COUNTRATE_COLUMNS = 2


def decode(parts: Sequence[Buffer]) -> Message:
    """Read one multipart message.

    Parameters
    ----------
    parts : sequence of bytes-like
        The parts as they came; the pixels of an image remain a view into its third.

    Raises
    ------
    SimplonError
        If the message is anything else than described above.
    """
    if not 1 <= len(parts) <= MAX_PARTS:
        raise PartsError("message", f"must have 1 to {MAX_PARTS} parts", len(parts))
    first = _read_json(parts[0], "first part")
    htype = first.get("htype")
    if htype == "dheader-1.0":
        return _decode_start(first, parts)
    if htype == "dimage-1.0":
        return _decode_image(first, parts)
    if htype in _END_HTYPES:
        if len(parts) != 1:
            raise PartsError("end", "must have 1 part", len(parts))
        return End(version=1, series_id=fields.integer(first, "series", "end"))
    raise UnknownMessageError("message", "its htype is none of stream v1", htype)


def encode(message: Message) -> list[Buffer]:
    """Write one multipart message; the pixels of an image go in as they are."""
    if isinstance(message, Start):
        return _encode_start(message)
    if isinstance(message, Image):
        return _encode_image(message)
    return [_write_json({"htype": "dseries_end-1.0", "series": message.series_id})]


# --- header -------------------------------------------------------------------------------------------------


def _decode_start(first: dict[str, Any], parts: Sequence[Buffer]) -> Start:
    detail = fields.text(first, "header_detail", "header")
    if detail not in _DETAILS:
        raise FieldError("header", f"header_detail must be one of {', '.join(_DETAILS)}", detail)
    rest = list(parts[1:])
    if detail != "none" and not rest:
        raise PartsError("header", f"no configuration although header_detail is {detail}", len(parts))
    config = fields.plain(_read_json(rest.pop(0), "configuration"), "configuration") if detail != "none" else {}
    arrays, notes = _decode_tables(rest) if detail == "all" else ({}, ())
    if len(rest) > 1:
        raise PartsError("header", f"{len(rest)} parts after what header_detail {detail} has", len(parts))
    return Start(
        version=1,
        series_id=fields.integer(first, "series", "header"),
        header_detail=detail,
        config=config,
        n_images=_n_images(config),
        shape=_image_shape(config),
        dtype=encodings.V1_TYPES.get(f"uint{config.get('bit_depth_image')!s:.4}"),
        arrays=arrays,
        appendix=bytes(rest[0]) if rest else None,
        notes=notes,
    )


def _encode_start(start: Start) -> list[Buffer]:
    parts: list[Buffer] = [
        _write_json({"header_detail": start.header_detail, "htype": "dheader-1.0", "series": start.series_id})
    ]
    if start.header_detail != "none":
        parts.append(_write_json(dict(start.config)))
    if start.header_detail == "all":
        for name, htype in _HTYPES.items():
            parts += _encode_table(htype, start.arrays.get(name))
    if start.appendix is not None:
        parts.append(start.appendix)
    return parts


def _n_images(config: dict[str, Any]) -> int | None:
    """Return images × triggers; a detector that does not tell promises nothing."""
    n_images = fields.optional_integer(config, "nimages", "configuration")
    n_triggers = fields.optional_integer(config, "ntrigger", "configuration")
    if n_images is None:
        return None
    total = n_images * (1 if n_triggers is None else n_triggers)
    return total if total <= fields.MAX_ID else None


def _image_shape(config: dict[str, Any]) -> tuple[int, int] | None:
    n_slow, n_fast = config.get("y_pixels_in_detector"), config.get("x_pixels_in_detector")
    if n_slow is None or n_fast is None:
        return None
    axes = fields.shape([n_slow, n_fast], "configuration")
    return axes[0], axes[1]


def _decode_tables(rest: list[Buffer]) -> tuple[dict[str, np.ndarray[Any, Any]], tuple[str, ...]]:
    """Take pairs of table header and blob off the front of `rest`, as long as it goes on with one."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    notes = []
    while len(rest) > 1 and bytes(memoryview(rest[0])[:1]) == b"{":
        head = _read_json(rest[0], "table header")
        htype = fields.text(head, "htype", "table header")
        name = _TABLES.get(htype)
        blob = rest[1]
        del rest[:2]
        if name is None:  # not worth a series either; tickit-devices writes flatfield-1.0
            notes.append(f"left out: {FieldError('table header', 'its htype is unknown', htype)}")
            continue
        if memoryview(blob).nbytes == 0 or head.get("shape") == []:
            notes.append(f"{name}: empty")
            continue
        try:
            arrays[name] = _decode_table(name, head, blob)
        except SimplonError as error:  # a table is not worth a series
            notes.append(f"left out: {error}")
    return arrays, tuple(notes)


def _decode_table(name: str, head: dict[str, Any], blob: Buffer) -> np.ndarray[Any, Any]:
    dtype = encodings.V1_TYPES.get(fields.text(head, "type", name))
    if dtype is None:
        raise FieldError(name, "its type is unknown", head.get("type"))
    axes = tuple(reversed(fields.shape(head.get("shape"), name)))
    table = fields.array(blob, dtype, axes, name)
    # firmwares disagree about the order of this one's axes, and agree about its memory: pairs
    return table.reshape(-1, _N_COUNTRATE_COLUMNS) if name == "countrate_table" and table.size % 2 == 0 else table


def _encode_table(htype: str, table: np.ndarray[Any, Any] | None) -> list[Buffer]:
    if table is None:
        return [_write_json({"htype": htype, "shape": [], "type": "undefined"}), b""]
    head = {
        "htype": htype,
        "shape": list(reversed(table.shape)),
        "type": encodings.type_name(table.dtype.str),
    }
    return [_write_json(head), np.ascontiguousarray(table).tobytes()]


# --- image --------------------------------------------------------------------------------------------------


def _decode_image(first: dict[str, Any], parts: Sequence[Buffer]) -> Image:
    if len(parts) not in (4, 5):
        raise PartsError("image", "must have 4 or 5 parts", len(parts))
    data = _read_json(parts[1], "dimage_d")
    times = _read_json(parts[3], "dconfig")
    for head, htype in ((data, "dimage_d-1.0"), (times, "dconfig-1.0")):
        if head.get("htype") != htype:
            raise PartsError("image", f"a part should have htype {htype}", head.get("htype"))
    return Image(
        version=1,
        series_id=fields.integer(first, "series", "image"),
        image_id=fields.integer(first, "frame", "image"),
        channels={DEFAULT_CHANNEL: _decode_pixels(data, parts[2])},
        start=_decode_time(times, "start_time"),
        stop=_decode_time(times, "stop_time"),
        real=_decode_time(times, "real_time"),
        appendix=bytes(parts[4]) if len(parts) == 5 and memoryview(parts[4]).nbytes else None,
    )


def _encode_image(image: Image) -> list[Buffer]:
    (pixels,) = image.channels.values()
    encoding, type_ = encodings.write_v1(pixels)
    data = _write_json(
        {
            "encoding": encoding,
            "htype": "dimage_d-1.0",
            "shape": list(reversed(pixels.shape)),
            "size": memoryview(pixels.payload).nbytes,
            "type": type_,
        }
    )
    digest = hashlib.md5(data, usedforsecurity=False).hexdigest()
    head = {"frame": image.image_id, "hash": digest, "htype": "dimage-1.0", "series": image.series_id}
    times = {"real_time": image.real, "start_time": image.start, "stop_time": image.stop}
    known = {name: ticks.count for name, ticks in times.items() if ticks is not None}
    parts: list[Buffer] = [
        _write_json(head),
        data,
        pixels.payload,
        _write_json({"htype": "dconfig-1.0", **known}),
    ]
    if image.appendix is not None:
        parts.append(image.appendix)
    return parts


def _decode_pixels(data: dict[str, Any], blob: Buffer) -> Pixels:
    n_fast, n_slow = fields.shape(data.get("shape"), "image")
    codec, dtype = encodings.read_v1(fields.text(data, "encoding", "image"), fields.text(data, "type", "image"))
    payload = memoryview(blob)
    size = fields.integer(data, "size", "image")
    if size != payload.nbytes:
        raise SizeError("image", f"{payload.nbytes} bytes where its header says {size}")
    return encodings.checked(Pixels(shape=(n_slow, n_fast), dtype=dtype, codec=codec, payload=payload))


def _decode_time(times: dict[str, Any], key: str) -> Ticks | None:
    if times.get(key) is None:
        return None
    return Ticks(count=fields.integer(times, key, "dconfig", maximum=fields.MAX_TICKS))


# --- JSON ---------------------------------------------------------------------------------------------------


def _read_json(part: Buffer, what: str) -> dict[str, Any]:
    """Return a JSON object, of values that nobody has looked at yet; some firmwares end it with a line feed."""
    size = memoryview(part).nbytes
    if size > MAX_JSON_BYTES:
        raise LimitError(what, f"{size} bytes, the limit of a JSON part is {MAX_JSON_BYTES} bytes")
    try:
        value = json.loads(bytes(part).decode("utf-8"))
    except (
        ValueError,
        RecursionError,
    ) as error:  # bad UTF-8, bad JSON and endless digits; nesting without end
        raise JsonError(what, f"is no JSON: {type(error).__name__}", part) from None
    if not isinstance(value, dict):
        raise JsonError(what, "is no JSON object", part)
    return value


def _write_json(value: dict[str, Any]) -> bytes:
    """Return compact JSON with sorted keys, as detectors send it."""
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
