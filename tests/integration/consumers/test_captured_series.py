"""A captured series through the detector's header, the writer and the validator; one frame through binning."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import xxhash

from beamstream import Address, Frame, Header
from beamstream.service import StreamEnd, StreamStart
from beamstream_consumers.detector_metadata import pixel_mask
from beamstream_consumers.kernels.statistics import image_statistics
from beamstream_consumers.kernels.sum_blocks import flag_value, sum_and_count
from beamstream_consumers.write import WriteHandler
from beamstream_producers.formats.simplon import Image, Message, Start, decode, stream_metadata

ADDRESS = Address("11012345", "eiger", "series_00071")
SUMS = [2535, 2585, 2514, 2583, 2516, 2599, 2528, 2592, 2520, 2585]


def captured_messages(folder: Path) -> list[Message]:
    """Return the messages of series 71: an 8-part header, ten 4-part images."""
    parts = [path.read_bytes() for path in sorted((folder / "stream_v1_eigerstreamreceiver" / "parts").iterdir())]
    assert json.loads(parts[0])["series"] == 71
    grouped = [parts[:8], *(parts[first : first + 4] for first in range(8, 48, 4))]
    return [decode(message) for message in grouped]


def frame_of(image: Image) -> Frame:
    (pixels,) = image.channels.values()
    payload = bytes(pixels.payload)
    header = Header(
        payload_bytes=len(payload),
        checksum=xxhash.xxh3_64_intdigest(payload),
        timestamp_ns=1_763_700_000_000_000_000,
        codec=pixels.codec,
        shape=pixels.shape,
        dtype=pixels.dtype,
    )
    return Frame(address=ADDRESS, message_id=image.image_id + 1, header=header, payload=payload)


def test_a_captured_series_becomes_a_valid_file_with_its_counts(captured_data: Path, tmp_path: Path) -> None:
    start, *images = captured_messages(captured_data)
    assert isinstance(start, Start)
    handler = WriteHandler(tmp_path, verify=True, min_free_bytes=0)
    handler.open(StreamStart(address=ADDRESS, metadata=stream_metadata(start), n_expected=start.n_images, broker=""))
    for image in images:
        assert isinstance(image, Image)
        handler.handle(frame_of(image))
    handler.commit()
    report = handler.close(StreamEnd(last_id=10, n_expected=10, reason="complete", next_stream=None))
    assert report is not None
    assert (report["n_written"], report["n_verified"]) == (10, 10)
    with h5py.File(report["path"]) as file:
        left_out = file["entry/beamstream/metadata_left_out"].asstr()[()].tolist()
        assert left_out == []
        data = file["entry/data/data"]
        assert [int(image[image != 2**32 - 1].sum()) for image in data] == SUMS
        detector = file["entry/instrument/detector"]
        assert detector["x_pixel_size"][()] == 75e-6
        assert detector["module/data_size"][()].tolist() == [1062, 1028]
    script = "from nexusformat.scripts.nxvalidate import main; main()"
    checked = subprocess.run(
        [sys.executable, "-c", script, "-a", "NXmx", "-e", report["path"]], capture_output=True, text=True, check=True
    )
    assert re.search(r"Total number of errors: 0\b", checked.stdout + checked.stderr), checked.stderr


def test_measuring_and_binning_a_captured_frame_keep_its_counts(captured_data: Path) -> None:
    start, first, *_ = captured_messages(captured_data)
    assert isinstance(start, Start)
    assert isinstance(first, Image)
    image = frame_of(first).array()
    mask = pixel_mask(stream_metadata(start), image.shape)
    flag = flag_value(image.dtype)
    measured = image_statistics(image, mask, masked_value=flag)
    assert measured.total == SUMS[0]
    assert measured.n_masked + measured.n_flagged == np.count_nonzero(image == flag)
    for factor in range(2, 9):
        sums, n_left_out = sum_and_count(image, factor, mask, masked_value=flag)
        assert sums.shape == (-(-1062 // factor), -(-1028 // factor))
        assert int(sums.sum()) == SUMS[0]
        assert n_left_out == np.count_nonzero(image == flag)
