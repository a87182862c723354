"""Golden bytes: what real detectors sent must unpack to the pixels that independent decoders found, for ever."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cbor2
import numpy as np
import pytest

from beamstream import codecs

# of all counts but those of masked pixels; frames 0 to 9
SUMS = {
    71: [2535, 2585, 2514, 2583, 2516, 2599, 2528, 2592, 2520, 2585],
    72: [2521, 2585, 2536, 2576, 2530, 2571, 2520, 2578, 2522, 2586],
}


@pytest.fixture
def data():
    folder = os.environ.get("BEAMSTREAM_TEST_DATA")
    if folder is None:
        pytest.skip("BEAMSTREAM_TEST_DATA names no folder with captured data")
    return Path(folder)


def captured_images(folder):
    """Yield series, shape (n_slow, n_fast) and blob of every image of the capture."""
    parts = [path.read_bytes() for path in sorted(folder.iterdir())]
    for head, description, blob in zip(parts, parts[1:], parts[2:], strict=False):
        if b'"dimage-1.0"' in head[:200]:
            n_fast, n_slow = json.loads(description)["shape"]
            yield json.loads(head)["series"], (n_slow, n_fast), blob


def test_an_eiger2_1m_of_stream_v1_has_its_counts(data):
    sums = {71: [], 72: []}
    for series, shape, blob in captured_images(data / "stream_v1_eigerstreamreceiver" / "parts"):
        image = codecs.decode(blob, "lz4-block", shape, np.dtype("<u4"))
        assert image.shape == (1062, 1028)
        sums[series].append(int(image[image != 0xFFFFFFFF].sum()))
    assert sums == SUMS


def packed_pixels(message):
    """Return the packed pixels (tag 56500) of a captured SIMPLON v2 image message."""
    found = []

    def take(*arguments):
        # cbor2 5 gives (decoder, tag), cbor2 6 gives (tag, immutable)
        tag = next(argument for argument in arguments if isinstance(argument, cbor2.CBORTag))
        if tag.tag == 56500:
            found.append(bytes(tag.value[2]))

    cbor2.loads(message, tag_hook=take)
    return found[0]


# masked pixels, sum and largest of the others; three independent decoders agree on both
EIGER2_16M = {
    "image.cbor": (packed_pixels, (1253075, 13712, 6504)),
    "frame_sample_v1.bin": (bytes, (1253074, 9876, 6416)),
}


@pytest.mark.parametrize("into", [False, True], ids=["new", "out"])
@pytest.mark.parametrize("name", EIGER2_16M)
def test_an_eiger2_16m_has_its_counts(data, name, into):
    payload_of, reference = EIGER2_16M[name]
    payload = payload_of((data / "stream_v2_tickit_eiger16m" / name).read_bytes())
    shape, dtype = (4362, 4148), np.dtype("<u2")
    image = codecs.decode(payload, "bslz4", shape, dtype, np.zeros(shape, dtype) if into else None)
    good = image[image != 0xFFFF]
    assert (image.size - good.size, int(good.sum()), int(good.max())) == reference


@pytest.mark.parametrize(("name", "codec"), [("none", "none"), ("lz4", "lz4"), ("bitshuffle", "bslz4")])
def test_what_seedee_wrote_is_unpacked(data, name, codec):
    payload = (data / "seedee_generated" / f"compression_{name}.bin").read_bytes()
    image = codecs.decode(payload, codec, (50, 100), np.dtype("<u2"))
    np.testing.assert_array_equal(image, np.arange(5000, dtype="<u2").reshape(50, 100))
