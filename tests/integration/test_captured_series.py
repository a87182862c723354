"""Captured detector bytes, from a socket to a NeXus file, through real processes.

The connector and the writer run as a user would run them; what is sent are the parts that a detector sent.
"""

from __future__ import annotations

import contextlib
import json
import signal
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  (registers the filters that h5py reads with)
import numpy as np
import pytest
import zmq

from beamstream import Address, Consumer
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream_producers.testing import hostile_messages

N_PARTS_HEADER, N_PARTS_IMAGE = 8, 4

SUMS_71 = [2535, 2585, 2514, 2583, 2516, 2599, 2528, 2592, 2520, 2585]
SUMS_72 = [2521, 2585, 2536, 2576, 2530, 2571, 2520, 2578, 2522, 2586]
"""Unmasked counts per image, from the data's own page."""

Messages = list[list[bytes]]
Account = Callable[[str], Counter[str]]


@pytest.fixture
def captured_v1(captured_data: Path) -> tuple[Messages, Messages]:
    """Series 71 and 72 of an EIGER2 1M, as messages of parts."""
    folder = captured_data / "stream_v1_eigerstreamreceiver" / "parts"
    parts = [path.read_bytes() for path in sorted(folder.iterdir())]
    half = len(parts) // 2
    return grouped(parts[:half]), grouped(parts[half:])


def grouped(parts: list[bytes]) -> Messages:
    images = parts[N_PARTS_HEADER:-1]
    return [
        parts[:N_PARTS_HEADER],
        *(images[i : i + N_PARTS_IMAGE] for i in range(0, len(images), N_PARTS_IMAGE)),
        parts[-1:],
    ]


@pytest.fixture
def captured_v2(captured_data: Path) -> Messages:
    """Start, image and end of an EIGER2 16M."""
    folder = captured_data / "stream_v2_tickit_eiger16m"
    return [[(folder / name).read_bytes()] for name in ("start.cbor", "image.cbor", "end.cbor")]


@pytest.fixture
def detector() -> Iterator[tuple[zmq.Socket[bytes], str]]:
    """A PUSH socket, as a detector binds it, and its endpoint."""
    with zmq.Context() as context:
        socket = context.socket(zmq.PUSH)
        socket.linger = 0
        socket.sndtimeo = 30_000
        port = socket.bind_to_random_port("tcp://127.0.0.1")
        yield socket, f"tcp://127.0.0.1:{port}"
        socket.close()


def stream(*arguments: str, broker: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "beamstream.cli", "--broker", broker, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """Wait for a process that should end well; returns what it logged."""
    _, log = process.communicate(timeout=60)
    assert process.returncode == 0, log
    return log


def produce(
    detector: tuple[zmq.Socket[bytes], str], messages: Sequence[list[bytes]], broker: str, *options: str
) -> str:
    """Send messages to a connector; returns its log."""
    socket, endpoint = detector
    connector = stream("produce", "eiger", endpoint, "--to", "bt/eiger", *options, broker=broker)
    with killed_at_last(connector):
        for message in messages:
            socket.send_multipart(message)
        return ended(connector)


@contextlib.contextmanager
def killed_at_last(process: subprocess.Popen[str]) -> Iterator[None]:
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def write(broker: str, folder: Path) -> None:
    ended(stream("consume", "write", "bt/eiger", "--directory", str(folder), broker=broker))


def stored_chunks(path: Path, n_images: int) -> list[bytes]:
    with h5py.File(path) as file:
        dataset = file["entry/data/data"]
        assert dataset.shape[0] == n_images
        return [dataset.id.read_direct_chunk((i, 0, 0))[1] for i in range(n_images)]


def sums(path: Path) -> list[int]:
    with h5py.File(path) as file:
        images = file["entry/data/data"]
        return [int(image[image != np.iinfo(image.dtype).max].sum(dtype="u8")) for image in images]


def test_two_captured_v1_series_become_two_files_with_the_detectors_own_bytes(
    broker: str,
    detector: tuple[zmq.Socket[bytes], str],
    captured_v1: tuple[Messages, Messages],
    tmp_path: Path,
    account: Account,
) -> None:
    counted = account(produce(detector, [*captured_v1[0], *captured_v1[1]], broker, "--series", "2"))
    assert (counted["received"], counted["series"], counted["images"], counted["ends"]) == (24, 2, 20, 2)
    write(broker, tmp_path)
    for series, messages, expected in ((71, captured_v1[0], SUMS_71), (72, captured_v1[1], SUMS_72)):
        path = tmp_path / f"bt_eiger_series_{series:05d}.nxs"
        assert sums(path) == expected
        blobs = [message[2] for message in messages[1:-1]]
        unpacked = 1062 * 1028 * 4
        prefixed = [struct.pack(">QII", unpacked, unpacked, len(blob)) + blob for blob in blobs]
        assert stored_chunks(path, 10) == prefixed
        receipt = make_receipt(Server(broker), Address("bt", "eiger", f"series_{series:05d}"))
        assert receipt.clean
        assert (receipt.expected, receipt.received, receipt.written, receipt.n_missing) == (10, 10, 10, 0)
        assert receipt.file_checksum == receipt.checksum


def test_the_captured_v2_image_becomes_a_file_with_the_detectors_own_bytes(
    broker: str, detector: tuple[zmq.Socket[bytes], str], captured_v2: Messages, tmp_path: Path, account: Account
) -> None:
    # The header promises more images than were captured: the series counts as aborted, its one image is safe.
    log = produce(detector, captured_v2, broker, "--series", "1")
    counted = account(log)
    assert (counted["received"], counted["series"], counted["images"], counted["ends"]) == (3, 1, 1, 1)
    write(broker, tmp_path)
    path = tmp_path / "bt_eiger_series_15614.nxs"
    with h5py.File(path) as file:
        image = file["entry/data/data"][0]
    assert image.shape == (4362, 4148)
    good = image[image != 65535]
    assert (image.size - good.size, int(good.sum(dtype="u8")), int(good.max())) == (1253075, 13712, 6504), log
    assert stored_chunks(path, 1)[0] in captured_v2[1][0]


def test_a_receiver_that_comes_late_an_aborted_series_and_an_image_without_header_are_counted_and_survived(
    broker: str, detector: tuple[zmq.Socket[bytes], str], captured_v1: tuple[Messages, Messages], account: Account
) -> None:
    first, second = captured_v1
    stale, aborted = first[5:8], [second[0], *second[1:6], second[-1]]
    again = [*first]
    log = produce(detector, [*stale, *aborted, first[3], *again], broker, "--series", "2")
    counted = account(log)
    assert counted["image without header"] == 4
    assert (counted["series"], counted["images"], counted["sent"]) == (2, 15, 15)
    server = Server(broker)
    half = make_receipt(server, Address("bt", "eiger", "series_00072"))
    assert (half.state, half.expected, half.received, half.missing) == ("aborted", 10, 5, [(6, 10)])
    assert not half.clean
    whole = make_receipt(server, Address("bt", "eiger", "series_00071"))
    assert whole.clean


def test_garbage_on_the_socket_is_counted_and_nothing_good_is_lost(
    broker: str, detector: tuple[zmq.Socket[bytes], str], captured_v1: tuple[Messages, Messages], account: Account
) -> None:
    garbage = list(hostile_messages().values())
    messages: Messages = [*garbage]
    for number, message in enumerate(captured_v1[0]):
        messages += [garbage[number % len(garbage)], message]
    log = produce(detector, messages, broker, "--series", "1")
    assert account(log)["rejected"] == len(messages) - len(captured_v1[0])
    with Consumer("bt/eiger/series_00071", broker=broker) as consumer:
        frames = list(consumer)
    assert [frame.payload for frame in frames] == [message[2] for message in captured_v1[0][1:-1]]
    images = [frame.array() for frame in frames]
    assert [int(image[image != 2**32 - 1].sum(dtype="u8")) for image in images] == SUMS_71


def test_a_second_client_steals_messages_and_the_receipt_says_which(
    broker: str, detector: tuple[zmq.Socket[bytes], str], captured_v1: tuple[Messages, Messages]
) -> None:
    socket, endpoint = detector
    connector = stream("produce", "eiger", endpoint, "--to", "bt/eiger", broker=broker)
    with killed_at_last(connector), zmq.Context() as context:
        header, *images = captured_v1[0][:-1]
        socket.send_multipart(header)
        wait_for_stream(broker)
        thief = context.socket(zmq.PULL)
        thief.linger = 0
        thief.connect(endpoint)
        stolen = 0
        for image in images:
            socket.send_multipart(image)
            stolen += bool(thief.poll(300))
            while thief.poll(0):
                thief.recv_multipart()
        thief.close()
        assert 0 < stolen < 10
        connector.send_signal(signal.SIGINT)
        connector.communicate(timeout=60)
        assert connector.returncode == 130
    receipt = make_receipt(Server(broker), Address("bt", "eiger", "series_00071"))
    assert (receipt.received, receipt.n_missing) == (10 - stolen, stolen)
    assert receipt.state in ("aborted", "incomplete")


def wait_for_stream(broker: str) -> None:
    with Consumer("bt/eiger/series_00071", broker=broker, wait_for_stream=True, timeout_s=30):
        pass


def test_a_series_number_that_comes_again_gets_a_stream_of_its_own(
    broker: str, detector: tuple[zmq.Socket[bytes], str], captured_v1: tuple[Messages, Messages]
) -> None:
    for _ in range(2):
        produce(detector, captured_v1[0], broker, "--series", "1")
    listing = stream("ls", "bt/eiger", "--json", broker=broker)
    out, log = listing.communicate(timeout=60)
    assert listing.returncode == 0, log
    rows = json.loads(out)
    assert [(row["stream"], row["state"], row["messages"]) for row in rows] == [
        ("bt/eiger/series_00071", "complete", 10),
        ("bt/eiger/series_00071_2", "complete", 10),
    ]
