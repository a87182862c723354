"""The demo's processes as command lines, and the verdict on what they made of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from beamstream.address import Address
from beamstream.receipt import Receipt

STREAM = Address("demo", "eiger", "series_00001")
"""The stream of the demo."""

SERVER, DETECTOR, CONNECTOR = "server", "detector", "connector"
HITS = Address(STREAM.beamtime, f"{STREAM.source}-hits", STREAM.name)
"""Where the frames go that show Bragg peaks."""

BIN, PEAKS, WRITE, MONITOR = "bin", "peaks", "write", "monitor"

ENDING = (DETECTOR, CONNECTOR, BIN, PEAKS, WRITE)
"""The processes that end by themselves once the series is over; server and monitor stay."""

DRAIN_ORDER = ((DETECTOR,), (CONNECTOR,), (BIN, PEAKS, WRITE, MONITOR))
"""In which order these are ended before their time, so that each can hand on what it still has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoOptions:
    """What is demonstrated.

    Attributes
    ----------
    n_frames : int
        Frames of the series.
    rate_hz : float
        Frames per second; 0 for as many as go.
    size : str
        Model of the simulated detector, e.g. ``1M``.
    stream_format : str
        ``v1`` or ``v2``.
    seed : int
        The same seed gives the same frames.
    """

    n_frames: int
    rate_hz: float
    size: str
    stream_format: str
    seed: int


def server_arguments() -> list[str]:
    """Return the arguments of `stream` for the server; it says in JSON where it is."""
    return ["broker", "run", "--port", "0", "--json"]


def detector_arguments(options: DemoOptions) -> list[str]:
    """Return the arguments for the detector; it says in JSON where it is, and waits for a receiver.

    It waits for a slow receiver too, unlike a real one: a laptop must not lose frames in a demonstration.
    """
    return [
        *("simulate", "eiger", "--auto", "--wait", "--json"),
        *("--stream-port", "0", "--api-port", "0"),
        *("--frames", str(options.n_frames), "--rate", f"{options.rate_hz:g}"),
        *("--size", options.size, "--format", options.stream_format, "--seed", str(options.seed)),
    ]


def connector_arguments(endpoint: str) -> list[str]:
    """Return the arguments for the connector between the detector at `endpoint` and the server."""
    to = str(STREAM.source_address)
    return ["produce", "eiger", endpoint, "--to", to, "--series", "1", "--stream-template", STREAM.name]


def consumer_arguments(directory: Path) -> dict[str, list[str]]:
    """Return the arguments for the consumers; files go to `directory`, the monitor says in JSON where its page is."""
    stream = str(STREAM)
    return {
        WRITE: ["consume", "write", stream, "--follow", "--verify", "--directory", str(directory)],
        BIN: ["consume", "bin", stream, "--follow"],
        PEAKS: ["consume", "peaks", stream, "--follow"],
        MONITOR: ["consume", "monitor", str(STREAM.source_address), "--port", "0", "--json"],
    }


def find_flaws(receipt: Receipt, n_frames: int) -> list[str]:
    """Return in words what is wrong with the demo's receipt; nothing if all is well."""
    wrong = {
        f"the stream is {receipt.state}, not complete": receipt.state != "complete",
        f"{receipt.received} of {n_frames} frames came": receipt.received != n_frames,
        f"{receipt.n_missing} frames are missing": receipt.n_missing > 0,
        f"{receipt.dropped} frames left memory before everybody had read them": receipt.dropped > 0,
        f"{receipt.written or 0} of {receipt.received} frames were written": receipt.written != receipt.received,
        f"the file's checksum is {receipt.file_checksum}, the stream's {receipt.checksum}": (
            receipt.file_checksum != receipt.checksum
        ),
    }
    return [words for words, so in wrong.items() if so]
