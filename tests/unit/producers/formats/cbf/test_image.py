"""The layout of a CBF file: what is read, what is refused, and what is only not there yet."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from beamstream import codecs
from beamstream_producers.formats import cbf
from beamstream_producers.formats.cbf.image import MAGIC, MAX_HEADER_BYTES

LINES = ("Detector: PILATUS3 6M, S/N 60-0119", "2019-09-11T13:20:28.989", "Exposure_time 0.1 s")
LOOPS = "loop_\n_array_structure_list.index\n_array_structure_list.dimension\n 1 2463\n 2 2527\n" * 80


@pytest.fixture
def pixels() -> np.ndarray:
    pixels = np.random.default_rng(3).poisson(2, (19, 23)).astype("<i4")
    pixels[7:9], pixels[3, 3], pixels[0, 0] = -1, -2, 1046527
    return pixels


def file_of(pixels: np.ndarray, codec: str = "byte-offset", **options: Any) -> bytes:
    return cbf.encode(
        codecs.encode(pixels, codec), shape=pixels.shape, dtype=pixels.dtype, codec=codec,
        **{"lines": LINES, **options},
    )  # fmt: skip


def read(data: bytes) -> np.ndarray:
    image = cbf.decode(data)
    section = image.section
    return codecs.decode(image.payload, section.codec, section.shape, section.dtype)


@pytest.mark.parametrize("options", [
    {}, {"newline": "\n"}, {"convention": "SLS/DECTRIS_1.1"}, {"with_digest": False}, {"lines": ()}, {"cif": LOOPS},
    {"cif": LOOPS, "newline": "\n"}, {"codec": "none"},
], ids=str)  # fmt: skip
def test_every_way_of_writing_a_file_is_read(pixels: np.ndarray, options: dict[str, Any]) -> None:
    data = file_of(pixels, **options)
    np.testing.assert_array_equal(read(data), pixels)
    header = cbf.decode(data).header
    assert header.convention == options.get("convention", "PILATUS_1.2")
    assert (header.number("exposure_time") == 0.1) is ("lines" not in options)


def test_a_full_cbf_has_a_header_over_six_kilobytes(pixels: np.ndarray) -> None:
    assert file_of(pixels, cif=LOOPS).index(MAGIC) > 6000


@pytest.mark.parametrize("dtype", ["i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", ">i4", ">u2"])
def test_uncompressed_integers_of_every_size_and_order_are_read(dtype: str) -> None:
    pixels = np.arange(6).astype(dtype).reshape(2, 3)
    data = file_of(pixels, "none")
    np.testing.assert_array_equal(read(data), pixels)
    assert cbf.decode(data).section.dtype == np.dtype(dtype)


def test_what_follows_the_pixels_need_not_be_there(pixels: np.ndarray) -> None:
    data = file_of(pixels)
    end = data.index(MAGIC) + 4 + cbf.decode(data).section.n_bytes
    np.testing.assert_array_equal(read(data[:end]), pixels)


def test_a_file_cut_off_anywhere_before_its_last_pixel_is_incomplete_and_nothing_else(pixels: np.ndarray) -> None:
    data = file_of(pixels)
    end = data.index(MAGIC) + 4 + cbf.decode(data).section.n_bytes
    for length in range(end):
        with pytest.raises(cbf.IncompleteCbfError):
            cbf.decode(data[:length])


def test_an_incomplete_file_says_how_much_is_missing(pixels: np.ndarray) -> None:
    data = file_of(pixels)
    end = data.index(MAGIC) + 4 + cbf.decode(data).section.n_bytes
    with pytest.raises(cbf.IncompleteCbfError) as caught:
        cbf.decode(data[: end - 7])
    assert (caught.value.there_bytes, caught.value.needed_bytes) == (end - 7, end)


def test_pixels_that_were_overwritten_in_part_are_found_by_their_md5(pixels: np.ndarray) -> None:
    data = bytearray(file_of(pixels))
    data[data.index(MAGIC) + 40] ^= 1
    with pytest.raises(cbf.CbfDigestError, match="Content-MD5"):
        cbf.decode(data)


def test_a_file_of_zeros_is_none_of_ours() -> None:
    with pytest.raises(cbf.NotCbfError):
        cbf.decode(bytes(100_000))


def replaced(data: bytes, before: str, after: str) -> bytes:
    assert before.encode() in data
    return data.replace(before.encode(), after.encode(), 1)


@pytest.mark.parametrize(("before", "after", "error"), [
    ("x-CBF_BYTE_OFFSET", "x-CBF_PACKED", cbf.CbfEncodingError),
    ("x-CBF_BYTE_OFFSET", "x-CBF_CANONICAL", cbf.CbfEncodingError),
    ("x-CBF_BYTE_OFFSET", "x-CBF_NIBBLE_OFFSET", cbf.CbfEncodingError),
    ("signed 32-bit integer", "signed 32-bit real IEEE", cbf.CbfEncodingError),
    ("signed 32-bit integer", "", cbf.CbfEncodingError),
    ("LITTLE_ENDIAN", "BIG_ENDIAN", cbf.CbfEncodingError),
    ("Encoding: BINARY", "Encoding: BASE64", cbf.CbfEncodingError),
    ("X-Binary-Size: ", "X-Other: ", cbf.CbfFieldError),
    ("X-Binary-Size: ", "X-Binary-Size: -", cbf.CbfFieldError),
    ("X-Binary-Size: ", "X-Binary-Size: 9" + "0" * 18, cbf.CbfFieldError),
    ("X-Binary-Size: ", "X-Binary-Size: 9" + "0" * 12, cbf.CbfLimitError),
    ("X-Binary-Size: ", "X-Binary-Size: 1" + "0" * 3, cbf.CbfSizeError),
    ("Fastest-Dimension: 23", "Fastest-Dimension: 0", cbf.CbfSizeError),
    ("Fastest-Dimension: 23", "Fastest-Dimension: 24", cbf.CbfSizeError),
    ("Fastest-Dimension: 23", "Fastest-Dimension: 9" + "0" * 17, cbf.CbfLimitError),
    ("Fastest-Dimension: 23", "Fastest-Dimension: 2e3", cbf.CbfFieldError),
    ("Number-of-Elements: 437", "Number-of-Elements: 436", cbf.CbfSizeError),
    ("X-Binary-Size-Padding: ", "X-Binary-Size-Third-Dimension: 3\r\nX-Binary-Size-Padding: ", cbf.CbfSizeError),
    ("--CIF-BINARY-FORMAT-SECTION--", "--SOMETHING-ELSE--", cbf.CbfFieldError),
    ("###CBF", "###CIF", cbf.NotCbfError),
])  # fmt: skip
def test_what_cannot_be_is_refused_by_name(
    pixels: np.ndarray, before: str, after: str, error: type[cbf.CbfError]
) -> None:
    with pytest.raises(error) as caught:
        cbf.decode(replaced(file_of(pixels), before, after))
    assert type(caught.value) is error


def test_an_unknown_conversion_is_named(pixels: np.ndarray) -> None:
    with pytest.raises(cbf.CbfEncodingError, match="'x-CBF_PACKED_V2'"):
        cbf.decode(replaced(file_of(pixels), "x-CBF_BYTE_OFFSET", "x-CBF_PACKED_V2"))


def test_uncompressed_pixels_are_as_many_as_their_size_says(pixels: np.ndarray) -> None:
    data = file_of(pixels, "none")
    with pytest.raises(cbf.CbfSizeError, match="1748 to 1748 bytes"):
        cbf.decode(replaced(data, "X-Binary-Size: 1748", "X-Binary-Size: 1744"))


def test_a_header_without_end_is_refused_and_costs_no_memory() -> None:
    data = b"###CBF: VERSION 1.5\r\n" + b"# Comment x\r\n" * (8 << 20 >> 3)
    tracemalloc.start()
    with pytest.raises(cbf.CbfLimitError):
        cbf.decode(data)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 4 * MAX_HEADER_BYTES


def test_what_little_claims_is_not_allocated(pixels: np.ndarray) -> None:
    claimed = replaced(file_of(pixels), "X-Binary-Size: ", "X-Binary-Size: 9999")
    for name, old in (("Fastest-Dimension", 23), ("Second-Dimension", 19)):
        claimed = replaced(claimed, f"{name}: {old}", f"{name}: 9999")
    claimed = replaced(claimed, "Number-of-Elements: 437", "Number-of-Elements: 99980001")
    tracemalloc.start()
    with pytest.raises(cbf.CbfError):
        cbf.decode(claimed)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2**20


def test_a_thousand_fields_are_refused(pixels: np.ndarray) -> None:
    fields = "".join(f"X-Field-{k}: 1\r\n" for k in range(1000))
    with pytest.raises(cbf.CbfLimitError):
        cbf.decode(replaced(file_of(pixels), "X-Binary-ID", fields + "X-Binary-ID"))


def test_what_cannot_be_written_is_refused(pixels: np.ndarray) -> None:
    with pytest.raises(cbf.CbfEncodingError):
        cbf.encode(b"", shape=(1, 1), dtype=np.dtype("<f4"), codec="none", lines=())
    with pytest.raises(cbf.CbfEncodingError):
        cbf.encode(b"", shape=(1, 1), dtype=np.dtype("<i4"), codec="bslz4", lines=())
