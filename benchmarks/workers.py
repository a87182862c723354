"""Frames per second of a group of two workers beside one, with the peak finder on 2167 x 2070 pixels.

    python benchmarks/workers.py [--frames 600] [--rounds 5] [--tier memory] [--json]

All is real: `stream broker run`, frames in shared memory (or in the server's, with `--tier memory`), `run_processor`
with its supervisor, results in derived streams.
The frames are there before; the workers, started and warm, begin together, and the clock stops when nine tenths of the
results are in their stream, so that neither starting up nor the last frames of one worker count. One and two workers
take turns; the ratio is that of the two in one round, a minute apart at most, and the median of the rounds counts. The
server and its readers need processors, too: on two of them the ratio cannot be two.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from beamstream import Address, Frame, Producer
from beamstream.producer.storing import Tier, check_tier
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.service import Output, Results, StreamStart, run_processor
from beamstream.state import read_state
from beamstream.streams import delete_stream
from beamstream_consumers.peaks import PeakProcessor, PeakSettings
from broker_process import running_broker
from detector_frames import Sample, samples, stream_metadata

GOAL = 1.7
"""What is asked for: frames/s of two workers through those of one."""

MEMORY = "4GiB"
PART_DONE = 0.9
WAIT_S = 240.0
SOURCE, PEAKS, HITS = (Address("bench", name, "run") for name in ("det", "det-peaks", "det-hits"))


class Gated(PeakProcessor):
    """The peak finder, held back until all workers are warm."""

    def __init__(self, folder: Path) -> None:
        super().__init__(PeakSettings.of({"adc_threshold": 20, "min_hit_peaks": 2000}))
        self._gate = folder

    def open(self, stream: StreamStart) -> Mapping[str, Output]:
        outputs = super().open(stream)
        self._is_first = True
        return outputs

    def process(self, frame: Frame) -> Results:
        results = super().process(frame)
        if self._is_first:
            self._is_first = False
            (self._gate / f"ready-{id(self)}-{time.monotonic_ns()}").touch()
            while not (self._gate / "go").exists():
                time.sleep(0.001)
        return results


def serve(broker: str, folder: str, n_workers: int) -> int:
    """Be the service."""
    return run_processor(partial(Gated, Path(folder)), str(SOURCE), broker=broker, workers=n_workers)


def measure(broker: str, sample: Sample, n_frames: int, n_workers: int, tier: Tier) -> float:
    """Return how many frames per second so many workers process."""
    server = Server(broker)
    with Producer(SOURCE, broker=broker, queue_bytes=1 << 30, metadata=stream_metadata(sample), tier=tier) as producer:
        for message_id in range(1, n_frames + 1):
            producer.send(message_id, sample.payload, shape=sample.image.shape, dtype="<u2", codec="bslz4")
        producer.finish()
    with tempfile.TemporaryDirectory() as folder:
        service = subprocess.Popen([sys.executable, __file__, "--serve", broker, folder, str(n_workers)])
        try:
            wait_until(lambda: len(list(Path(folder).glob("ready-*"))) == n_workers, service)
            begun_at = time.monotonic()
            (Path(folder) / "go").touch()
            wait_until(lambda: n_done(server) >= PART_DONE * n_frames, service)
            rate = PART_DONE * n_frames / (time.monotonic() - begun_at)
            assert service.wait(WAIT_S) == 0
        finally:
            service.kill()
            service.wait()
    state = read_state(server, StreamKeys(PEAKS))
    assert state is not None
    assert (state.n_received, state.n_missing) == (n_frames, 0)
    for address in (SOURCE, PEAKS, HITS):
        delete_stream(server, address)
    server.close()
    return rate


def n_done(server: Server) -> int:
    """Return how many frames have a result, in order."""
    state = read_state(server, StreamKeys(PEAKS))
    return 0 if state is None else state.next_id - 1


def wait_until(condition: object, service: subprocess.Popen[bytes]) -> None:
    """Wait for something that a running service does."""
    ends_at = time.monotonic() + WAIT_S
    while not condition():  # type: ignore[operator]
        assert service.poll() is None, "the service has ended"
        assert time.monotonic() < ends_at, f"nothing within {WAIT_S} s"
        time.sleep(0.05)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tier", default="shared")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        broker, folder, n_workers = options.serve
        sys.exit(serve(broker, folder, int(n_workers)))
    sample = next(iter(samples()))
    with running_broker(MEMORY) as server:
        rates: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(options.rounds):
            for n_workers, found in rates.items():
                found.append(measure(server.url, sample, options.frames, n_workers, check_tier(options.tier)))
    ratios = [two / one for one, two in zip(rates[1], rates[2], strict=True)]
    ratio = statistics.median(ratios)
    result = {
        "frame": sample.name,
        "payload_bytes": len(sample.payload),
        "tier": options.tier,
        "frames_per_s": {str(n): [round(rate, 1) for rate in found] for n, found in rates.items()},
        "ratio": round(ratio, 2),
        "ratios": [round(one, 2) for one in ratios],
        "goal": GOAL,
        "passed": ratio >= GOAL,
    }
    if options.json:
        print(json.dumps(result))
    else:
        print(f"{sample.name}, {len(sample.payload) / 1e6:.1f} MB; {options.frames} frames, {options.rounds} rounds")
        for n, found in rates.items():
            all_rounds = ", ".join(f"{rate:.1f}" for rate in found)
            print(f"{n} worker(s) {statistics.median(found):.1f} frames/s; all rounds: {all_rounds}")
        all_ratios = ", ".join(f"{one:.2f}" for one in ratios)
        print(f"ratio {ratio:.2f}, asked for {GOAL}; all rounds: {all_ratios}")


if __name__ == "__main__":
    main()
