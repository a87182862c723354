"""What real detectors sent, decoded: shapes, sums, clocks, quirks."""

from __future__ import annotations

import numpy as np
import pytest

from beamstream import codecs
from beamstream_producers.formats.simplon import (
    End,
    Image,
    Pixels,
    Start,
    decode,
    encode_end,
    encode_image,
    encode_start,
    image_times,
    stream_metadata,
    tick_rate_hz,
)

# sums of unmasked counts, from the README beside the data
SUMS = {
    71: [2535, 2585, 2514, 2583, 2516, 2599, 2528, 2592, 2520, 2585],
    72: [2521, 2585, 2536, 2576, 2530, 2571, 2520, 2578, 2522, 2586],
}


def unpack(pixels: Pixels) -> np.ndarray:
    return codecs.decode(memoryview(pixels.payload), pixels.codec, pixels.shape, np.dtype(pixels.dtype))


@pytest.mark.parametrize("series_id", SUMS)
def test_a_captured_v1_series_has_the_reference_sums(captured_v1, series_id):
    sums = []
    for parts in captured_v1[series_id][1:-1]:
        pixels = decode(parts).channels["threshold_1"]
        assert (pixels.shape, pixels.dtype, pixels.codec) == ((1062, 1028), "<u4", "lz4-block")
        image = unpack(pixels)
        sums.append(int(image[image != 2**32 - 1].sum()))
    assert sums == SUMS[series_id]


def test_the_payload_of_a_v1_image_is_its_third_part_and_no_copy(captured_v1):
    parts = captured_v1[71][1]
    payload = decode(parts).channels["threshold_1"].payload
    assert payload.obj is parts[2]


def test_a_captured_v1_header_promises_ten_images_and_has_no_mask(captured_v1):
    start = decode(captured_v1[71][0])
    assert isinstance(start, Start)
    assert (start.version, start.series_id, start.n_images, start.shape, start.dtype) == (
        1,
        71,
        10,
        (1062, 1028),
        "<u4",
    )
    assert set(start.arrays) == {"countrate_table"}
    assert start.notes == ("flatfield: empty", "pixel_mask: empty")


def test_a_captured_countrate_table_is_pairs_that_rise(captured_v1):
    table = decode(captured_v1[71][0]).arrays["countrate_table"]
    assert table.shape == (1001, 2)
    assert (np.diff(table[:, 0]) > 0).all()


def test_a_captured_v1_exposure_lasts_its_count_time(captured_v1):
    start, image = decode(captured_v1[71][0]), decode(captured_v1[71][1])
    times = image_times(image, tick_rate_hz(start))
    assert times.stop_ns - times.start_ns == 999_999_900 == times.real_ns


def test_captured_v1_images_and_ends_are_written_byte_for_byte_as_the_detector_did(captured_v1):
    for series in captured_v1.values():
        for parts in series[1:-1]:
            assert [bytes(part) for part in encode_image(decode(parts))] == parts
        assert encode_end(decode(series[-1])) == series[-1]


def test_a_captured_v1_header_survives_writing_and_reading(captured_v1):
    start = decode(captured_v1[71][0])
    again = decode(encode_start(start))
    assert again.config == start.config
    assert again.header_detail == "all"
    np.testing.assert_array_equal(again.arrays["countrate_table"], start.arrays["countrate_table"])


def test_the_metadata_of_a_captured_v1_series_says_what_the_detector_knew_and_no_more(captured_v1):
    entry = stream_metadata(decode(captured_v1[71][0]))["entry"]
    detector = entry["instrument"]["detector"]
    assert entry["start_time"] == "2022-01-20T20:23:53.779+01:00"
    assert entry["instrument"]["beam"]["incident_wavelength"] == pytest.approx(1.5418000685586377)
    assert detector["saturation_value"] == 1702012
    assert detector["pixel_mask_applied"] is True
    assert "distance" not in detector  # the detector says 0 m
    assert "beam_center_x" not in detector
    assert "sample" not in entry


def test_a_captured_v2_image_is_a_view_of_bit_shuffled_pixels(captured_v2):
    message = captured_v2["image"]
    image = decode([message])
    pixels = image.channels["threshold_1"]
    assert isinstance(image, Image)
    assert (image.series_id, image.image_id, image.series_unique_id) == (
        15614,
        0,
        "01HBV3JPF9T4ZDPADX6EMK6XMZ",
    )
    assert (pixels.shape, pixels.dtype, pixels.codec) == ((4362, 4148), "<u2", "bslz4")
    assert pixels.payload.obj is message
    assert image_times(image, 1).real_ns == 4_317_460


def test_a_captured_v2_image_unpacks_to_the_reference_sums(captured_v2):
    image = unpack(decode([captured_v2["image"]]).channels["threshold_1"])
    masked = image == 65535
    assert (int(masked.sum()), int(image[~masked].sum()), int(image[~masked].max())) == (1_253_075, 13_712, 6_504)


def test_a_captured_v2_start_without_magic_is_read_and_its_zeroed_tables_are_noted(captured_v2):
    start = decode([captured_v2["start"]])
    assert (start.n_images, start.shape, start.channels) == (1, (4362, 4148), ("threshold_1",))
    assert start.arrays == {}
    assert [note.split(": ")[1] for note in start.notes] == [
        "SIMPLON flatfield/threshold_1",
        "SIMPLON pixel_mask/threshold_1",
        "SIMPLON countrate_table",
    ]


def test_captured_v2_messages_survive_writing_and_reading(captured_v2):
    start, image = decode([captured_v2["start"]]), decode([captured_v2["image"]])
    assert decode(encode_start(start)).config == start.config
    assert decode(encode_image(image)) == image
    assert encode_end(decode([captured_v2["end"]])) == [captured_v2["end"]]
    assert decode([captured_v2["end"]]) == End(
        version=2, series_id=15614, series_unique_id="01HBV3JPF9T4ZDPADX6EMK6XMZ"
    )


def test_the_metadata_of_a_captured_v2_series_has_distance_threshold_and_goniometer(captured_v2):
    metadata = stream_metadata(decode([captured_v2["start"]]))
    detector = metadata["entry"]["instrument"]["detector"]
    axes = metadata["entry"]["sample"]["transformations"]
    assert detector["distance"] == pytest.approx(0.23715919962215962)
    assert detector["distance@units"] == "m"
    assert detector["threshold_energy"] == pytest.approx(6750.149914699146)
    assert (axes["omega_increment_set"], axes["chi"], "phi" in axes) == (0.1, 30.0, False)
    assert metadata["simplon"]["config"]["detector_serial_number"] == "E-32-0117"
