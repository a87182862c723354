"""Payloads as HDF5 chunks: HDF5's own filters must read them, and the payload must come back byte for byte."""

from __future__ import annotations

import struct

import h5py
import hdf5plugin
import numpy as np
import pytest

from beamstream import codecs
from beamstream.codecs import hdf5
from beamstream.errors import CodecError, CorruptPayloadError, PayloadSizeError, ShapeError, UnknownCodecError

U1, U2 = np.dtype("u1"), np.dtype("<u2")


@pytest.fixture
def image():
    return np.random.default_rng(5).poisson(1.2, (67, 101)).astype(U2)


@pytest.fixture
def file(tmp_path):
    with h5py.File(tmp_path / "chunks.h5", "w") as file:
        yield file


def write_chunk(file, chunk, shape, dtype):
    """Write a chunk the way a NeXus file is written: one frame of a series."""
    options = {}
    if chunk.filter_id is not None:
        options = {"compression": chunk.filter_id, "compression_opts": chunk.filter_options}
    dataset = file.create_dataset("data", (1, *shape), dtype, chunks=(1, *shape), **options)
    dataset.id.write_direct_chunk((0,) * (1 + len(shape)), chunk.data)
    return dataset


@pytest.mark.parametrize("codec", codecs.CODECS)
def test_hdf5_reads_the_pixels_of_every_codec(file, image, codec):
    chunk = codecs.to_hdf5_chunk(codecs.encode(image, codec), codec, image.shape, U2)
    np.testing.assert_array_equal(write_chunk(file, chunk, image.shape, U2)[0], image)


@pytest.mark.parametrize("codec", codecs.CODECS)
def test_a_payload_comes_back_from_a_file_byte_for_byte(file, image, codec):
    payload = bytes(codecs.encode(image, codec))
    dataset = write_chunk(file, codecs.to_hdf5_chunk(payload, codec, image.shape, U2), image.shape, U2)
    _, stored = dataset.id.read_direct_chunk((0, 0, 0))
    assert bytes(codecs.from_hdf5_chunk(stored, codec, U2)) == payload


@pytest.mark.parametrize("codec", ["none", "lz4", "bslz4"])
def test_a_payload_that_is_a_chunk_already_is_not_copied(image, codec):
    payload = codecs.encode(image, codec)
    assert codecs.to_hdf5_chunk(payload, codec, image.shape, U2).data is payload


def test_an_lz4_block_gets_the_header_that_the_filter_needs(image):
    payload = codecs.encode(image, "lz4-block")
    chunk = codecs.to_hdf5_chunk(payload, "lz4-block", image.shape, U2)
    assert chunk.data == struct.pack(">QII", image.nbytes, image.nbytes, len(payload)) + payload


def test_hdf5_reads_an_lz4_block_that_is_exactly_as_long_as_its_content(file):
    # a match of 5 saves as much as the tokens, its offset and the length of the literals cost
    literals, final = b"fifteen letters", b"twelve final"
    block = b"\xf1\0" + literals + b"\x0f\0" + b"\xc0" + final
    content = literals + literals[:5] + final
    assert len(block) == len(content) == 32
    chunk = codecs.to_hdf5_chunk(block, "lz4-block", (32,), U1)
    assert write_chunk(file, chunk, (32,), U1)[0].tobytes() == content
    again = codecs.from_hdf5_chunk(chunk.data, "lz4-block")
    assert codecs.decode(again, "lz4-block", (32,), U1).tobytes() == content


@pytest.mark.parametrize("codec", ["none", "lz4", "bslz4"])
def test_a_payload_that_hdf5_could_not_read_is_refused(image, codec):
    payload = codecs.encode(image, codec)
    with pytest.raises(PayloadSizeError):
        codecs.to_hdf5_chunk(payload, codec, (66, 101), U2)


@pytest.mark.parametrize("codec", ["lz4", "bslz4"])
def test_a_maker_takes_whatever_holds_bytes_and_refuses_what_one_payload_would_be_refused_for(image, codec):
    payload = bytes(codecs.encode(image, codec))
    maker = codecs.ChunkMaker(codec, image.shape, U2)
    for same in (payload, bytearray(payload), memoryview(payload), memoryview(payload + b"\0").cast("B")[:-1]):
        assert bytes(maker.make(same)[0]) == payload
    with pytest.raises(ShapeError):
        maker.make(memoryview(payload + payload)[::2])
    with pytest.raises(PayloadSizeError):
        maker.make(payload[:12])  # less than LZ4 could pack it into
    with pytest.raises(CorruptPayloadError):
        maker.make(payload[:8])


@pytest.mark.parametrize(
    "chunk", [b"", b"\0" * 15, struct.pack(">QII", 8, 8, 3) + b"ab", struct.pack(">QII", 8, 4, 2) + b"ab"]
)
def test_a_chunk_that_is_not_one_block_is_refused(chunk):
    with pytest.raises(CorruptPayloadError):
        codecs.from_hdf5_chunk(chunk, "lz4-block")


def test_a_codec_without_a_filter_is_refused(image):
    with pytest.raises(UnknownCodecError):
        codecs.to_hdf5_chunk(b"", "trpx", image.shape, U2)
    with pytest.raises(CodecError):
        codecs.from_hdf5_chunk(b"", "trpx")


def test_byte_offsets_that_could_be_shorter_keep_their_pixels_and_say_that_their_bytes_are_lost(file):
    wasteful = b"\x05" + b"\x80\x01\x00" + b"\x80\x00\x80\x02\x00\x00\x00"  # 5, 6, 8: the last two in 3 and 7 bytes
    chunk = codecs.to_hdf5_chunk(wasteful, "byte-offset", (1, 3), np.dtype("<i4"))
    assert not chunk.comes_back
    assert write_chunk(file, chunk, (1, 3), np.dtype("<i4"))[0].tolist() == [[5, 6, 8]]
    assert bytes(codecs.from_hdf5_chunk(chunk.data, "byte-offset")) == b"\x05\x01\x02"


@pytest.mark.parametrize("chunk", [b"", bytes(8), struct.pack(">QI", 2**62, 8192), struct.pack(">QI", 16, 8192)])
def test_a_chunk_that_no_byte_offsets_can_be_made_of_is_refused(chunk):
    with pytest.raises(CodecError):
        codecs.from_hdf5_chunk(chunk, "byte-offset")


def test_filters_and_options_are_those_of_hdf5plugin():
    bitshuffle, lz4 = hdf5plugin.Bitshuffle(nelems=0, cname="lz4"), hdf5plugin.LZ4(nbytes=0)
    assert hdf5.FILTERS["bslz4"] == (bitshuffle.filter_id, bitshuffle.filter_options)
    assert hdf5.FILTERS["lz4"] == hdf5.FILTERS["lz4-block"] == (lz4.filter_id, lz4.filter_options)
    assert hdf5.FILTERS["byte-offset"] == hdf5.FILTERS["bslz4"]
    assert hdf5.FILTERS.keys() == codecs.CODECS.keys()
