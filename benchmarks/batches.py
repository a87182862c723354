"""What batches cost: frames of an EIGER2 4M through a real server, unpacked one by one or into contiguous arrays.

    python benchmarks/batches.py [--frames 64] [--batch 16] [--rounds 5] [--json]

Measured in turn, so that what else the machine does hits all alike: `frames`, each frame unpacked into one array that
is used again; `batches`, `consumer.batches(n)`; `stacked`, what one writes without it: a list of arrays and
`numpy.stack`. The ratio is the median over the rounds of the rate of batches through that of frames. `threads` is how
much faster the frames of a batch are unpacked by two threads than by one, from memory, without a server.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from beamstream import Consumer, Frame, Producer
from beamstream_broker.embedded import EmbeddedServer
from detector_frames import samples

MEMORY_BYTES = 2 << 30
STREAM = "bench/eiger/run"


def read_frames(broker: str, _n: int) -> int:
    """Unpack frame by frame."""
    image = None
    with Consumer(STREAM, broker=broker) as frames:
        count = 0
        for frame in frames:
            image = frame.array(out=image)
            count += 1
    return count


def read_batches(broker: str, n: int) -> int:
    """Unpack into batches."""
    with Consumer(STREAM, broker=broker) as frames:
        return sum(len(batch) for batch in frames.batches(n))


def read_stacked(broker: str, n: int) -> int:
    """Unpack frame by frame, and stack."""
    count = 0
    with Consumer(STREAM, broker=broker) as frames:
        images = []
        for frame in frames:
            images.append(frame.array())
            if len(images) == n:
                count += len(np.stack(images))
                images = []
        return count + len(images)


WAYS: dict[str, Callable[[str, int], int]] = {"frames": read_frames, "batches": read_batches, "stacked": read_stacked}


def threads_gain(frames: list[Frame], rounds: int) -> float:
    """Return how much faster two threads unpack the same frames into one array."""
    array = np.zeros((len(frames), *frames[0].shape), frames[0].header.dtype)
    gains = []

    def unpack(k: int) -> None:
        frames[k].array(out=array[k])

    with ThreadPoolExecutor(2) as pool:
        for _ in range(rounds):
            begun = time.perf_counter()
            for k in range(len(frames)):
                unpack(k)
            one = time.perf_counter() - begun
            begun = time.perf_counter()
            list(pool.map(unpack, range(len(frames))))
            gains.append(one / (time.perf_counter() - begun))
    return statistics.median(gains)


def measure(n_frames: int, n: int, rounds: int) -> dict[str, float]:
    """Return rates [frames/s] and ratios."""
    sample = next(iter(samples()))
    with EmbeddedServer(memory_bytes=MEMORY_BYTES) as server:
        with Producer(STREAM, broker=server.url) as producer:
            for message_id in range(1, n_frames + 1):
                producer.send(
                    message_id, sample.payload, shape=sample.image.shape, dtype=sample.image.dtype.str, codec="bslz4"
                )
            producer.finish()
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        for number in range(rounds + 1):
            for way, read in WAYS.items():
                begun = time.perf_counter()
                assert read(server.url, n) == n_frames
                if number:  # the first round compiles
                    rates[way].append(n_frames / (time.perf_counter() - begun))
        with Consumer(STREAM, broker=server.url) as consumer:
            frames = list(consumer.read_range(1, n))
    ratio = statistics.median(b / f for b, f in zip(rates["batches"], rates["frames"], strict=True))
    medians = {way: statistics.median(of_way) for way, of_way in rates.items()}
    gb_s = medians["batches"] * sample.image.nbytes / 1e9
    return {**medians, "ratio": ratio, "batches_gb_s": gb_s, "threads": threads_gain(frames, rounds)}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = measure(options.frames, options.batch, options.rounds)
    if options.json:
        print(json.dumps(found))
        return
    for way in WAYS:
        print(f"{way:8} {found[way]:7.1f} frames/s")
    print(f"batches beside frames: {found['ratio']:.2f}; {found['batches_gb_s']:.2f} GB/s of pixels")
    print(f"two threads beside one, from memory: {found['threads']:.2f}")


if __name__ == "__main__":
    main()
