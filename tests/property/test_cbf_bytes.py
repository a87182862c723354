"""CBF files under any damage: an image whose sizes fit, or a `CbfError`; never anything else, and nothing allocated."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from beamstream import codecs
from beamstream.errors import CodecError
from beamstream_producers.formats import cbf

PIXELS = hnp.arrays(st.sampled_from(["<i4", "<u2", "i1", "<u4"]), hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))
LINES = ("Detector: PILATUS3 6M, S/N 60-0119", "2019-09-11T13:20:28.989", "Pixel_size 172e-6 m x 172e-6 m",
         "Silicon sensor, thickness 0.000450 m", "Beam_xy (1.5, 2.5) pixels")  # fmt: skip
FIELDS = ["X-Binary-Size", "X-Binary-Size-Fastest-Dimension", "X-Binary-Size-Second-Dimension",
          "X-Binary-Number-of-Elements", "X-Binary-Element-Type", "Content-MD5", "Content-Type"]  # fmt: skip


def file_of(pixels: np.ndarray, codec: str, newline: str = "\r\n", *, with_digest: bool = True) -> bytes:
    return cbf.encode(
        codecs.encode(pixels, codec), shape=pixels.shape, dtype=pixels.dtype, codec=codec, lines=LINES,
        newline=newline, with_digest=with_digest,
    )  # fmt: skip


def read_or_refuse(data: bytes) -> None:
    """Do all that the source does with a file; fail on anything but our own errors."""
    try:
        image = cbf.decode(data)
    except cbf.CbfError:
        return
    section = image.section
    assert len(image.payload) == section.n_bytes <= len(data)
    cbf.timestamp_ns(image.header, None)
    cbf.image_metadata(image.header)
    try:
        cbf.stream_metadata(image, None)
    except CodecError:
        return


@given(pixels=PIXELS, codec=st.sampled_from(["none", "byte-offset"]), newline=st.sampled_from(["\r\n", "\n"]))
def test_every_image_comes_back(pixels, codec, newline):
    image = cbf.decode(file_of(pixels, codec, newline))
    section = image.section
    again = codecs.decode(image.payload, section.codec, section.shape, section.dtype)
    assert (again.dtype, again.tolist()) == (pixels.dtype, pixels.tolist())


@given(pixels=PIXELS, data=st.data())
def test_flipped_bytes_do_no_harm(pixels, data):
    damaged = bytearray(file_of(pixels, "byte-offset", with_digest=data.draw(st.booleans())))
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 4200))] = data.draw(st.integers(0, 255))
    read_or_refuse(bytes(damaged))


@given(pixels=PIXELS, field=st.sampled_from(FIELDS), value=st.one_of(
    st.integers(-(2**70), 2**70).map(str), st.text(max_size=30), st.sampled_from(["²", "٣", "1_0", "0x10", " 5", "+7"])
))  # fmt: skip
def test_any_value_of_a_field_does_no_harm(pixels, field, value):
    before, name, behind = file_of(pixels, "byte-offset").partition(f"{field}: ".encode())
    read_or_refuse(before + name + value.encode("utf-8", "replace") + b"\r\n" + behind)


@given(pixels=PIXELS, line=st.text(max_size=60), lines=st.lists(st.text(max_size=40), max_size=5))
def test_any_header_does_no_harm(pixels, line, lines):
    head = "\r\n".join(f"# {one}" for one in [line, *lines])
    data = file_of(pixels, "byte-offset").replace(b"# Beam_xy", head.encode("utf-8", "replace") + b"\r\n# Beam_xy")
    read_or_refuse(data)


@given(data=st.binary(max_size=300), prefix=st.sampled_from([b"", b"###CBF", b"###CBF: VERSION 1.5\r\n;\r\n"]))
def test_random_bytes_do_no_harm(data, prefix):
    read_or_refuse(prefix + data)
