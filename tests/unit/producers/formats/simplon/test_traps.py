"""What real detectors send and no manual says, where no other test has it; see docs/reference/traps.md."""

from __future__ import annotations

import json
import struct
from dataclasses import replace

import cbor2
import numpy as np
import pytest

from beamstream_producers.formats.simplon import (
    Image,
    Pixels,
    SimplonError,
    Start,
    Ticks,
    UnsupportedEncodingError,
    decode,
    encode_image,
    encode_start,
    image_times,
    stream_metadata,
)

BSLZ4 = struct.pack(">QI", 16, 8192) + bytes(16)
PIXELS = Pixels(shape=(2, 4), dtype="<u2", codec="bslz4", payload=BSLZ4)
IMAGE = Image(version=1, series_id=1, image_id=0, channels={"threshold_1": PIXELS}, start=Ticks(count=1))
CONFIG = {"nimages": 1, "ntrigger": 80}


def v2_image(**fields: object) -> list[bytes]:
    """A v2 image with the fields replaced that are given."""
    packed = cbor2.CBORTag(56500, ["bslz4", 2, BSLZ4])
    data = {"threshold_1": cbor2.CBORTag(40, [[2, 4], cbor2.CBORTag(69, packed)])}
    return [cbor2.dumps({"type": "image", "series_id": 1, "image_id": 0, "data": data, **fields})]


def v2_array(tag: int, algorithm: str, element_bytes: int, payload: bytes) -> dict[str, object]:
    packed = cbor2.CBORTag(56500, [algorithm, element_bytes, payload])
    return {"threshold_1": cbor2.CBORTag(40, [[2, 4], cbor2.CBORTag(tag, packed)])}


def test_images_are_counted_per_trigger_and_a_series_of_80_triggers_promises_80():
    assert decode(encode_start(Start(version=1, series_id=1, config=CONFIG))).n_images == 80


def test_a_header_without_triggers_promises_its_images():
    assert decode(encode_start(Start(version=1, series_id=1, config={"nimages": 5}))).n_images == 5
    assert decode(encode_start(Start(version=1, series_id=1, config={"ntrigger": 5}))).n_images is None


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b" \n"])
def test_every_json_part_may_end_in_a_line_feed(end):
    start = Start(version=1, series_id=1, header_detail="all", config=CONFIG)
    for message in (start, IMAGE):
        parts = encode_start(message) if isinstance(message, Start) else encode_image(message)
        again = decode([bytes(part) + end if bytes(part)[:1] == b"{" else part for part in parts])
        assert again.series_id == 1


def test_an_empty_image_appendix_is_none():
    assert decode([*encode_image(IMAGE), b""]).appendix is None
    assert decode([*encode_image(IMAGE), b"x"]).appendix == b"x"


@pytest.mark.parametrize(("detail", "n_parts"), [("none", 2), ("basic", 3), ("all", 9)])
def test_a_header_appendix_comes_with_every_detail(detail, n_parts):
    parts = encode_start(Start(version=1, series_id=1, header_detail=detail, config=CONFIG, appendix=b"\x00 anything"))
    assert len(parts) == n_parts
    assert decode(parts).appendix == b"\x00 anything"


def test_a_region_of_interest_has_its_own_shape_whatever_the_description_says():
    config = {
        "description": "EIGER2 Si 16M",
        "roi_mode": "4M",
        "x_pixels_in_detector": 2068,
        "y_pixels_in_detector": 2162,
    }
    start = decode(encode_start(Start(version=1, series_id=1, config=config)))
    assert start.shape == (2162, 2068)
    # and an image has the shape that it says itself
    assert decode(encode_image(IMAGE)).channels["threshold_1"].shape == (2, 4)


def test_an_old_detector_does_not_say_its_bit_depth_and_the_image_does():
    assert decode(encode_start(Start(version=1, series_id=1, config=CONFIG))).dtype is None
    assert decode(encode_image(IMAGE)).channels["threshold_1"].dtype == "<u2"


def test_a_clock_that_has_run_for_a_month_is_no_mistake():
    image = decode(encode_image(replace(IMAGE, start=Ticks(count=2_896_044_831_605_460))))
    assert image_times(image, 10**9).start_ns == 2_896_044_831_605_460


@pytest.mark.parametrize("flagged", [2**16 - 1, 2**16 - 2, 0])
def test_pixels_are_passed_on_as_they_are_whatever_flags_them(flagged):
    payload = np.full(8, flagged, "<u2").tobytes()
    image = replace(IMAGE, channels={"threshold_1": replace(PIXELS, codec="none", payload=payload)})
    assert bytes(decode(encode_image(image)).channels["threshold_1"].payload) == payload


# --- version 2 --------------------------------------------------------------------------------------------------------


def test_a_start_without_image_dtype_is_read_and_the_tag_of_the_image_says_it():
    start = decode([cbor2.dumps({"type": "start", "series_id": 1, "channels": ["threshold_1"]})])
    assert start.dtype is None
    assert decode(v2_image()).channels["threshold_1"].dtype == "<u2"


@pytest.mark.parametrize(("tag", "dtype"), [(64, "|u1"), (69, "<u2"), (70, "<u4"), (68, "|u1")])
def test_8_bits_have_tag_64(tag, dtype):
    itemsize = int(dtype[2:])
    payload = struct.pack(">QI", 8 * itemsize, 8192) + bytes(16)
    image = decode(v2_image(data=v2_array(tag, "bslz4", itemsize, payload)))
    assert image.channels["threshold_1"].dtype == dtype


@pytest.mark.parametrize("algorithm", ["bszstd", "trpx", "bslz4-h5", "", "zstd"])
def test_packings_of_newer_firmwares_are_refused_by_their_name(algorithm):
    with pytest.raises(UnsupportedEncodingError, match=repr(algorithm)) as refused:
        decode(v2_image(data=v2_array(69, algorithm, 2, BSLZ4)))
    assert refused.value.kind == "encoding"


@pytest.mark.parametrize("total", [0, 2**63, 15])
@pytest.mark.parametrize("algorithm", ["bslz4", "lz4"])
def test_a_payload_whose_header_does_not_fit_its_shape_is_refused_before_anybody_unpacks_it(algorithm, total):
    payload = struct.pack(">QI", total, 8192) + bytes(16)
    with pytest.raises(SimplonError, match="header says"):
        decode(v2_image(data=v2_array(69, algorithm, 2, payload)))


def test_energies_of_thresholds_that_send_no_images_make_no_channels():
    energies = {"threshold_1": 6000.0, "threshold_2": 9000.0}
    fields = {"type": "start", "series_id": 1, "channels": ["threshold_1"], "threshold_energy": energies}
    start = decode([cbor2.dumps(fields)])
    assert start.channels == ("threshold_1",)
    assert stream_metadata(start)["entry"]["instrument"]["detector"]["threshold_energy"] == 6000.0
    assert start.config["threshold_energy"] == energies


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "start", "series_number": 7, "number_of_images": 1},
        {"type": "image", "series_number": 7, "image_number": 0, "channels": [{"data": b"", "lost_pixel_count": 0}]},
        {"htype": "start", "series_id": 7},
    ],
)
def test_the_preview_of_version_2_is_refused(fields):
    with pytest.raises(SimplonError):
        decode([cbor2.dumps(fields)])


@pytest.mark.parametrize("user_data", [[1, "blue heart"], "text", 7, {"a": {"b": [None, True, 1.5]}}, b"bytes", None])
def test_user_data_is_any_cbor_or_absent(user_data):
    assert decode(v2_image(user_data=user_data)).appendix == user_data
    assert decode(v2_image()).appendix is None


def test_configuration_is_plain_whatever_the_library_makes_of_it():
    start = decode([b"\xd9\xd9\xf7" + cbor2.dumps({"type": "start", "series_id": 1, "a": {"b": [1, {"c": (2,)}]}})])
    assert type(start.config["a"]) is dict
    assert type(start.config["a"]["b"]) is list
    assert json.dumps(start.config["a"]) == '{"b": [1, {"c": [2]}]}'


def test_packed_tables_of_a_start_have_a_limit_together(monkeypatch):
    from beamstream import codecs
    from beamstream_producers.formats.simplon import v2

    mask = np.zeros((100, 100), "<u4")
    packed = cbor2.CBORTag(56500, ["bslz4", 4, bytes(codecs.encode(mask, "bslz4"))])
    table = cbor2.CBORTag(40, [[100, 100], cbor2.CBORTag(70, packed)])
    channels = ["threshold_1", "threshold_2"]
    fields = {"type": "start", "series_id": 1, "channels": channels, "pixel_mask": dict.fromkeys(channels, table)}
    assert len(decode([cbor2.dumps(fields)]).arrays) == 2
    monkeypatch.setattr(v2, "MAX_TABLES_BYTES", 60_000)
    start = decode([cbor2.dumps(fields)])
    assert list(start.arrays) == ["pixel_mask/threshold_1"]
    assert "left of 60000 bytes" in start.notes[0]
