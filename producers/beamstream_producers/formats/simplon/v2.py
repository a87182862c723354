"""SIMPLON stream v2: one CBOR map per ZeroMQ message.

Arrays are RFC 8746's: tag 40 of shape and typed array, the bytes of it packed or not by DECTRIS's tag 56500.
Large byte strings are located, not copied (see `skeleton`): pixels remain views into the message.

Kept out on purpose: the preview schema of 2020.2 firmware (`series_number`, `image_number`), which is
refused.

References
----------
DECTRIS, stream V2 documentation (github.com/dectris/documentation); RFC 8746, sections 2 and 3.1.1; RFC 8949.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import cbor2
import numpy as np

from beamstream import codecs
from beamstream.errors import CodecError

from . import encodings, fields
from .errors import CborError, FieldError, LimitError, SimplonError, SizeError, UnknownMessageError
from .fields import Tagged
from .messages import DEFAULT_CHANNEL, Buffer, End, Image, Message, Pixels, Start, Ticks
from .skeleton import COMPRESSED_TAG, LARGE_TAG, MULTI_DIM_TAG, skeleton

SELF_DESCRIBED = b"\xd9\xd9\xf7"
"""Tag 55799, in front of every message of a detector."""

DEFAULT_TICK_RATE_HZ = 50_000_000
"""What detectors send as the denominator of their times [ticks/s]."""

MAX_CHANNELS = 16
"""Most channels of an image; detectors have up to four thresholds and their difference."""

MAX_TABLES_BYTES = 2**30
"""Most bytes that a start's packed tables may become; five channels of a 16M with mask and flat field have 0.72 GB."""

_ARRAY_FIELDS = {
    "flatfield": "flatfield",
    "pixel_mask": "pixel_mask",
    "countrate_correction_lookup_table": "countrate_table",
}
_DATE_FIELDS = ("arm_date", "series_date")
_DATE_TAG = 0


def decode(message: Buffer) -> Message:
    """Read one message.

    Parameters
    ----------
    message : bytes-like
        One whole CBOR map, with or without tag 55799 in front.

    Raises
    ------
    SimplonError
        If it is anything else.
    """
    content = _load(memoryview(message).cast("B"))
    kind = content.get("type")
    if kind == "start":
        return _decode_start(content)
    if kind == "image":
        return _decode_image(content)
    if kind == "end":
        return End(version=2, **_series(content, "end"))
    raise UnknownMessageError("message", "its type is none of stream v2", kind)


def encode(message: Message) -> list[Buffer]:
    """Write one message; copies the pixels once, as CBOR is one piece."""
    if isinstance(message, Start):
        content = _encode_start(message)
    elif isinstance(message, Image):
        content = _encode_image(message)
    else:
        content = {"type": "end"}
    content["series_id"] = message.series_id
    content["series_unique_id"] = message.series_unique_id
    for name in _DATE_FIELDS:
        if content.get(name) is not None:
            content[name] = cbor2.CBORTag(_DATE_TAG, content[name])
    present = {key: value for key, value in content.items() if value is not None}
    return [SELF_DESCRIBED + cbor2.dumps(present)]


def _load(message: memoryview) -> Mapping[Any, Any]:
    """Return the map of a message; tags that mean something come as `Tagged`, large byte strings as views."""
    reduced, large = skeleton(message)

    def on_tag(*arguments: Any) -> Any:  # cbor2 5 gives (decoder, tag), cbor2 6 (tag, immutable)
        tag = next(item for item in arguments if isinstance(item, cbor2.CBORTag))
        return large[tag.value] if tag.tag == LARGE_TAG else Tagged(tag.tag, tag.value)

    try:
        content = cbor2.loads(reduced, tag_hook=on_tag)
    except (cbor2.CBORError, ValueError, TypeError) as error:  # Unicode, keys that cannot be hashed
        raise CborError("message", f"is no CBOR: {type(error).__name__}", message) from None
    if not isinstance(content, Mapping):
        raise CborError("message", "is no map", message)
    return content


def _series(content: Mapping[Any, Any], what: str) -> dict[str, Any]:
    return {
        "series_id": fields.integer(content, "series_id", what),
        "series_unique_id": fields.optional_text(content, "series_unique_id", what),
    }


# --- start --------------------------------------------------------------------------------------------------


def _decode_start(content: Mapping[Any, Any]) -> Start:
    arrays, notes = _decode_arrays(content)
    left_out = {"type", "user_data", *_ARRAY_FIELDS}
    config = {key: value for key, value in content.items() if key not in left_out}
    n_slow, n_fast = content.get("image_size_y"), content.get("image_size_x")
    axes = None if n_slow is None or n_fast is None else fields.shape([n_slow, n_fast], "start")
    return Start(
        version=2,
        **_series(content, "start"),
        header_detail="all",
        config=fields.plain(config, "start"),
        channels=_channel_names(content),
        n_images=fields.optional_integer(content, "number_of_images", "start"),
        shape=None if axes is None else (axes[0], axes[1]),
        dtype=encodings.V1_TYPES.get(str(content.get("image_dtype"))),
        arrays=arrays,
        appendix=fields.plain(content.get("user_data"), "user_data"),
        notes=notes,
    )


def _encode_start(start: Start) -> dict[str, Any]:
    n_slow, n_fast = start.shape or (None, None)
    config = {key: value for key, value in start.config.items() if key not in _ARRAY_FIELDS}
    content: dict[str, Any] = {**config, "type": "start"}
    content |= {
        "channels": list(start.channels),
        "number_of_images": start.n_images,
        "image_size_x": n_fast,
        "image_size_y": n_slow,
        "image_dtype": None if start.dtype is None else encodings.type_name(start.dtype),
        "user_data": start.appendix,
    }
    wire_names = {ours: theirs for theirs, ours in _ARRAY_FIELDS.items()}
    for path, values in start.arrays.items():
        name, _, channel = path.partition("/")
        if channel:
            content.setdefault(wire_names[name], {})[channel] = _encode_array(values)
        else:
            content[wire_names[name]] = _encode_array(values)
    return content


def _channel_names(content: Mapping[Any, Any]) -> tuple[str, ...]:
    names = content.get("channels") or (DEFAULT_CHANNEL,)
    if not isinstance(names, list | tuple) or len(names) > MAX_CHANNELS:
        raise FieldError("start", f"'channels' must be a list of up to {MAX_CHANNELS} names", names)
    if len(set(map(str, names))) != len(names):
        raise FieldError("start", "a channel is named twice", names)
    return tuple(_channel_name(name) for name in names)


def _channel_name(name: object) -> str:
    """Return a channel's name: a word, because streams are named after it."""
    if not isinstance(name, str) or not name.isascii() or not name.replace("_", "").isalnum() or len(name) > 32:
        raise FieldError("channel", "a name must be a word of up to 32 characters", name)
    return name


def _decode_arrays(content: Mapping[Any, Any]) -> tuple[dict[str, np.ndarray[Any, Any]], tuple[str, ...]]:
    """Return the tables by name, and a note for each that is none: captures made smaller hold zeros there."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    notes = []
    room_bytes = MAX_TABLES_BYTES
    for field, name in _ARRAY_FIELDS.items():
        value = content.get(field)
        by_path = {name: value}
        if isinstance(value, Mapping):
            by_path = {f"{name}/{_channel_name(channel)}": item for channel, item in value.items()}
        for path, item in by_path.items():
            if item is None:
                continue
            try:
                arrays[path] = _decode_array(item, path, room_bytes)
            except SimplonError as error:  # a table is not worth a series
                notes.append(f"left out: {error}")
            else:
                room_bytes -= arrays[path].nbytes
    return arrays, tuple(notes)


def _decode_array(item: object, what: str, room_bytes: int) -> np.ndarray[Any, Any]:
    """Return a table (n_slow, n_fast), or (n,) for one that comes without axes; at most so large where it is packed."""
    if isinstance(item, Tagged) and item.tag in encodings.V2_TAGS:
        dtype, codec, data = _typed(item, what)
        if codec != "none":
            raise FieldError(what, "a packed table must say its axes", codec)
        n_values = memoryview(data).nbytes // np.dtype(dtype).itemsize
        if n_values == 0:
            raise SizeError(what, "empty")
        return fields.array(data, dtype, (n_values,), what)
    axes, packed = _multi_dim(item, what)
    if packed.codec == "none":
        return fields.array(packed.payload, packed.dtype, axes, what)
    unpacked = math.prod(axes) * np.dtype(packed.dtype).itemsize
    if unpacked > room_bytes:
        raise LimitError(what, f"unpacks to {unpacked} bytes, {room_bytes} are left of {MAX_TABLES_BYTES} bytes")
    try:
        values = codecs.decode(packed.payload, packed.codec, axes, np.dtype(packed.dtype))
    except CodecError as error:
        raise SizeError(what, f"cannot be unpacked: {error}") from None
    values.flags.writeable = False
    return values


def _encode_array(values: np.ndarray[Any, Any]) -> cbor2.CBORTag:
    typed = cbor2.CBORTag(_tag_of(values.dtype.str), np.ascontiguousarray(values).tobytes())
    return typed if values.ndim == 1 else cbor2.CBORTag(MULTI_DIM_TAG, [list(values.shape), typed])


# --- image --------------------------------------------------------------------------------------------------


def _decode_image(content: Mapping[Any, Any]) -> Image:
    data = content.get("data")
    if not isinstance(data, Mapping) or not 1 <= len(data) <= MAX_CHANNELS:
        raise FieldError("image", f"'data' must map 1 to {MAX_CHANNELS} channels to arrays", data)
    return Image(
        version=2,
        **_series(content, "image"),
        image_id=fields.integer(content, "image_id", "image"),
        channels={_channel_name(name): _multi_dim(item, "image")[1] for name, item in data.items()},
        start=_decode_time(content, "start_time"),
        stop=_decode_time(content, "stop_time"),
        real=_decode_time(content, "real_time"),
        series_date=fields.optional_text(content, "series_date", "image"),
        appendix=fields.plain(content.get("user_data"), "user_data"),
    )


def _encode_image(image: Image) -> dict[str, Any]:
    return {
        "type": "image",
        "image_id": image.image_id,
        "real_time": _encode_time(image.real),
        "series_date": image.series_date,
        "start_time": _encode_time(image.start),
        "stop_time": _encode_time(image.stop),
        "user_data": image.appendix,
        "data": {name: _encode_pixels(pixels) for name, pixels in image.channels.items()},
    }


def _multi_dim(item: object, what: str) -> tuple[tuple[int, int], Pixels]:
    """Return shape and bytes of tag 40, their size checked."""
    if not isinstance(item, Tagged) or item.tag != MULTI_DIM_TAG:
        raise FieldError(what, "an array must have tag 40", item)
    if not isinstance(item.content, list | tuple) or len(item.content) != 2:
        raise FieldError(what, "an array must be shape and values", item.content)
    n_slow, n_fast = fields.shape(item.content[0], what)
    dtype, codec, payload = _typed(item.content[1], what)
    pixels = Pixels(shape=(n_slow, n_fast), dtype=dtype, codec=codec, payload=payload)
    return pixels.shape, encodings.checked(pixels)


def _typed(item: object, what: str) -> tuple[str, str, Buffer]:
    """Return (dtype, codec, bytes) of a typed array."""
    if not isinstance(item, Tagged) or item.tag not in encodings.V2_TAGS:
        raise FieldError(what, "values must be a typed array", item)
    dtype, content = encodings.V2_TAGS[item.tag], item.content
    codec = "none"
    if isinstance(content, Tagged) and content.tag == COMPRESSED_TAG:
        if not isinstance(content.content, list | tuple) or len(content.content) != 3:
            raise FieldError(what, "packed values must be algorithm, element size and bytes", content.content)
        algorithm, element_bytes, content = content.content
        codec = encodings.read_v2(algorithm, element_bytes, dtype)
    if not isinstance(content, bytes | memoryview):
        raise FieldError(what, "values must be a byte string", content)
    return dtype, codec, content


def _encode_pixels(pixels: Pixels) -> cbor2.CBORTag:
    data: Any = bytes(pixels.payload)  # cbor2 6 would write a memoryview as a list of numbers
    if pixels.codec != "none":
        algorithm, element_bytes = encodings.write_v2(pixels)
        data = cbor2.CBORTag(COMPRESSED_TAG, [algorithm, element_bytes, data])
    return cbor2.CBORTag(MULTI_DIM_TAG, [list(pixels.shape), cbor2.CBORTag(_tag_of(pixels.dtype), data)])


def _tag_of(dtype: str) -> int:
    """Return the typed-array tag of an element type."""
    for tag, name in encodings.V2_TAGS.items():
        if name == np.dtype(dtype).str:
            return tag
    raise FieldError("array", "stream v2 has no tag for its dtype", dtype)


def _decode_time(content: Mapping[Any, Any], key: str) -> Ticks | None:
    value = content.get(key)
    if value is None:
        return None
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise FieldError("image", f"{key!r} must be ticks and ticks per second", value)
    pair = {"ticks": value[0], "rate": value[1]}
    rate_hz = fields.integer(pair, "rate", key)
    if rate_hz == 0:
        raise FieldError("image", f"{key!r} has 0 ticks per second")
    return Ticks(count=fields.integer(pair, "ticks", key, maximum=fields.MAX_TICKS), rate_hz=rate_hz)


def _encode_time(ticks: Ticks | None) -> list[int] | None:
    return None if ticks is None else [ticks.count, ticks.rate_hz or DEFAULT_TICK_RATE_HZ]
