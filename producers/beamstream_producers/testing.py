"""Bytes that no detector should send, by name: for the decoders' tests, and to throw at a running service.

Your own connector can use them too: whatever its format is, it has to survive these. Nothing in the corpus is random,
so that a failure can be repeated by its name; `damaged` is as random as the dice that it is given.
"""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Sequence
from typing import Any

import cbor2

__all__ = ["damaged", "hostile_messages"]

_DEEP = 100_000
"""Levels of nesting in the depth bombs; any recursive parser of Python gives up long before."""

_V1_HEADER = {"header_detail": "basic", "htype": "dheader-1.0", "series": 1}
_V1_CONFIG = {"nimages": 1, "ntrigger": 1, "x_pixels_in_detector": 4, "y_pixels_in_detector": 2}
_V1_IMAGE = {"frame": 0, "hash": "", "htype": "dimage-1.0", "series": 1}
_V1_DATA = {"encoding": "<", "htype": "dimage_d-1.0", "shape": [4, 2], "size": 16, "type": "uint16"}
_V1_TIMES = {"htype": "dconfig-1.0", "real_time": 1, "start_time": 0, "stop_time": 1}
_V2_IMAGE = {"type": "image", "series_id": 1, "image_id": 0}
_V2_START = {"type": "start", "series_id": 1, "channels": ["threshold_1"], "number_of_images": 1}
_PIXELS = bytes(16)


def hostile_messages() -> dict[str, list[bytes]]:
    """Return messages that have to be refused, each as the parts of one ZeroMQ message.

    Returns
    -------
    dict of str to list of bytes
        By a name that says what is wrong. Every one has at least one part.
    """
    return {**_neither(), **_v1_json(), **_v1_headers(), **_v1_images(), **_v2_syntax(), **_v2_fields()}


def damaged(parts: Sequence[bytes], dice: random.Random) -> list[bytes]:
    """Return a message with one thing wrong with it: what a bad cable, a bad firmware or a bad person does.

    Bytes are changed, lengths and numbers become extreme ones, parts are cut, doubled, lost, swapped or made longer.
    It may be a good message nevertheless, and even another one than it was.

    Parameters
    ----------
    parts : sequence of bytes
        A good message.
    dice : random.Random
        Decides.
    """
    parts = list(parts)
    index = dice.randrange(len(parts))
    part = parts[index]
    at = dice.randrange(len(part)) if part else 0
    if dice.random() < 0.5:  # what says how long things are stands at the beginning
        at = min(at, dice.randrange(_HEAD_BYTES))
    match dice.randrange(8):
        case 0:
            part = part[:at] + bytes([dice.randrange(256)]) + part[at + 1 :]
        case 1:
            extreme = dice.choice(_EXTREMES)
            part = part[:at] + extreme + part[at + len(extreme) :]
        case 2:
            part = part[:at]
        case 3:
            part = part[:at] + dice.randbytes(dice.randint(1, 32)) + part[at:]
        case 4:
            until = min(len(part), at + dice.randint(1, 64))
            part = part[:at] + part[until:]
        case 5:
            return [*parts[:index], *parts[index + 1 :]] or [b""]
        case 6:
            return [*parts[: index + 1], *parts[index:]]
        case _:
            other = dice.randrange(len(parts))
            parts[index], parts[other] = parts[other], part[:at] + parts[other][:at]
            return parts
    return [*parts[:index], part, *parts[index + 1 :]]


_HEAD_BYTES = 256
_EXTREMES = (
    b"\xff" * 8,
    b"\x7f" + b"\xff" * 7,
    b"\x80" + bytes(7),
    bytes(8),
    b"9" * 25,
    b"-1",
    b"NaN",
    b"1e999",
    b"null",
    b"[[[[",
    b'"',
    b"\\ud800",
    b"\x9f\x9f\x9f",
    b"\xbf\xff",
    b"\x5b\x7f" + b"\xff" * 7,
    b"\xd8\x28" * 40,
)


def _neither() -> dict[str, list[bytes]]:
    return {
        "an empty part": [b""],
        "two empty parts": [b"", b""],
        "a thousand empty parts": [b""] * 1000,
        "one zero byte": [b"\x00"],
        "text": [b"hello"],
        "an HTTP request": [b"GET / HTTP/1.1\r\n\r\n"],
        "all byte values": [bytes(range(256))],
        "only white space": [b"   "],
        "a JSON list": [b"[1,2,3]"],
        "a msgpack map": [b"\x81\xa4type\xa3end"],
        "a megabyte of 0xff": [b"\xff" * 2**20],
    }


def _v1_json() -> dict[str, list[bytes]]:
    return {
        "JSON that breaks off": [b'{"htype":"dheader-1.0","ser'],
        "JSON nested without end": [b'{"htype":' + b"[" * _DEEP],
        "JSON nested deep and closed": [b'{"htype":' + b"[" * 900 + b"]" * 900 + b"}"],
        "JSON of two megabytes": [b'{"htype":"' + b"d" * 2**21 + b'"}'],
        "JSON that is not UTF-8": [b'{"htype":"\xff\xfe"}'],
        "JSON with endless digits": [b'{"htype":"dseries_end-1.0","series":' + b"9" * 50_000 + b"}"],
        "JSON without htype": [b'{"series":1}'],
        "an htype that is a list": [b'{"htype":["dheader-1.0"]}'],
        "an htype of the future": [_json({"htype": "dheader-9.0", "series": 1})],
        "an end with a blob": [_json({"htype": "dseries_end-1.0", "series": 1}), _PIXELS],
        "an end without series": [_json({"htype": "dseries_end-1.0"})],
        "an end of series minus one": [_json({"htype": "dseries_end-1.0", "series": -1})],
        "an end of series 2^63": [_json({"htype": "dseries_end-1.0", "series": 2**63})],
        "an end of series true": [_json({"htype": "dseries_end-1.0", "series": True})],
        "an end of series NaN": [b'{"htype":"dseries_end-1.0","series":NaN}'],
        "an end of series 1.5": [_json({"htype": "dseries_end-1.0", "series": 1.5})],
    }


def _v1_headers() -> dict[str, list[bytes]]:
    everything = _json({**_V1_HEADER, "header_detail": "all"})
    return {
        "a header without configuration": [_json(_V1_HEADER)],
        "a header with a blob as configuration": [_json(_V1_HEADER), b"\x00\x01\x02"],
        "a header of unknown detail": [_json({**_V1_HEADER, "header_detail": "some"}), _json(_V1_CONFIG)],
        "a header with parts to spare": [_json(_V1_HEADER), _json(_V1_CONFIG), b"a", b"b", b"c"],
        "a header of twelve parts": [_json(_V1_HEADER), _json(_V1_CONFIG), *[b"x"] * 10],
        "a header with a table of no kind": [
            everything,
            _json(_V1_CONFIG),
            _json({"shape": [4, 2]}),
            _PIXELS,
        ],
        "a negative number of images": [_json(_V1_HEADER), _json({**_V1_CONFIG, "nimages": -3})],
        "images counted in text": [_json(_V1_HEADER), _json({**_V1_CONFIG, "nimages": "3"})],
        "a detector of 2^40 pixels": [
            _json(_V1_HEADER),
            _json({**_V1_CONFIG, "x_pixels_in_detector": 2**40}),
        ],
        "a configuration with half a surrogate": [_json(_V1_HEADER), b'{"description":"\\ud800"}'],
        "a configuration with 10^30": [_json(_V1_HEADER), b'{"photon_energy":' + b"1" + b"0" * 30 + b"}"],
    }


def _v1_images() -> dict[str, list[bytes]]:
    compressed = {"encoding": "bs16-lz4<", "size": 16}
    return {
        "an image without pixels": [_json(_V1_IMAGE), _json(_V1_DATA)],
        "an image of six parts": [*_v1_image(), b"", b""],
        "an image with its parts in another order": list(reversed(_v1_image())),
        "an image with swapped JSON parts": [
            _json(_V1_IMAGE),
            _json(_V1_TIMES),
            _PIXELS,
            _json(_V1_DATA),
        ],
        "image minus one": _v1_image(head={"frame": -1}),
        "image 2^63": _v1_image(head={"frame": 2**63}),
        "an image with a shape of one axis": _v1_image({"shape": [8]}),
        "an image with a shape of three axes": _v1_image({"shape": [4, 2, 1]}),
        "an image with a shape of text": _v1_image({"shape": "42"}),
        "an image with a negative axis": _v1_image({"shape": [-4, -2]}),
        "an image with an axis of 2^63": _v1_image({"shape": [2**63, 1]}),
        "an image with an axis of NaN": _v1_image({"shape": [float("nan"), 2]}),
        "an image without area": _v1_image({"shape": [0, 0], "size": 0}, b""),
        "an image of 2^32 pixels": _v1_image({"shape": [65_536, 65_536], **compressed}),
        "an image of more bytes than announced": _v1_image(blob=bytes(17)),
        "an image of fewer bytes than announced": _v1_image(blob=bytes(15)),
        "an image smaller than its shape": _v1_image({"shape": [40, 20]}),
        "an image of unknown type": _v1_image({"type": "complex64"}),
        "an image of unknown encoding": _v1_image({"encoding": "bszstd<"}),
        "an image shuffled but not packed": _v1_image({"encoding": "bs16<"}),
        "an image shuffled by another width": _v1_image({"encoding": "bs32-lz4<"}),
        "an image whose LZ4 would have to be a miracle": _v1_image({"shape": [1000, 1000], **compressed}),
        "a packed image without header": _v1_image({**compressed, "size": 4}, bytes(4)),
        "a packed image with a header of zeros": _v1_image(compressed),
        "a packed image that claims 2^63 bytes": _v1_image(compressed, struct.pack(">QII", 2**63, 8192, 0)),
        "an image with negative time": _v1_image(times={"start_time": -5}),
        "an image with a time of 2^70": _v1_image(times={"stop_time": 2**70}),
    }


def _v2_syntax() -> dict[str, list[bytes]]:
    return {
        "CBOR that is a list": [b"\xd9\xd9\xf7\x83\x01\x02\x03"],
        "only the CBOR magic": [b"\xd9\xd9\xf7"],
        "an empty CBOR map": [b"\xa0"],
        "CBOR that breaks off": [_cbor({**_V2_IMAGE, "data": {"threshold_1": _array()}})[:-7]],
        "CBOR with bytes after its end": [_cbor({"type": "end", "series_id": 1}) + b"\x00"],
        "two CBOR parts": [_cbor({"type": "end", "series_id": 1})] * 2,
        "CBOR lists nested without end": [b"\xa1\x64type" + b"\x81" * _DEEP],
        "CBOR tags nested without end": [b"\xa1\x64type" + b"\xd8\x28" * _DEEP + b"\x00"],
        "CBOR maps nested deep and closed": [b"\xa1\x64type" + b"\xa1\x00" * 900 + b"\x00"],
        "a CBOR byte string of 2^63": [b"\xa1\x64type\x5b\x80" + bytes(7)],
        "a CBOR byte string of 2^40": [b"\xa1\x64type\x5b" + struct.pack(">Q", 2**40) + b"x"],
        "a CBOR text of 2^40": [b"\xa1\x64type\x7b" + struct.pack(">Q", 2**40) + b"x"],
        "a CBOR list of 2^62": [b"\xa1\x64type\x9b" + struct.pack(">Q", 2**62)],
        "a CBOR map of 2^63": [b"\xbb" + struct.pack(">Q", 2**63) + b"\x64type"],
        "a million CBOR items": [b"\xa1\x64type\x9a" + struct.pack(">I", 10**6) + bytes(10**6)],
        "a million CBOR chunks": [b"\xa1\x64type\x5f" + b"\x40" * 10**6 + b"\xff"],
        "five megabytes of CBOR text": [b"\xa1\x64type\x7a" + struct.pack(">I", 5 * 2**20) + b"x" * 5 * 2**20],
        "a CBOR break out of place": [b"\xa1\x64type\xff"],
        "a CBOR map with half an entry": [b"\xbf\x64type\xff"],
        "a reserved CBOR head": [b"\xa1\x64type\xfc"],
        "CBOR text that is not UTF-8": [b"\xa1\x64type\x62\xff\xfe"],
        "a CBOR regular expression as type": [b"\xa1\x64type\xd8\x23\x64(((("],
        "a CBOR map as key": [b"\xa1\xa1\x01\x02\x03"],
        "a CBOR reference to itself": [b"\xa1\x64type\xd8\x1c\x81\xd8\x1d\x00"],
        "our own mark for large strings": [b"\xa1\x64type\xda\x62\x65\x6d\x73\x00"],
    }


def _v2_fields() -> dict[str, list[bytes]]:
    images = {
        "a v2 image of the preview firmware": {"type": "image", "series_number": 1, "image_number": 0},
        "a v2 image without data": {**_V2_IMAGE},
        "a v2 image with data of no channel": {**_V2_IMAGE, "data": {}},
        "a v2 image of a hundred channels": {**_V2_IMAGE, "data": {f"c{i}": _array() for i in range(100)}},
        "a v2 image of a channel named by a path": {**_V2_IMAGE, "data": {"../../x": _array()}},
        "a v2 image of a channel named by a number": {**_V2_IMAGE, "data": {1: _array()}},
        "a v2 image without tags": {**_V2_IMAGE, "data": {"threshold_1": [[2, 4], _PIXELS]}},
        "a v2 image of text": {**_V2_IMAGE, "data": {"threshold_1": "pixels"}},
        "v2 image minus one": {**_V2_IMAGE, "image_id": -1, "data": {"threshold_1": _array()}},
        "v2 image 2^63": {**_V2_IMAGE, "image_id": 2**63, "data": {"threshold_1": _array()}},
        "a v2 image of series NaN": {
            **_V2_IMAGE,
            "series_id": float("nan"),
            "data": {"threshold_1": _array()},
        },
        "a v2 image with a clock of 0 Hz": {**_image(_array()), "start_time": [1, 0]},
        "a v2 image with a time of one number": {**_image(_array()), "start_time": 1},
        "a v2 image with a date of numbers": {**_image(_array()), "series_date": 5},
        "a v2 image larger than its bytes": _image(_array(shape=[20, 40])),
        "a v2 image with an axis of 2^62": _image(_array(shape=[2**62, 4])),
        "a v2 image with a negative axis": _image(_array(shape=[-2, -4])),
        "a v2 image with a shape of NaN": _image(_array(shape=[float("nan"), 4])),
        "a v2 image of a tag without type": _image(_array(tag=76)),
        "a v2 image of unknown compression": _image(_array(packed=["bszstd", 2, bytes(32)])),
        "a v2 image with another element size": _image(_array(packed=["bslz4", 4, bytes(32)])),
        "a v2 image with compression of text": _image(_array(packed=["bslz4", 2, "x"])),
        "a v2 image with compression of nothing": _image(_array(packed=[])),
        "a v2 image that claims 2^63 bytes": _image(_array(packed=["bslz4", 2, struct.pack(">QII", 2**63, 8192, 0)])),
    }
    starts = {
        "a v2 start of a negative series": {**_V2_START, "series_id": -1},
        "a v2 start with a negative number of images": {**_V2_START, "number_of_images": -1},
        "a v2 start with a channel twice": {**_V2_START, "channels": ["threshold_1", "threshold_1"]},
        "a v2 start with a channel named by a path": {**_V2_START, "channels": ["../threshold_1"]},
        "a v2 start with channels of text": {**_V2_START, "channels": "threshold_1"},
        "a v2 start of 2^40 pixels": {**_V2_START, "image_size_x": 2**40, "image_size_y": 1},
        "a v2 start with a unique id of numbers": {**_V2_START, "series_unique_id": 7},
        "a v2 end without series": {"type": "end"},
    }
    return {name: [_cbor(content)] for name, content in {**images, **starts}.items()}


def _v1_image(
    data: dict[str, Any] | None = None,
    blob: bytes = _PIXELS,
    *,
    head: dict[str, Any] | None = None,
    times: dict[str, Any] | None = None,
) -> list[bytes]:
    """Return a good image with some fields replaced."""
    parts = ({**_V1_IMAGE, **(head or {})}, {**_V1_DATA, **(data or {})}, {**_V1_TIMES, **(times or {})})
    first, second, last = (_json(part) for part in parts)
    return [first, second, blob, last]


def _image(array: object) -> dict[str, Any]:
    return {**_V2_IMAGE, "data": {"threshold_1": array}}


def _array(shape: object = (2, 4), tag: int = 69, packed: object = None) -> cbor2.CBORTag:
    """Return a good array of 2 x 4 uint16, or one with another shape, element tag or compression."""
    values = _PIXELS if packed is None else cbor2.CBORTag(56500, packed)
    return cbor2.CBORTag(40, [shape, cbor2.CBORTag(tag, values)])


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _cbor(value: object) -> bytes:
    return b"\xd9\xd9\xf7" + cbor2.dumps(value)
