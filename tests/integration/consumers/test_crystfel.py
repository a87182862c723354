"""The bridge on a real broker, with workers that speak as indexamajig's do: a REQ socket, and what comes back decoded.

Decoding follows what CrystFEL does: the first key whose letters agree is taken, numbers of peaks are read as floats
without a look at their type, pixels are `<f4` of two axes, and an answer of at most 15 bytes is no frame.
"""

from __future__ import annotations

import io
import math
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 (what CrystFEL has to find in HDF5_PLUGIN_PATH)
import msgpack
import numpy as np
import numpy.typing as npt
import pytest
import zmq

from beamstream import Address, Consumer, Producer
from beamstream.service import run_handler
from beamstream.testing.ports import free_port
from beamstream_consumers.calibration_files import read_mask
from beamstream_consumers.crystfel.bridge import BridgeOptions
from beamstream_consumers.crystfel.command import run_bridge
from beamstream_consumers.crystfel.frames import FrameOptions
from beamstream_consumers.crystfel.listing import ListingError, geometry_of, list_events
from beamstream_consumers.crystfel.protocol import AT_END, MAX_SHORT_BYTES
from beamstream_consumers.geometry import GeometryMaps, GeometryShapeError, read_geometry
from beamstream_consumers.write import WriteHandler

HITS = Address("11012345", "eiger-hits", "run_001")
SHAPE = (31, 43)
DETECTOR = {
    "@NX_class": "NXdetector",
    "beam_center_x": 20.5,
    "beam_center_y": 15.5,
    "x_pixel_size": 75e-6,
    "y_pixel_size": 75e-6,
    "distance": 0.125,
    "distance@units": "m",
    "pixel_mask": np.zeros(SHAPE, dtype=np.uint32),
}
DETECTOR["pixel_mask"][3] = 1
BEAM = {"@NX_class": "NXbeam", "incident_wavelength": 1.0, "incident_wavelength@units": "angstrom"}
INSTRUMENT = {"@NX_class": "NXinstrument", "detector": DETECTOR, "beam": BEAM}
METADATA = {"entry": {"@NX_class": "NXentry", "instrument": INSTRUMENT}}


def image_of(message_id: int) -> npt.NDArray[np.uint16]:
    image: npt.NDArray[np.uint16] = np.random.default_rng(message_id).poisson(2.0, SHAPE).astype("<u2")
    image[0, 0] = 65535
    return image


def peaks_of(message_id: int) -> dict[str, list[float]]:
    return {"fs": [1.0, 2.5], "ss": [3, 4.25], "intensity": [float(message_id), 10]}


def produce(broker: str, n: int, **options: Any) -> None:
    with Producer(HITS, broker=broker, metadata=METADATA, **options) as producer:
        for message_id in range(1, n + 1):
            producer.send_array(
                message_id,
                image_of(message_id),
                codec="bslz4",
                timestamp_ns=1_700_000_000_500_000_000,
                metadata={"peaks": peaks_of(message_id)},
            )
        producer.finish(n)


def make_group(broker: str) -> None:
    """Make the group beforehand, as one that hands out at once what was given back."""
    with Consumer(HITS, broker=broker, group="crystfel", redelivery_delays_s=(0.0,)):
        pass


def free_endpoint() -> str:
    return f"tcp://127.0.0.1:{free_port()}"


def find(pairs: list[tuple[str, Any]], key: str) -> Any:
    """Return what CrystFEL finds: the first key that is the beginning of the one it looks for."""
    return next(value for name, value in pairs if key.startswith(name))


@dataclass(eq=False)
class Worker(threading.Thread):
    """One worker of indexamajig."""

    endpoint: str
    request: bytes = b"next"
    dies_with: int = 0
    stalls_with: int = 0
    decode: Any = None
    answers: list[Any] = field(default_factory=list)
    short: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)
        self.released = threading.Event()

    def run(self) -> None:
        with zmq.Context() as context, context.socket(zmq.REQ) as asking:
            asking.setsockopt(zmq.LINGER, 0)
            asking.setsockopt(zmq.RCVTIMEO, 40_000)
            asking.connect(self.endpoint)
            while True:
                asking.send(self.request)
                try:
                    answer = asking.recv()
                except zmq.Again:  # nobody answers any more: what it was given is in its answers
                    return
                if len(answer) <= MAX_SHORT_BYTES:
                    self.short.append(answer)
                    if answer == AT_END:
                        return
                    continue
                self.answers.append((self.decode or decode_msgpack)(answer))
                if self.answers[-1]["message_id"] == self.dies_with:
                    return
                if self.answers[-1]["message_id"] == self.stalls_with:
                    self.released.wait(30)


def decode_msgpack(answer: bytes) -> dict[str, Any]:
    pairs = msgpack.unpackb(answer, raw=False, object_pairs_hook=list)
    data = find(pairs, "detector_data")
    assert find(data, "type") == "<f4"
    slow, fast = find(data, "shape")
    peaks = find(pairs, "peak_list")
    for name in ("fs", "ss", "intensity"):
        assert all(isinstance(value, float) for value in find(peaks, name))
    return {
        "pixels": np.frombuffer(find(data, "data"), "<f4").reshape(slow, fast),
        "peaks": {name: find(peaks, name) for name in ("fs", "ss", "intensity")},
        "energy": find(pairs, "beam_energy"),
        "distance": find(pairs, "detector_distance"),
        "event_id": find(pairs, "event_id"),
        "message_id": find(pairs, "message_id"),
        "timestamp": find(pairs, "timestamp"),
    }


def decode_hdf5(answer: bytes) -> dict[str, Any]:
    with h5py.File(io.BytesIO(answer), "r") as file:
        return {
            "pixels": file["data/data"][()],
            "energy": float(file["data/beam_energy"][()]),
            "distance": float(file["data/detector_distance"][()]),
            "event_id": file["data/event_id"].asstr()[()],
            "message_id": int(file["data/message_id"][()]),
        }


def expected_pixels(message_id: int) -> npt.NDArray[np.float32]:
    pixels = image_of(message_id).astype(np.float32)
    pixels[3] = np.nan
    pixels[0, 0] = np.nan
    return pixels


def options(**changes: Any) -> BridgeOptions:
    names = ("data_format", "geometry", "write_geometry", "masks", "photon_energy_ev", "distance_mm")
    frames = FrameOptions(**{"masks": {}, **{name: changes.pop(name) for name in names if name in changes}})
    return BridgeOptions(frames=frames, **changes)


def run(broker: str, workers: list[Worker], where: str = str(HITS), **changes: Any) -> int:
    for worker in workers:
        worker.start()
    status = run_bridge(where, workers[0].endpoint, options(**changes), broker=broker)
    for worker in workers:
        worker.join(20)
    return status


def test_several_workers_share_all_frames_and_each_is_acknowledged(broker: str, tmp_path: Path) -> None:
    produce(broker, 20)
    endpoint = free_endpoint()
    workers = [Worker(endpoint) for _ in range(3)]
    assert run(broker, workers, write_geometry=tmp_path / "run.geom") == 0
    answers = {answer["message_id"]: answer for worker in workers for answer in worker.answers}
    assert sum(len(worker.answers) for worker in workers) == 20
    assert sorted(answers) == list(range(1, 21))
    for message_id, answer in answers.items():
        np.testing.assert_array_equal(answer["pixels"], expected_pixels(message_id))
        assert answer["peaks"] == {name: list(map(float, value)) for name, value in peaks_of(message_id).items()}
        assert answer["energy"] == pytest.approx(12398.4198)
        assert answer["distance"] == pytest.approx(125.0)
        assert answer["event_id"] == f"{HITS}//{message_id}"
        assert answer["timestamp"] == pytest.approx(1_700_000_000.5, abs=1e-3)
    assert all(worker.short[-1] == AT_END for worker in workers)
    with Consumer(HITS, broker=broker, group="crystfel", timeout_s=5) as rest:
        assert list(rest) == []
    geometry = read_geometry(tmp_path / "run.geom", SHAPE)
    assert geometry.locations == {"distance": "detector_distance mm", "wavelength": "beam_energy eV"}
    assert GeometryMaps(geometry).radius_pixels[15, 20] == pytest.approx(0.0, abs=1e-4)


def test_hdf5_in_memory_has_the_same(broker: str) -> None:
    produce(broker, 3)
    worker = Worker(free_endpoint(), decode=decode_hdf5)
    assert run(broker, [worker], data_format="hdf5") == 0
    for message_id, answer in enumerate(worker.answers, 1):
        np.testing.assert_array_equal(answer["pixels"], expected_pixels(message_id))
        assert answer["message_id"] == message_id
        assert answer["energy"] == pytest.approx(12398.4198)
        assert answer["event_id"] == f"{HITS}//{message_id}"


def test_a_dead_workers_frame_goes_to_a_living_one(broker: str) -> None:
    produce(broker, 12)
    make_group(broker)
    endpoint = free_endpoint()
    workers = [Worker(endpoint, dies_with=2), Worker(endpoint, dies_with=2), Worker(endpoint)]
    assert run(broker, workers) == 0
    seen = [answer["message_id"] for worker in workers for answer in worker.answers]
    assert set(seen) == set(range(1, 13))
    assert workers[2].answers, "the living one went on"
    with Consumer(HITS, broker=broker, group="crystfel", timeout_s=5) as rest:
        assert list(rest) == []


def test_a_silent_workers_frame_goes_to_another_one(broker: str) -> None:
    produce(broker, 6)
    make_group(broker)
    endpoint = free_endpoint()
    silent, living = Worker(endpoint, stalls_with=1), Worker(endpoint)
    silent.start()

    def follow() -> None:
        while not silent.answers:
            time.sleep(0.01)
        living.start()

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    assert run_bridge(str(HITS), endpoint, options(worker_timeout_s=0.5), broker=broker) == 0
    silent.released.set()
    thread.join(20)
    living.join(20)
    assert [answer["message_id"] for answer in silent.answers] == [1]
    assert sorted(answer["message_id"] for answer in living.answers) == [1, 2, 3, 4, 5, 6]


def test_requests_that_are_none_are_answered_in_a_few_bytes_and_end_nothing(broker: str) -> None:
    produce(broker, 4)
    endpoint = free_endpoint()
    worker = Worker(endpoint)
    replies: list[list[bytes]] = []

    def nonsense() -> None:
        with zmq.Context() as context:
            for parts in ([b"", b"give me all"], [b"", b""], [b"next"], [b"", b"next", b"next"], [b"", b"x" * 100_000]):
                with context.socket(zmq.DEALER) as asking:
                    asking.setsockopt(zmq.LINGER, 0)
                    asking.connect(endpoint)
                    asking.send_multipart(parts)
                    if asking.poll(1000):
                        replies.append(asking.recv_multipart())
        with socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2])), timeout=5) as raw:
            raw.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
        worker.start()

    thread = threading.Thread(target=nonsense, daemon=True)
    thread.start()
    assert run_bridge(str(HITS), endpoint, options(), broker=broker) == 0
    thread.join(20)
    worker.join(20)
    assert len(replies) == 4, "one was too long to be answered"
    assert all(0 < len(reply[-1]) <= MAX_SHORT_BYTES for reply in replies)
    assert [answer["message_id"] for answer in worker.answers] == [1, 2, 3, 4]


def test_a_worker_that_asks_twice_at_once_gets_one_frame(broker: str) -> None:
    produce(broker, 2)
    endpoint = free_endpoint()
    worker = Worker(endpoint)
    got: list[bytes] = []

    def impatient() -> None:
        with zmq.Context() as context, context.socket(zmq.DEALER) as asking:
            asking.setsockopt(zmq.LINGER, 0)
            asking.connect(endpoint)
            for _ in range(2):
                asking.send_multipart([b"", b"next"])
            while len(got) < 2 and asking.poll(5000):
                got.append(asking.recv_multipart()[-1])
        worker.start()

    thread = threading.Thread(target=impatient, daemon=True)
    thread.start()
    assert run_bridge(str(HITS), endpoint, options(), broker=broker) == 0
    thread.join(20)
    worker.join(20)
    assert [answer["message_id"] for answer in worker.answers][-1] in {1, 2}


def test_frames_that_do_not_fit_the_geometry_end_the_bridge_and_stay_the_groups(broker: str, tmp_path: Path) -> None:
    produce(broker, 2)
    path = tmp_path / "other.geom"
    path.write_text(
        "p/min_fs=0\np/max_fs=1\np/min_ss=0\np/max_ss=1\np/corner_x=0\np/corner_y=0\np/fs=x\np/ss=y\np/res=1e4\n"
    )
    with pytest.raises(GeometryShapeError, match=r"\(2, 2\).*\(31, 43\)"):
        run_bridge(str(HITS), free_endpoint(), options(geometry=path), broker=broker)
    worker = Worker(free_endpoint())
    assert run(broker, [worker]) == 0
    assert len(worker.answers) == 2


def test_what_is_no_image_goes_to_the_dead_letters(broker: str) -> None:
    with Producer(HITS, broker=broker) as producer:
        producer.send(1, b"hello")
        producer.finish(1)
    endpoint = free_endpoint()
    with Consumer(HITS, broker=broker, group="crystfel", max_attempts=1):
        pass
    worker = Worker(endpoint)
    assert run(broker, [worker]) == 1
    assert worker.answers == []


@pytest.mark.parametrize("images_per_file", [None, 2])
def test_files_are_given_without_a_broker_and_listed_for_indexamajig(
    broker: str, tmp_path: Path, images_per_file: int | None
) -> None:
    with Producer(HITS, broker=broker, metadata=METADATA, patience_s=0.05) as producer:
        for message_id in (1, 2, 4):
            producer.send_array(message_id, image_of(message_id), codec="bslz4")
        producer.finish(4)
    handler = WriteHandler(tmp_path, "{stream}.h5", images_per_file=images_per_file)
    assert run_handler(handler, str(HITS), broker=broker) == 0
    path = tmp_path / ("run_001_master.h5" if images_per_file else "run_001.h5")
    worker = Worker(free_endpoint())
    assert run("", [worker], where=str(path)) == 0
    assert [answer["message_id"] for answer in worker.answers] == [1, 2, 4]
    assert math.isclose(worker.answers[0]["distance"], 125.0)

    listing = list_events([path])
    assert len(listing.lines) == 3
    for line, message_id in zip(listing.lines, (1, 2, 4), strict=True):
        name, event = line.split(" //")
        with h5py.File(name) as file:
            np.testing.assert_array_equal(file[listing.data][int(event)], image_of(message_id))
    text = geometry_of(path, listing, None, "a test")
    (tmp_path / "run.geom").write_text(text)
    geometry = read_geometry(tmp_path / "run.geom", SHAPE)
    assert (geometry.distance_m, geometry.data_location) == (pytest.approx(0.125), "/entry/data/data")
    assert geometry.panels[0].flags.equal == (65535.0,)
    (mask,) = geometry.masks
    bad = read_mask(f"{mask.file}:{mask.location}", good_bits=mask.good_bits, bad_bits=mask.bad_bits)
    assert bad.tolist() == (DETECTOR["pixel_mask"] != 0).tolist()
    other = tmp_path / "other.poni"
    other.write_text('Detector_config: {"pixel1": 1e-4, "pixel2": 1e-4, "max_shape": [4, 6]}\nDistance: 0.1\n')
    with pytest.raises(GeometryShapeError):
        geometry_of(path, listing, other, "")


def test_only_files_with_images_can_be_listed(captured_data: Path) -> None:
    with pytest.raises(ListingError, match="HDF5"):
        list_events([captured_data / "cbf_pilatus300k_albis"])


def test_an_interrupted_bridge_waits_for_what_workers_have(broker: str) -> None:
    produce(broker, 200)
    endpoint = free_endpoint()
    command = [sys.executable, "-m", "beamstream.cli", "consume", "crystfel", str(HITS), "--bind", endpoint]
    process = subprocess.Popen([*command, "--broker", broker], stderr=subprocess.DEVNULL)
    worker = Worker(endpoint)
    worker.start()
    while len(worker.answers) < 5:
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    worker.join(20)
    n_done = len(worker.answers)
    assert n_done < 200
    assert worker.short[-1] == AT_END
    successor = Worker(free_endpoint())
    assert run(broker, [successor]) == 0
    ids = [answer["message_id"] for one in (worker, successor) for answer in one.answers]
    assert sorted(ids) == list(range(1, 201))
