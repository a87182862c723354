"""Whether a run that is replayed keeps its pace: times between frames as recorded, beside those that a reader sees.

    python benchmarks/replay_pace.py [--rate 100 --rate 500 …] [--seconds S] [--json]

For each rate: `stream simulate eiger` → `stream produce eiger` → embedded server → `stream consume write`, so that the
recording has the jitter of a real one. Then `stream produce replay FILE` at the recorded pace, each a process of its
own, and a `Consumer` here that notes when each frame is handed to it.

| figure        | what                                                                                                |
|---------------|-----------------------------------------------------------------------------------------------------|
| recorded      | times between the timestamps of neighbouring frames [ms]                                            |
| handed over   | times between the moments at which the source of the replay hands them over, without a broker [ms]  |
| replayed      | times between the arrivals of the same frames at the reader, through the broker [ms]                |
| ratio         | of the medians of the two                                                                           |
| off schedule  | how much later than by the recording's own times a frame arrived, counted from the earliest one [ms] |
| drift         | the same for the last tenth of the frames against the first tenth, medians [ms]: does it add up?     |

Receipts of recording and replay are compared, too. Ends with 1 where they differ, or a ratio is off by more than 5 %.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from beamstream import Address, Consumer
from beamstream.offline import open_recording, path_receipt
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.service import Produced
from beamstream.stop import Stop
from beamstream_producers.replay import ReplaySource, parse_pace
from beamstream_producers.replay.target import Target
from broker_process import ProofError, RunningBroker, running_broker

RECORDED = Address("benchmark", "eiger", "series_00001")
REPLAYED = Address("benchmark", "again", "series_00001")
LIMIT = 0.05
"""How far the medians may be apart, as a share of the recording's."""

MEMORY = "2GiB"
"""Memory of the server: both streams have to fit."""

TIMEOUT_S = 60.0
"""How long anything but the run itself may take [s]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Some times [ms]: their median, and how far they spread."""

    median: float
    p5: float
    p95: float
    p99: float
    longest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What was found for one rate; see the module's head. Times in ms."""

    rate_hz: float
    n_frames: int
    recorded: Spread
    handed_over: Spread
    replayed: Spread
    ratio: float
    off_schedule: Spread
    drift: float
    is_receipt_equal: bool

    @property
    def is_good(self) -> bool:
        """Whether the pace was kept and nothing is missing."""
        return abs(self.ratio - 1) <= LIMIT and self.is_receipt_equal


def spread(times_ns: Sequence[int]) -> Spread:
    """Sum up some times given in ns."""
    ordered = sorted(times_ns)

    def at(share: float) -> float:
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] / 1e6

    return Spread(
        median=statistics.median(ordered) / 1e6, p5=at(0.05), p95=at(0.95), p99=at(0.99), longest=ordered[-1] / 1e6
    )


def command(broker: str, *arguments: str) -> list[str]:
    """Return a command line of ours."""
    return [sys.executable, "-m", "beamstream.cli", "--log-level", "warning", "--broker", broker, *arguments]


def record(broker: RunningBroker, rate_hz: float, n_frames: int, folder: Path) -> Path:
    """Let a simulated detector take a run, and write it to a file."""
    detector_like = ("--size", "500k", "--bit-depth", "8", "--frames", str(n_frames), "--rate", f"{rate_hz}")
    ports = ("--stream-port", "0", "--api-port", "0")
    simulate = command(broker.url, "simulate", "eiger", *detector_like, *ports, "--auto", "--wait", "--json")
    with subprocess.Popen(simulate, stdout=subprocess.PIPE, text=True) as detector:
        line = detector.stdout.readline() if detector.stdout else ""
        if not line:
            raise ProofError("the simulated detector did not start")
        endpoint = json.loads(line)["stream"]
        to = ("--to", str(RECORDED.source_address), "--series", "1")
        subprocess.run(command(broker.url, "produce", "eiger", endpoint, *to), check=True)
        detector.wait(TIMEOUT_S)
    subprocess.run(command(broker.url, "consume", "write", str(RECORDED), "--directory", str(folder)), check=True)
    return folder / f"{str(RECORDED).replace('/', '_')}.nxs"


def replay(broker: RunningBroker, path: Path) -> tuple[list[int], list[int]]:
    """Replay a file; returns the frames' timestamps, and when they came here [ns]."""
    to = ("--to", str(REPLAYED))
    with subprocess.Popen(command(broker.url, "produce", "replay", str(path), *to)) as process:
        with Consumer(REPLAYED, broker=broker.url, wait_for_stream=True, timeout_s=TIMEOUT_S) as frames:
            recorded, arrived = [], []
            for frame in frames:
                arrived.append(time.monotonic_ns())
                recorded.append(frame.header.timestamp_ns)
        if process.wait(TIMEOUT_S) != 0:
            raise ProofError("the replay failed; what it says stands above")
    return recorded, arrived


def hand_over(path: Path) -> list[int]:
    """Let the source alone play a file; returns when it handed frames over [ns]."""
    recording = open_recording(path)
    source = ReplaySource(recording, REPLAYED.name, parse_pace("recorded"), Target(REPLAYED))
    moments = [time.monotonic_ns() for event in source.events(Stop()) if isinstance(event, Produced)]
    source.close()
    return moments


def measure(rate_hz: float, seconds: float) -> Replayed:
    """Record a run, replay it, and compare."""
    n_frames = max(20, round(rate_hz * seconds))
    with tempfile.TemporaryDirectory() as folder, running_broker(MEMORY) as broker:
        path = record(broker, rate_hz, n_frames, Path(folder))
        recorded, arrived = replay(broker, path)
        handed_over = hand_over(path)
        server = Server(broker.url)
        told, original = make_receipt(server, REPLAYED), path_receipt(path)
        server.close()
    steps = [[later - earlier for earlier, later in pairwise(times)] for times in (recorded, arrived)]
    lateness = [there - then for there, then in zip(arrived, recorded, strict=True)]
    earliest, tenth = min(lateness), max(1, len(lateness) // 10)
    drift = statistics.median(lateness[-tenth:]) - statistics.median(lateness[:tenth])
    facts = [(one.state, one.expected, one.received, one.missing, one.checksum) for one in (told, original)]
    return Replayed(
        rate_hz=rate_hz,
        n_frames=len(arrived),
        recorded=spread(steps[0]),
        handed_over=spread([later - earlier for earlier, later in pairwise(handed_over)]),
        replayed=spread(steps[1]),
        ratio=statistics.median(steps[1]) / statistics.median(steps[0]),
        off_schedule=spread([one - earliest for one in lateness]),
        drift=drift / 1e6,
        is_receipt_equal=facts[0] == facts[1] and told.received == n_frames,
    )


def show(found: Replayed) -> None:
    """Print what was found."""
    print(f"{found.rate_hz:g} Hz, {found.n_frames} frames")
    print(f"  {'[ms]':<14}{'median':>9}{'5 %':>9}{'95 %':>9}{'99 %':>9}{'longest':>9}")
    for name in ("recorded", "handed_over", "replayed", "off_schedule"):
        times: Spread = getattr(found, name)
        row = (times.median, times.p5, times.p95, times.p99, times.longest)
        print(f"  {name.replace('_', ' '):<14}" + "".join(f"{value:9.3f}" for value in row))
    print(f"  medians: {found.ratio:.4f} of the recording's; drift {found.drift:+.3f} ms; receipt "
          f"{'equal' if found.is_receipt_equal else 'DIFFERENT'}")  # fmt: skip


def main() -> int:
    """Run the benchmark; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, action="append", metavar="HZ")
    parser.add_argument("--seconds", type=float, default=4.0, metavar="S")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = [measure(rate_hz, chosen.seconds) for rate_hz in chosen.rate or (100.0, 500.0)]
    if chosen.json:
        print(json.dumps([asdict(one) | {"is_good": one.is_good} for one in found]))
    else:
        for one in found:
            show(one)
    return 0 if all(one.is_good for one in found) else 1


if __name__ == "__main__":
    sys.exit(main())
