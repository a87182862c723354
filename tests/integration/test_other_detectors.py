"""Detectors of other dimensions: spectra and single readings go the same way, and what takes images says so."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from beamstream import Address, Consumer, Producer
from beamstream.groups import list_dead_letters
from beamstream.protocol.client import Server

SPECTRUM, COUNTER, TEXT = (Address("bt", source, "run") for source in ("xrf", "i0", "log"))
N_MESSAGES = 5


@pytest.fixture
def others(broker: str) -> str:
    """A stream of spectra, one of single readings, and one of what is no array."""
    with (
        Producer(SPECTRUM, broker=broker, metadata={"energy_per_bin_ev": 10.0}) as spectra,
        Producer(COUNTER, broker=broker) as readings,
        Producer(TEXT, broker=broker) as text,
    ):
        for n in range(1, N_MESSAGES + 1):
            spectra.send_array(n, np.full(4096, n, "<u4"))
            readings.send_array(n, np.array(n, "<u4"), codec="none")
            text.send(n, b"shutter open")
        for producer in (spectra, readings, text):
            producer.finish()
    return broker


def command(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    whole = [sys.executable, "-m", "beamstream.cli", *arguments]
    return subprocess.run(whole, capture_output=True, text=True, timeout=100, check=False, cwd=cwd)


def test_a_spectrum_has_one_axis_and_a_single_reading_has_one_element(others: str) -> None:
    with Consumer(SPECTRUM, broker=others, group="g") as frames:
        assert [(frame.shape, int(frame.array()[4095])) for frame in frames] == [((4096,), n) for n in range(1, 6)]
    with Consumer(COUNTER, broker=others, group="g") as frames:
        assert [(frame.shape, frame.array().tolist()) for frame in frames] == [((1,), [n]) for n in range(1, 6)]


@pytest.mark.parametrize(("address", "shape"), [(SPECTRUM, [4096]), (COUNTER, [1]), (TEXT, [])])
def test_they_are_listed_shown_and_accounted_for(others: str, address: Address, shape: list[int]) -> None:
    where = (str(address), "--broker", others, "--json")
    lines = [json.loads(line) for line in command("tail", *where).stdout.splitlines()]
    assert [(line["id"], line["shape"]) for line in lines] == [(n, shape) for n in range(1, 6)]
    assert json.loads(command("info", *where).stdout)["received"] == N_MESSAGES
    receipt = command("receipt", *where)
    assert (receipt.returncode, json.loads(receipt.stdout)["clean"]) == (0, True)


@pytest.mark.parametrize("address", [SPECTRUM, COUNTER])
def test_they_are_written_to_files_that_are_read_as_the_stream_was(
    others: str, tmp_path: Path, address: Address
) -> None:
    ended = command("consume", "write", str(address), "--broker", others, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    (file,) = tmp_path.glob("*.nxs")
    with Consumer(address, broker=others) as sent, Consumer(file) as written:
        for one, other in zip(sent, written, strict=True):
            assert one.message_id == other.message_id
            np.testing.assert_array_equal(one.array(), other.array())


@pytest.mark.parametrize(
    ("address", "why"),
    [(SPECTRUM, "has shape (4096,); an image is"), (COUNTER, "has shape (1,); an image is"), (TEXT, "no shape")],
)
def test_what_takes_images_refuses_them_one_by_one_and_ends(others: str, address: Address, why: str) -> None:
    Consumer(address, broker=others, group="bin", max_attempts=1).close()
    ended = command("consume", "bin", str(address), "--broker", others)
    assert ended.returncode == 1, ended.stderr
    assert f"message 1 of {address} failed" in ended.stderr
    letters = list_dead_letters(Server(others), address, "bin")
    assert [letter.message_id for letter in letters] == list(range(1, N_MESSAGES + 1))
    assert all(why in letter.why for letter in letters)


@pytest.mark.parametrize(
    ("address", "why"),
    [(SPECTRUM, "an image of real numbers, this is (4096,)"), (COUNTER, "this is (1,)"), (TEXT, "no shape and dtype")],
)
def test_the_monitor_counts_them_and_says_why_it_shows_no_statistics(others: str, address: Address, why: str) -> None:
    ended = command("consume", "monitor", str(address), "--broker", others, "--terminal", "--json")
    assert ended.returncode == 0, ended.stderr
    shown = json.loads(ended.stdout.splitlines()[-1])
    assert shown["n_received"] == N_MESSAGES
    assert why in shown["frame"]["note"]
