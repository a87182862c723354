"""A recorded run that the simulated detector plays: the very bytes on its sockets, the header as it was."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import pytest
import zmq

from beamstream import Consumer, codecs
from beamstream.address import SourceAddress
from beamstream.offline import path_receipt
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.service import run_source
from beamstream_producers.eiger.naming import StreamTemplate
from beamstream_producers.eiger.source import EigerSource
from beamstream_producers.formats.simplon import End, Image, Start, decode
from beamstream_producers.sim import SimulatedEiger, SimulatedEigerOptions
from beamstream_producers.sim.recorded_run import RecordedRun, RecordedRunError

TIMEOUT_S = 20.0
SHAPE = (31, 44)
N_IMAGES = 7


def image_of(number: int, dtype: str = "<u2") -> np.ndarray[Any, Any]:
    return np.random.default_rng(number).poisson(2.0, SHAPE).astype(dtype)


def make_run(path: Path, codec: str = "bslz4", dtype: str = "<u2", lacking: tuple[int, ...] = ()) -> Path:
    """Write a master that holds its images itself."""
    packed = {"bslz4": dict(hdf5plugin.Bitshuffle(nelems=0, cname="lz4")), "lz4": dict(hdf5plugin.LZ4(nbytes=0)),
              "none": {}}  # fmt: skip
    with h5py.File(path, "w") as file:
        data = file.create_dataset("entry/data/data", (N_IMAGES, *SHAPE), dtype, chunks=(1, *SHAPE), **packed[codec])
        for number in range(1, N_IMAGES + 1):
            if number not in lacking:
                payload = bytes(codecs.encode(image_of(number, dtype), codec))
                data.id.write_direct_chunk((number - 1, 0, 0), payload)
        detector = file.create_group("entry/instrument/detector")
        file["entry/instrument"].attrs["NX_class"] = "NXinstrument"
        detector.attrs["NX_class"] = "NXdetector"
        for name, value in {
            "description": "Dectris EIGER2 Si 4M", "serial_number": "E-08-0101", "frame_time": 0.002,
            "count_time": 0.0019, "beam_center_x": 20.5, "beam_center_y": 11.25, "distance": 0.25,
            "sensor_material": "Si", "x_pixel_size": 75e-6, "threshold_energy": 6350.0, "detector_readout_time": 1e-7,
        }.items():  # fmt: skip
            detector[name] = value
        detector["pixel_mask"] = np.eye(*SHAPE, dtype="<u4")
        detector["flatfield"] = np.full(SHAPE, 1.25, "<f4")
        file["entry/instrument/beam/incident_wavelength"] = 0.9763
        omega = file.create_group("entry/sample/transformations")
        omega["omega"], omega["omega_increment_set"] = 30.0, 0.1
    return path


@contextmanager
def playing(run: RecordedRun, **changes: Any) -> Iterator[tuple[Start, list[Image]]]:
    """Give the start and the images of a series that a detector plays."""
    options = {
        "recorded": run, "compression": run.compression, "bit_depth": run.bit_depth, "n_images": run.n_images,
        "rate_hz": 0, "wait": True, "header_detail": "all", "drain_s": 1.0,
    }  # fmt: skip
    with (
        SimulatedEiger(SimulatedEigerOptions(**{**options, **changes})) as detector,
        zmq.Context() as context,
        context.socket(zmq.PULL) as socket,
    ):
        socket.linger = 0
        socket.rcvtimeo = round(TIMEOUT_S * 1e3)
        socket.connect(detector.endpoint)
        assert detector.wait_for_receiver(TIMEOUT_S)
        detector.arm()
        detector.trigger()
        messages = [decode(socket.recv_multipart())]
        while not isinstance(messages[-1], End):
            messages.append(decode(socket.recv_multipart()))
        start, *images, _ = messages
        assert isinstance(start, Start)
        assert detector.n_sent + detector.n_dropped == detector.options.n_images
        assert detector.n_sent == len(images)
        yield start, [image for image in images if isinstance(image, Image)]


@pytest.mark.parametrize("stream_format", ["legacy", "cbor"])
@pytest.mark.parametrize("codec", ["bslz4", "lz4", "none"])
@pytest.mark.parametrize("dtype", ["u1", "<u2", "<u4"])
def test_frames_are_on_the_wire_as_they_were_recorded(
    tmp_path: Path, stream_format: str, codec: str, dtype: str
) -> None:
    path = make_run(tmp_path / "run_master.h5", codec, dtype)
    with RecordedRun(path) as run, playing(run, stream_format=stream_format) as (start, images):
        assert (start.n_images, start.shape) == (N_IMAGES, SHAPE)
        assert [image.image_id for image in images] == list(range(N_IMAGES))
        for image in images:
            pixels = image.channels["threshold_1"]
            expected = image_of(image.image_id + 1, dtype)
            array = codecs.decode(pixels.payload, pixels.codec, pixels.shape, np.dtype(pixels.dtype))
            assert np.array_equal(array, expected)
            if (stream_format, codec) != ("legacy", "lz4"):  # which has no header on the wire
                assert bytes(pixels.payload) == bytes(codecs.encode(expected, codec))
            else:
                assert bytes(pixels.payload) == bytes(codecs.encode(expected, "lz4"))[16:]


@pytest.mark.parametrize("stream_format", ["legacy", "cbor"])
def test_the_header_says_what_the_recording_says(tmp_path: Path, stream_format: str) -> None:
    path = make_run(tmp_path / "run_master.h5")
    with RecordedRun(path) as run, playing(run, stream_format=stream_format, rate_hz=run.rate_hz) as (start, _):
        config = dict(start.config)
        names = {"legacy": ("description", "wavelength", "detector_number"),
                 "cbor": ("detector_description", "incident_wavelength", "detector_serial_number")}  # fmt: skip
        assert run.rate_hz == pytest.approx(500.0)
        assert config["frame_time"] == pytest.approx(0.002)
        assert config["count_time"] == pytest.approx(0.0019)
        assert (config["beam_center_x"], config["beam_center_y"]) == (20.5, 11.25)
        described, wavelength, serial = (config[name] for name in names[stream_format])
        assert (described, serial) == ("Dectris EIGER2 Si 4M", "E-08-0101")
        assert wavelength == pytest.approx(0.9763)
        suffix = "" if stream_format == "legacy" else "/threshold_1"
        assert np.array_equal(start.arrays[f"pixel_mask{suffix}"], np.eye(*SHAPE))
        assert np.all(start.arrays[f"flatfield{suffix}"] == 1.25)


def test_what_the_recording_lacks_is_dropped_as_by_a_detector(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run_master.h5", lacking=(2, 5))
    with h5py.File(path, "a") as file:
        file["entry/data/data"].id.write_direct_chunk((5, 0, 0), b"\xff" * 30)  # damaged: message 6
    with RecordedRun(path) as run, playing(run) as (start, images):
        assert start.n_images == N_IMAGES
        assert [image.image_id for image in images] == [0, 2, 3, 6]


def test_another_packing_is_made_where_it_is_asked_for(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run_master.h5", "none")
    with RecordedRun(path) as run, playing(run, compression="bslz4") as (_, images):
        pixels = images[2].channels["threshold_1"]
        assert pixels.codec == "bslz4"
        assert bytes(pixels.payload) == bytes(codecs.encode(image_of(3), "bslz4"))


def test_a_longer_series_begins_with_the_first_frame_again(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run_master.h5")
    with RecordedRun(path) as run, playing(run, n_images=N_IMAGES + 2) as (_, images):
        payloads = [bytes(image.channels["threshold_1"].payload) for image in images]
        assert len(payloads) == N_IMAGES + 2
        assert payloads[N_IMAGES:] == payloads[:2]


@pytest.mark.parametrize("dtype", ["<i4", "<f4", ">u2"])
def test_what_no_stream_carries_is_refused_with_the_reason(tmp_path: Path, dtype: str) -> None:
    path = make_run(tmp_path / "run_master.h5", "none", dtype)
    with pytest.raises(RecordedRunError, match="the stream carries images of"):
        RecordedRun(path)


def test_a_run_without_images_is_refused(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run_master.h5", lacking=tuple(range(1, N_IMAGES + 1)))
    with pytest.raises(RecordedRunError, match="no image in it"):
        RecordedRun(path)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_run_that_is_played_and_brought_in_again_has_the_same_receipt(
    broker: str, tmp_path: Path, version: str
) -> None:
    """From a file over the wire into a stream: the connector does not know that this is no detector."""
    path = make_run(tmp_path / "run_master.h5")
    command = [sys.executable, "-m", "beamstream.cli", "simulate", "eiger", "--from", str(path), "--auto", "--wait",
               "--format", version, "--stream-port", "0", "--api-port", "0", "--json"]  # fmt: skip
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as detector:
        assert detector.stdout is not None
        endpoint = json.loads(detector.stdout.readline())["stream"]
        source = EigerSource(endpoint, template=StreamTemplate("played"), n_series=1)
        assert run_source(source, SourceAddress("bt", "det"), broker=broker) == 0
        assert json.loads(detector.stdout.readline()) == {"series": 1, "sent": N_IMAGES, "dropped": 0}
        assert detector.wait(TIMEOUT_S) == 0
    server = Server(broker)
    played = make_receipt(server, SourceAddress("bt", "det").stream("played"))
    server.close()
    recorded = path_receipt(path)
    assert replace(played, address="", groups=[]) == replace(recorded, address="", groups=[])
    with Consumer("bt/det/played", broker=broker) as online, Consumer(path) as offline:
        for one, other in zip(online, offline, strict=True):
            assert bytes(one.payload) == bytes(other.payload)
