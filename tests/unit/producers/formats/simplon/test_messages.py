"""One table of messages drives reader and writer; then what the table cannot say."""

from __future__ import annotations

import json
import struct

import cbor2
import numpy as np
import pytest

from beamstream_producers.formats.simplon import (
    End,
    Image,
    Pixels,
    Start,
    Ticks,
    UnsupportedEncodingError,
    decode,
    encode_end,
    encode_image,
    encode_start,
    image_times,
    stream_metadata,
    tick_rate_hz,
)

RAW = Pixels(shape=(2, 4), dtype="<u2", codec="none", payload=bytes(range(16)))
BLOCK = Pixels(shape=(2, 4), dtype="<u4", codec="lz4-block", payload=b"\x11 not looked into")
SHUFFLED = Pixels(shape=(2, 4), dtype="<u2", codec="bslz4", payload=struct.pack(">QI", 16, 8192) + bytes(16))
HEADED = Pixels(shape=(2, 4), dtype="<u4", codec="lz4", payload=struct.pack(">QI", 32, 8192) + bytes(32))
BYTES = Pixels(shape=(3, 5), dtype="|u1", codec="none", payload=bytes(15))
V1_TIMES = {"start": Ticks(count=10), "stop": Ticks(count=30), "real": Ticks(count=19)}
V2_TIMES = {name: Ticks(count=ticks.count, rate_hz=50_000_000) for name, ticks in V1_TIMES.items()}
MASK = np.arange(8, dtype="<u4").reshape(2, 4)
FLATFIELD = np.linspace(0, 1, 8, dtype="<f4").reshape(2, 4)

IMAGES = {
    "v1 uncompressed": Image(version=1, series_id=1, image_id=0, channels={"threshold_1": RAW}, **V1_TIMES),
    "v1 bytes": Image(version=1, series_id=1, image_id=1, channels={"threshold_1": BYTES}, **V1_TIMES),
    "v1 one LZ4 block": Image(version=1, series_id=0, image_id=7, channels={"threshold_1": BLOCK}, **V1_TIMES),
    "v1 bit-shuffled": Image(version=1, series_id=9, image_id=0, channels={"threshold_1": SHUFFLED}, **V1_TIMES),
    "v1 without times": Image(version=1, series_id=9, image_id=0, channels={"threshold_1": RAW}),
    "v1 with appendix": Image(version=1, series_id=2, image_id=3, channels={"threshold_1": RAW}, appendix=b"hi"),
    "v2 uncompressed": Image(version=2, series_id=1, image_id=0, channels={"threshold_1": RAW}, **V2_TIMES),
    "v2 bytes": Image(version=2, series_id=1, image_id=0, channels={"threshold_1": BYTES}, **V2_TIMES),
    "v2 LZ4": Image(version=2, series_id=1, image_id=0, channels={"threshold_1": HEADED}, **V2_TIMES),
    "v2 three channels": Image(
        version=2,
        series_id=5,
        image_id=2,
        channels={"threshold_1": SHUFFLED, "threshold_2": SHUFFLED, "difference": SHUFFLED},
        series_date="2026-01-02T03:04:05Z",
        series_unique_id="01H",
        appendix=[1, "blue heart", {"a": None}],
        **V2_TIMES,
    ),
}
STARTS = {
    "v1 none": Start(version=1, series_id=4, header_detail="none"),
    "v1 none with appendix": Start(version=1, series_id=4, header_detail="none", appendix=b"{x"),
    "v1 basic": Start(version=1, series_id=4, config={"nimages": 3, "ntrigger": 2}, n_images=6),
    "v1 basic with appendix": Start(version=1, series_id=4, config={"nimages": 3}, n_images=3, appendix=b"note"),
    "v1 all": Start(
        version=1,
        series_id=4,
        header_detail="all",
        config={"x_pixels_in_detector": 4, "y_pixels_in_detector": 2, "bit_depth_image": 16},
        shape=(2, 4),
        dtype="<u2",
        arrays={
            "flatfield": FLATFIELD,
            "pixel_mask": MASK,
            "countrate_table": FLATFIELD.reshape(4, 2),
        },
    ),
    "v1 all with appendix": Start(version=1, series_id=4, header_detail="all", appendix=b"{not json"),
    "v2": Start(
        version=2,
        series_id=4,
        header_detail="all",
        series_unique_id="01H",
        channels=("threshold_1", "difference"),
        n_images=100,
        shape=(2, 4),
        dtype="<u4",
        arrays={
            "flatfield/threshold_1": FLATFIELD,
            "pixel_mask/threshold_1": MASK,
            "pixel_mask/difference": MASK + 1,
            "countrate_table": np.arange(7, dtype="<f4"),
        },
        appendix={"sample": "lysozyme"},
    ),
}


@pytest.mark.parametrize("name", IMAGES)
def test_an_image_that_was_written_is_read_back(name):
    assert decode(encode_image(IMAGES[name])) == IMAGES[name]


@pytest.mark.parametrize("name", STARTS)
def test_a_start_that_was_written_is_read_back(name):
    start = STARTS[name]
    again = decode(encode_start(start))
    for field in (
        "version",
        "series_id",
        "header_detail",
        "channels",
        "n_images",
        "shape",
        "dtype",
        "appendix",
    ):
        assert getattr(again, field) == getattr(start, field), field
    assert start.config.items() <= again.config.items()
    assert set(again.arrays) == set(start.arrays)
    for path, values in start.arrays.items():
        np.testing.assert_array_equal(again.arrays[path], values)


@pytest.mark.parametrize("end", [End(version=1, series_id=3), End(version=2, series_id=3, series_unique_id="01H")])
def test_an_end_that_was_written_is_read_back(end):
    assert decode(encode_end(end)) == end


@pytest.mark.parametrize(
    ("detail", "n_parts"),
    [("none", 1), ("basic", 2), ("all", 8)],
)
def test_a_v1_header_has_as_many_parts_as_its_detail_says(detail, n_parts):
    assert len(encode_start(Start(version=1, series_id=1, header_detail=detail))) == n_parts


def test_v1_says_the_fast_axis_first():
    parts = encode_image(IMAGES["v1 uncompressed"])
    assert json.loads(parts[1])["shape"] == [4, 2]


@pytest.mark.parametrize(
    ("image", "codec"),
    [("v1 uncompressed", "lz4"), ("v2 uncompressed", "lz4-block")],
)
def test_a_codec_that_a_version_does_not_have_cannot_be_written(image, codec):
    good = IMAGES[image]
    pixels = Pixels(shape=(2, 4), dtype="<u2", codec=codec, payload=HEADED.payload)
    with pytest.raises(UnsupportedEncodingError):
        encode_image(Image(version=good.version, series_id=1, image_id=0, channels={"threshold_1": pixels}))


def test_json_may_end_in_a_line_feed_and_the_end_may_be_misspelt():
    assert decode([b'{"htype":"deseries_end-1.0","series":8}\n']) == End(version=1, series_id=8)


@pytest.mark.parametrize("hash_", ["", None, 12, "00000000000000000000000000000000"])
def test_the_hash_of_an_image_is_never_believed(hash_):
    parts = encode_image(IMAGES["v1 uncompressed"])
    parts[0] = json.dumps({**json.loads(parts[0]), "hash": hash_}).encode()
    assert decode(parts) == IMAGES["v1 uncompressed"]


def test_a_damaged_table_costs_the_table_and_not_the_series():
    parts = encode_start(STARTS["v1 all"])
    parts[5] = parts[5][:-1]
    start = decode(parts)
    assert set(start.arrays) == {"flatfield", "countrate_table"}
    assert "pixel_mask" in start.notes[0]


def test_a_table_of_unknown_kind_costs_the_table_and_not_the_series():
    parts = encode_start(STARTS["v1 all"])
    parts[2] = parts[2].replace(b"dflatfield-1.0", b"dflatfield-9.0")
    start = decode(parts)
    assert set(start.arrays) == {"pixel_mask", "countrate_table"}
    assert "dflatfield-9.0" in start.notes[0]


def test_an_empty_table_of_v2_is_noted():
    message = {"type": "start", "series_id": 1, "countrate_correction_lookup_table": cbor2.CBORTag(85, b"")}
    start = decode([cbor2.dumps(message)])
    assert start.arrays == {}
    assert start.notes == ("left out: SIMPLON countrate_table: empty",)


def test_tables_are_read_only():
    mask = decode(encode_start(STARTS["v1 all"])).arrays["pixel_mask"]
    with pytest.raises(ValueError, match="read-only"):
        mask[0, 0] = 1


@pytest.mark.parametrize("order", [[2, 4], [4, 2]])
def test_the_countrate_table_is_pairs_whatever_its_header_says(order):
    parts = encode_start(STARTS["v1 all"])
    parts[6] = json.dumps({"htype": "dcountrate_table-1.0", "shape": order, "type": "float32"}).encode()
    np.testing.assert_array_equal(decode(parts).arrays["countrate_table"], FLATFIELD.reshape(4, 2))


def test_cbor_of_indefinite_length_is_read_too():
    message = b"\xbf\x64type\x63end\x69series_id\x18\x2a\x62id\x7f\x61a\x61b\xff\x61x\x9f\x01\xff\xff"
    assert decode([message]) == End(version=2, series_id=42)


def test_user_data_may_hold_any_tag_and_comes_as_plain_values():
    tagged = cbor2.CBORTag(69, b"\x01\x00")
    message = cbor2.dumps({"type": "start", "series_id": 1, "user_data": [tagged, cbor2.CBORTag(999, "x")]})
    assert decode([message]).appendix == [b"\x01\x00", "x"]


@pytest.mark.parametrize(
    ("version", "real_ns"),
    [("1.6.6", 2_000), ("1.8.0", 100), ("release-1.6.0", 2_000), ("2.0.1", 100), ("", 100), (None, 100)],
)
def test_the_software_version_decides_whether_v1_counts_ticks_or_nanoseconds(version, real_ns):
    start = Start(version=1, series_id=1, config={"software_version": version})
    image = Image(version=1, series_id=1, image_id=0, channels={}, real=Ticks(count=100))
    assert image_times(image, tick_rate_hz(start)).real_ns == real_ns


def test_a_time_that_no_metadata_can_carry_is_left_out():
    image = Image(version=2, series_id=1, image_id=0, channels={}, start=Ticks(count=2**62, rate_hz=1))
    assert image_times(image, 1).start_ns is None


def test_each_channel_gets_its_own_mask_and_threshold():
    start = STARTS["v2"]
    start = Start(
        version=2,
        series_id=1,
        channels=start.channels,
        arrays=start.arrays,
        config={"threshold_energy": {"threshold_1": 6000.0, "difference": 9000.0}},
    )
    detector = stream_metadata(start, "difference")["entry"]["instrument"]["detector"]
    np.testing.assert_array_equal(detector["pixel_mask"], MASK + 1)
    assert detector["threshold_energy"] == 9000.0
    assert "flatfield" not in detector


def test_metadata_of_simplon_1_6_reads_flags_written_as_numbers():
    config = {
        "flatfield_correction_applied": 1,
        "pixel_mask_applied": 0,
        "detector_distance": 0,
        "wavelength": 0,
    }
    metadata = stream_metadata(Start(version=1, series_id=1, config={**config, "photon_energy": 12_398.42}))
    instrument = metadata["entry"]["instrument"]
    assert instrument["detector"]["flatfield_applied"] is True
    assert instrument["detector"]["pixel_mask_applied"] is False
    assert "distance" not in instrument["detector"]
    assert instrument["beam"]["incident_wavelength"] == pytest.approx(1.0)


def test_metadata_of_a_header_without_detail_invents_nothing():
    metadata = stream_metadata(Start(version=1, series_id=3, header_detail="none"))
    assert metadata["entry"] == {
        "@NX_class": "NXentry",
        "definition": "NXmx",
        "instrument": {"@NX_class": "NXinstrument", "detector": {"@NX_class": "NXdetector"}},
    }
    assert metadata["simplon"]["series_id"] == 3
