"""The `write` service as a process: killed, started again, stopped, locked out; and its files before a validator."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fabio
import h5py
import numpy as np
import pytest
from nexusformat.nexus import nxload

from beamstream import Address, Consumer, Producer
from beamstream.groups import list_groups
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.service import StreamStart, run_handler
from beamstream.testing.waiting import PATIENCE_S, wait_until
from beamstream_consumers.write import WriteHandler
from beamstream_consumers.write.errors import OutputError

ADDRESS = Address("11012345", "eiger", "series_00042")
NAME = "11012345_eiger_series_00042.nxs"
MASTER = "11012345_eiger_series_00042_master.h5"
SHAPE = (62, 43)

Run = Callable[..., subprocess.Popen[bytes]]


def image_of(message_id: int) -> Any:
    return np.random.default_rng(message_id).poisson(2.0, SHAPE).astype("<u2")


@pytest.fixture
def run(broker: str, tmp_path: Path) -> Iterator[Run]:
    """Start `stream consume write` as a process."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "beamstream.cli", "--broker", broker, "consume", "write", str(ADDRESS)]
        process = subprocess.Popen([*command, "-d", str(tmp_path), *options])
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def acknowledged_up_to(broker: str, message_id: int) -> bool:
    groups = list_groups(Server(broker), ADDRESS)
    return any(group.position >= message_id and group.n_pending == 0 for group in groups)


def test_a_writer_that_is_killed_and_started_again_has_every_frame_once(broker: str, run: Run, tmp_path: Path) -> None:
    with Producer(ADDRESS, broker=broker, n_expected=300) as producer:
        first = run()
        for message_id in range(1, 101):
            producer.send_array(message_id, image_of(message_id))
        wait_until(lambda: acknowledged_up_to(broker, 100), "100 acknowledged frames")
        for message_id in range(101, 201):
            producer.send_array(message_id, image_of(message_id))
        first.send_signal(signal.SIGKILL)
        first.wait()
        for message_id in range(201, 301):
            producer.send_array(message_id, image_of(message_id))
        producer.finish(300)
    assert not (tmp_path / NAME).exists()
    assert run().wait(PATIENCE_S) == 0
    with h5py.File(tmp_path / NAME) as file:
        assert np.array_equal(file["entry/data/data"][()], np.stack([image_of(i) for i in range(1, 301)]))
    receipt = make_receipt(Server(broker), ADDRESS)
    assert receipt.clean
    assert (receipt.written, receipt.file) == (300, str(tmp_path / NAME))
    assert receipt.file_checksum == receipt.checksum


def test_a_writer_that_is_interrupted_drains_and_leaves_a_file_to_go_on_with(
    broker: str, run: Run, tmp_path: Path
) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        writer = run()
        producer.send_array(1, image_of(1))
        wait_until(lambda: acknowledged_up_to(broker, 1), "an acknowledged frame")
        writer.send_signal(signal.SIGINT)
        assert writer.wait(PATIENCE_S) == 130
        with h5py.File(tmp_path / f"{NAME}.partial") as file:
            assert np.array_equal(file["entry/data/data"][()], image_of(1)[np.newaxis])
        producer.send_array(2, image_of(2))
        producer.finish(2)
    assert run().wait(PATIENCE_S) == 0
    with h5py.File(tmp_path / NAME) as file:
        assert file["entry/data/data"].shape[0] == 2


def test_a_file_in_the_way_ends_the_command_as_misuse(broker: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / NAME).touch()
    with Producer(ADDRESS, broker=broker) as producer:
        producer.send_array(1, image_of(1))
        producer.finish(1)
    assert run().wait(PATIENCE_S) == 2


def test_a_frame_that_does_not_fit_ends_among_the_dead_letters_and_the_rest_is_written(
    broker: str, tmp_path: Path
) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        producer.send_array(1, image_of(1))
        producer.send_array(2, image_of(2)[:10])
        producer.send_array(3, image_of(3))
        producer.finish(3)
    with Consumer(ADDRESS, broker=broker, group="write", redelivery_delays_s=[0]):
        pass  # makes the group: its messages need not wait
    assert run_handler(WriteHandler(tmp_path, min_free_bytes=0), str(ADDRESS), broker=broker) == 1
    with h5py.File(tmp_path / NAME) as file:
        assert file["entry/beamstream/missing"][()].tolist() == [[2, 2]]
        assert np.array_equal(file["entry/data/data"][2], image_of(3))


def test_a_file_that_another_process_writes_is_refused(broker: str, run: Run, tmp_path: Path) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        run()
        producer.send_array(1, image_of(1))
        wait_until(lambda: acknowledged_up_to(broker, 1), "an acknowledged frame")
        with pytest.raises(OutputError, match="lock"):
            WriteHandler(tmp_path).open(StreamStart(address=ADDRESS, metadata={}, n_expected=None, broker=broker))


def test_several_writers_share_a_stream_and_one_of_them_is_killed(broker: str, run: Run, tmp_path: Path) -> None:
    with Producer(ADDRESS, broker=broker, n_expected=300) as producer:
        first = run("--shared")
        for message_id in range(1, 101):
            producer.send_array(message_id, image_of(message_id))
        wait_until(lambda: acknowledged_up_to(broker, 100), "100 acknowledged frames")
        others = [run("--shared", "--verify") for _ in range(2)]
        for message_id in range(101, 201):
            producer.send_array(message_id, image_of(message_id))
        first.send_signal(signal.SIGKILL)
        first.wait()
        for message_id in range(201, 301):
            producer.send_array(message_id, image_of(message_id))
        producer.finish(300)
    assert [other.wait(PATIENCE_S) for other in others] == [0, 0]
    with h5py.File(tmp_path / MASTER) as file:
        assert np.array_equal(file["entry/data/data"][()], np.stack([image_of(i) for i in range(1, 301)]))
    receipt = make_receipt(Server(broker), ADDRESS)
    assert receipt.clean
    assert (receipt.written, receipt.file_checksum) == (300, receipt.checksum)
    assert not [path.name for path in tmp_path.iterdir() if path.suffix != ".h5"]


# --- files -------------------------------------------------------------------------------------------------------


def validate(path: Path) -> tuple[int, str]:
    """Return how many errors nxvalidate finds; its exit status is 0 whatever it finds."""
    script = "from nexusformat.scripts.nxvalidate import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script, "-a", "NXmx", "-e", str(path)], capture_output=True, text=True, check=True
    )
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr)
    found = re.search(r"Total number of errors: (\d+)", text)
    assert found, text
    return int(found.group(1)), text


EIGER = {
    "entry": {
        "@NX_class": "NXentry",
        "definition": "NXmx",
        "start_time": "2026-11-21T07:00:00+00:00",
        "sample": {
            "@NX_class": "NXsample",
            "transformations": {"@NX_class": "NXtransformations", "omega": 1.0, "omega@units": "degree"},
        },
        "instrument": {
            "@NX_class": "NXinstrument",
            "beam": {"@NX_class": "NXbeam", "incident_wavelength": 0.97, "incident_wavelength@units": "angstrom"},
            "detector": {
                "@NX_class": "NXdetector",
                "description": "EIGER2",
                "sensor_material": "Si",
                "sensor_thickness": 4.5e-4,
                "sensor_thickness@units": "m",
                "x_pixel_size": 75e-6,
                "x_pixel_size@units": "m",
                "y_pixel_size": 75e-6,
                "y_pixel_size@units": "m",
                "beam_center_x": 20.5,
                "beam_center_y": 31.0,
                "distance": 0.2,
                "distance@units": "m",
                "pixel_mask": np.zeros(SHAPE, dtype="u4"),
                "pixel_mask_applied": True,
                "frame_time": 0.01,
                "frame_time@units": "s",
            },
        },
    },
    "simplon": {"series_id": 42},
}


def write_two_frames(broker: str, directory: Path, metadata: dict[str, Any], **layout: Any) -> Path:
    with Producer(ADDRESS, broker=broker, metadata=metadata, n_expected=2) as producer:
        for message_id in (1, 2):
            producer.send_array(message_id, image_of(message_id), metadata={"start_ns": message_id})
        producer.finish(2)
    assert run_handler(WriteHandler(directory, min_free_bytes=0, **layout), str(ADDRESS), broker=broker) == 0
    return directory / (MASTER if layout else NAME)


LAYOUTS = [{}, {"images_per_file": 1}, {"shared": True}]


@pytest.mark.parametrize("layout", LAYOUTS[1:], ids=str)
def test_the_nexus_validator_finds_no_error_in_a_master(broker: str, tmp_path: Path, layout: dict[str, Any]) -> None:
    n_errors, text = validate(write_two_frames(broker, tmp_path, EIGER, **layout))
    assert n_errors == 0, text


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_programs_of_the_field_read_the_images(broker: str, tmp_path: Path, layout: dict[str, Any]) -> None:
    path = write_two_frames(broker, tmp_path, EIGER, **layout)
    images = [image_of(1), image_of(2)]
    with fabio.open(str(path)) as found:
        assert np.array_equal([found.getframe(number).data for number in range(found.nframes)], images)
    root = nxload(path)
    data = root["entry/data"]
    assert root["entry/definition"].nxvalue == "NXmx"
    names = sorted(name for name in data if name.startswith("data"))
    found = [data[names[0]][0].nxvalue, data[names[-1]][-1].nxvalue]
    assert np.array_equal(np.squeeze(found), images)


@pytest.mark.parametrize("metadata", [{}, EIGER], ids=["nothing said", "an Eiger's header"])
def test_the_nexus_validator_finds_no_error(broker: str, tmp_path: Path, metadata: dict[str, Any]) -> None:
    n_errors, text = validate(write_two_frames(broker, tmp_path, metadata))
    assert n_errors == 0, text


def test_the_validator_does_find_what_is_missing(broker: str, tmp_path: Path) -> None:
    path = write_two_frames(broker, tmp_path, EIGER)
    with h5py.File(path, "r+") as file:
        del file["entry/instrument/detector/sensor_material"]
    assert validate(path)[0] == 1


def test_geometry_places_the_beam_where_the_header_says(broker: str, tmp_path: Path) -> None:
    with h5py.File(write_two_frames(broker, tmp_path, EIGER)) as file:
        detector = file["entry/instrument/detector"]
        offset = detector["module/module_offset"]
        assert offset[()] * offset.attrs["vector"] == pytest.approx([20.5 * 75e-6, 31 * 75e-6, 0])
        assert detector["module/fast_pixel_direction"].attrs["depends_on"] == offset.name
        translation = file[offset.attrs["depends_on"]]
        assert (translation[()], translation.attrs["vector"].tolist()) == (0.2, [0, 0, 1])
        assert detector["data"].id == file["entry/data/data"].id
