"""Pictures as bytes: the layout that the page reads, and numbers that JSON knows."""

from __future__ import annotations

import json
import struct

import numpy as np

from beamstream.codecs import decode
from beamstream_consumers.monitor.pictures.picture import About, Picture
from beamstream_consumers.monitor.web.messages import (
    about_blocks,
    image_block,
    picture_header,
    picture_message,
    region_of,
    text_of,
)
from beamstream_consumers.monitor.web.parts import Part

PEAKS = np.array([[1.5, 2.5, 100.0]], "f4")
RADIAL = np.array([[0.5, 1.5, 2.5], [9.0, 8.0, 7.0]], "f4")


def picture(**changes: object) -> Picture:
    image = np.arange(12, dtype=np.uint16).reshape(3, 4)
    image[2, 3] = 65535
    mask = np.zeros((3, 4), bool)
    mask[0, 0] = True
    about = About(
        percentiles={"50": 5.0}, histogram={"first": 0.0, "step": 0.1, "counts": [3]}, numbers={"maximum": 10.0},
        hit=True, n_peaks=1, peaks=PEAKS, radial=RADIAL,
    )  # fmt: skip
    fields = {
        "number": 1, "source": "bt/det", "kind": "frame", "stream": "run_1", "message_id": 42, "n_frames": 1,
        "taken_ns": 1_500_000_000, "image": image, "mask": mask, "flag": 65535, "about": about,
    }  # fmt: skip
    return Picture(**{**fields, **changes})  # type: ignore[arg-type]


def test_a_message_has_these_very_bytes() -> None:
    one = picture()
    part = Part(0, 1, 0, 4, 2)
    header = picture_header(one, part, pane=2, seq=7, follows=True, now_s=2.0, roi=None)
    block = image_block(one.level(0)[0:2, 1:4])
    message = picture_message(header, [block, *about_blocks(one.about)])
    golden = (
        b'{"t":"picture","pane":2,"seq":7,"source":"bt/det","kind":"frame","stream":"run_1","id":42,"n_frames":1,'
        b'"follows":true,"age_s":0.5,"taken_s":1.5,"full":[3,4],"level":0,"x0":1,"y0":0,"shape":[2,3],"flag":65535,'
        b'"scale":1.0,"offset":0.0,"percentiles":{"50":5.0},"histogram":{"first":0.0,"step":0.1,"counts":[3]},'
        b'"numbers":{"maximum":10.0},"hit":true,"n_peaks":1,"roi":null,"blocks":['
        b'{"name":"image","codec":"bslz4","dtype":"u2","shape":[2,3],"offset":0,"bytes":24},'
        b'{"name":"peaks","codec":"none","dtype":"f4","shape":[1,3],"offset":24,"bytes":12},'
        b'{"name":"radial","codec":"none","dtype":"f4","shape":[2,3],"offset":40,"bytes":24}]}'
    )
    padded = golden + b" " * (-(4 + len(golden)) % 8)
    # six pixels are no whole group of eight, so bslz4 leaves them as they are: 8 bytes of size, 4 of block size, pixels
    image = bytes.fromhex("000000000000000c 00002000") + np.array([1, 2, 3, 5, 6, 7], "<u2").tobytes()
    assert message == b"".join(
        (struct.pack("<I", len(padded)), padded, image, PEAKS.tobytes(), bytes(4), RADIAL.tobytes())
    )


def test_blocks_begin_at_multiples_of_eight_and_decode() -> None:
    dice = np.random.default_rng(1)
    image = dice.poisson(3, (129, 257)).astype(np.uint32)
    one = picture(image=image, mask=None, flag=2**32 - 1)
    message = picture_message(
        picture_header(one, Part(0, 0, 0, 257, 129), pane=0, seq=1, follows=False, now_s=0.0, roi={"n": 1}),
        [*about_blocks(one.about), image_block(image)],
    )
    (length,) = struct.unpack_from("<I", message)
    header = json.loads(message[4 : 4 + length])
    assert (4 + length) % 8 == 0
    for block in header["blocks"]:
        assert block["offset"] % 8 == 0
    peaks, _, packed = header["blocks"]
    body = message[4 + length :]
    assert body[peaks["offset"] :][: peaks["bytes"]] == PEAKS.tobytes()
    payload = body[packed["offset"] : packed["offset"] + packed["bytes"]]
    assert len(payload) == packed["bytes"]
    np.testing.assert_array_equal(decode(payload, "bslz4", (129, 257), np.dtype("<u4")), image)


def test_a_region_counts_the_pixels_that_have_a_value() -> None:
    one = picture(scale=2.0, offset=1.0)
    region = region_of(one, Part(0, 0, 0, 2, 2), masked=True)  # 0 is masked; 1, 4, 5 count
    assert (region.n, region.total, region.mean, region.maximum) == (3, 2 * 10 + 3, 23 / 3, 11.0)
    assert region_of(one, Part(0, 0, 0, 2, 2), masked=False).n == 4
    assert region_of(one, Part(0, 3, 2, 4, 3), masked=True).maximum is None
    assert region_of(one, Part(0, 4, 0, 4, 3), masked=True).n == 0


def test_what_is_no_number_becomes_null_and_numpy_becomes_plain() -> None:
    document = {"a": float("nan"), "b": [float("inf"), np.float32(2)], "c": np.arange(2), "d": {"e": np.int64(3)}}
    assert json.loads(text_of(document)) == {"a": None, "b": [None, 2.0], "c": [0, 1], "d": {"e": 3}}
    assert text_of({"µ": 1}) == '{"µ":1}'
