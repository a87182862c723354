"""Everything goes wrong at the detector, and every message is accounted for: received + counted drops = sent.

    python benchmarks/detector_faults.py [--seeds 100] [--first-seed 1] [--images 40] [--series 6] [--json]

For each seed a simulated detector takes some series, stream version 1 and 2 by turns, with faults whose shares follow
from the seed (see `stream simulate eiger --faults list`); the connector of `stream produce eiger` brings them into a
real broker. The simulator notes every message that it hands to the network, in order, and which of them a second client
took. From that note alone, `Expected` says what has to be in which stream. Then, for every seed:

* the connector received as many messages as left and were not stolen, and took every one as exactly one of: header,
  image or end that it used; ignored, by a named reason; refused;
* of the images that the detector took, each was sent, left over for the next series and sent there, or counted as
  dropped by the detector;
* the streams are those that were expected: each is finished with the right reason, holds the right images, each once,
  byte for byte (by the receipt's checksum), and its receipt names those that are missing.

A hang is a failure after `TIMEOUT_S`. Ends with status 1 where a single seed fails; the seed repeats it, but for where
the second client's share begins and for images that are dropped because their receiver is slow.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import xxhash

from beamstream.address import SourceAddress
from beamstream.protocol.client import Server
from beamstream.receipt import chain, make_receipt, missing_ranges
from beamstream.service import Event, StreamOpened, run_source
from beamstream.stop import StopFlag
from beamstream.streams import delete_stream, list_streams
from beamstream_broker.embedded import EmbeddedServer
from beamstream_producers.eiger import EigerSource
from beamstream_producers.eiger.series import MAX_AHEAD
from beamstream_producers.eiger.transitions import IGNORED_BECAUSE
from beamstream_producers.sim import SimulatedEiger, SimulatedEigerOptions
from beamstream_producers.sim.acquisition import State
from beamstream_producers.sim.faults import Faults
from beamstream_producers.sim.faults.journal import Left
from broker_process import Progress

MEMORY_BYTES = 512 << 20
TIMEOUT_S = 60.0
"""How long anything may take before it counts as a hang [s]."""

GRACE_S = 3600.0
"""How long the connector waits for images after an end [s]: what is right does not depend on how busy this is."""

IMAGE_SHARES = (0.0, 0.01, 0.05, 0.2)
SERIES_SHARES = (0.0, 0.2, 0.6)
STALL_SHARES = (0.0, 0.0, 0.01)
OF_IMAGES = ("drop", "duplicate", "reorder", "renumber", "garbage")
OF_SERIES = (
    "abort", "restart", "late_header", "header_again", "two_ends", "no_end", "second_client",
)  # fmt: skip


# --- what has to come of the messages that left -----------------------------------------------------------------------


@dataclass
class ExpectedStream:
    """A stream that has to be there."""

    series: int
    series_id: int
    ids: set[int] = field(default_factory=set)
    ended: bool = False
    reason: str = ""


class Expected:
    """What a receiver has to make of the messages that were not stolen, written down from the words of the manual.

    A header opens a stream and ends the one before. An image belongs to the open stream if it is of its series; it is
    used once, unless its number is absurd. An end closes the stream if nothing is missing; else the stream stays open
    for images that come late, until the next header. Version 1 knows a series by its number alone; so a header with the
    number of the open one, before any image, is the same header again. In version 2, what comes before its header waits
    for it; in version 1 it is of another series of the same number.
    """

    def __init__(self, version: int, n_images: int) -> None:
        self._by_number = version == 1
        self._n_images = n_images
        self._open: ExpectedStream | None = None
        self._last: ExpectedStream | None = None
        self._waiting: list[Left] = []
        self.streams: list[ExpectedStream] = []
        self.n_received = 0
        self.n_garbage = 0

    def take(self, left: Left) -> None:
        self.n_received += 1
        if left.kind == "garbage":
            self.n_garbage += 1
        elif left.kind == "start":
            self._start(left)
        else:
            self._belong(left)

    def _belong(self, left: Left) -> None:
        """Give an image or an end to the stream that it is of."""
        if self._open is not None and self._is_of(left, self._open):
            self._image(left.image_id, self._open) if left.kind == "image" else self._end(self._open)
        elif not self._by_number and not (self._last is not None and self._is_of(left, self._last)):
            self._waiting.append(left)

    def stop(self) -> None:
        self._close(stopping=True)

    def _is_of(self, left: Left, stream: ExpectedStream) -> bool:
        return left.series_id == stream.series_id if self._by_number else left.series == stream.series

    def _start(self, left: Left) -> None:
        now = self._open
        if now is not None and self._is_of(left, now) and not (self._by_number and now.ids):
            return
        self._close()
        self._open = ExpectedStream(left.series, left.series_id)
        self.streams.append(self._open)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            self._belong(one) if one.series == left.series else self._waiting.append(one)

    def _image(self, image_id: int, stream: ExpectedStream) -> None:
        if image_id <= max([self._n_images, *(one + 1 for one in stream.ids)]) + MAX_AHEAD:
            stream.ids.add(image_id)
        if stream.ended and self._is_whole(stream):
            self._close()

    def _end(self, stream: ExpectedStream) -> None:
        stream.ended = True
        if self._is_whole(stream):
            self._close()

    def _is_whole(self, stream: ExpectedStream) -> bool:
        return stream.ids >= set(range(self._n_images))

    def _close(self, *, stopping: bool = False) -> None:
        stream, self._open = self._open, None
        if stream is None:
            return
        self._last = stream
        stream.reason = "complete"
        if not self._is_whole(stream):
            reaches_end = max(stream.ids, default=-1) + 1 >= self._n_images
            stopped_in_it = stopping and not stream.ended
            stream.reason = "incomplete" if reaches_end or stopped_in_it else "aborted"


# --- one seed ---------------------------------------------------------------------------------------------------------


def faults_of(seed: int) -> Faults:
    """Return the shares of a seed."""
    rng = random.Random(f"shares {seed}")
    shares = {name: rng.choice(IMAGE_SHARES) for name in OF_IMAGES}
    shares |= {name: rng.choice(SERIES_SHARES) for name in OF_SERIES}
    return Faults(**shares, stall=rng.choice(STALL_SHARES))


class Stoppable:
    """The connector's source with a flag of its own, as no signal comes in a thread; notes which streams it opens."""

    def __init__(self, source: EigerSource) -> None:
        self.name = source.name
        self.stop = threading.Event()
        self.opened: list[str] = []
        self._source = source
        self.counters = source.counters
        self.close = source.close

    def events(self, _stop: StopFlag) -> Iterator[Event | None]:
        for event in self._source.events(self.stop):
            if isinstance(event, StreamOpened):
                self.opened.append(event.stream)
            yield event


@dataclass
class Connector:
    """The connector in a thread."""

    source: Stoppable
    to: SourceAddress
    url: str
    status: int | None = None
    error: BaseException | None = None

    def __post_init__(self) -> None:
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.status = run_source(self.source, self.to, broker=self.url)
        except BaseException as error:  # noqa: BLE001 - it is a finding
            self.error = error

    def end(self) -> None:
        """Stop it, and wait until what it has is in the broker."""
        self.source.stop.set()
        self.thread.join(TIMEOUT_S)


def wait_until(what: Callable[[], bool]) -> bool:
    """Wait until it is so; False if that takes too long."""
    ends_at = time.monotonic() + TIMEOUT_S
    while not what():
        if time.monotonic() > ends_at:
            return False
        time.sleep(0.005)
    return True


def take_series(detector: SimulatedEiger, n_series: int) -> Iterator[str]:
    """Let the detector take its series, as `stream simulate eiger --auto` does; yield what hangs."""
    for number in range(1, n_series + 1):
        if not detector.wait_for_receiver(TIMEOUT_S):
            yield f"no receiver before series {number}"
            return
        detector.arm()
        for _ in range(detector.options.n_triggers):
            if detector.state is State.READY and not detector.begin_trigger().wait(TIMEOUT_S):
                yield f"the detector hangs in series {number}"
                return
        if not detector.wait_for_end(TIMEOUT_S):
            yield f"series {number} does not end"


def run_seed(seed: int, n_series: int, n_images: int, url: str) -> dict[str, Any]:
    """Do one seed; returns its figures, and its flaws in words."""
    began = time.monotonic()
    version = 1 + seed % 2
    options = SimulatedEigerOptions(
        size="500k",
        stream_format=("legacy", "cbor")[version - 1],
        n_images=n_images // 2,
        n_triggers=2,
        seed=seed,
        faults=faults_of(seed),
        # every third detector drops what the receiver is too slow for
        wait=seed % 3 > 0,
        rate_hz=0 if seed % 3 else 500,
        buffer_images=1000 if seed % 3 else 2,
    )
    to = SourceAddress("proof", f"seed_{seed}")
    log: list[Left] = []
    with SimulatedEiger(options) as detector:
        detector.journal.witness = log.append
        connector = Connector(Stoppable(EigerSource(detector.endpoint, grace_s=GRACE_S)), to, url)
        flaws = list(take_series(detector, n_series))
        payloads = [detector.payload(image_id) for image_id in range(2 * n_images)]
    total = detector.journal.total()
    counters = connector.source.counters
    due = total["messages"] - total["stolen"]
    if not wait_until(lambda: counters().get("received", 0) >= due or not connector.thread.is_alive()):
        flaws.append(f"{counters().get('received', 0)} of {due} messages arrived")
    connector.end()
    flaws += judge_connector(connector)
    expected = Expected(version, 2 * (n_images // 2))
    for left in log:
        if not left.stolen:
            expected.take(left)
    expected.stop()
    flaws += judge_counts(total, counters(), expected)
    flaws += judge_streams(Server(url), to, connector.source.opened, expected, payloads, 2 * (n_images // 2))
    clear(Server(url), to)
    figures = {"seed": seed, "version": version, "total": total, "counters": dict(counters()), "flaws": flaws}
    return figures | {"n_streams": len(expected.streams), "seconds": time.monotonic() - began}


def judge_connector(connector: Connector) -> Iterator[str]:
    if connector.thread.is_alive():
        yield "the connector hangs"
    elif connector.error is not None:
        yield f"the connector died: {connector.error!r}"
    elif connector.status != 0:
        yield f"the connector ended with status {connector.status}"


def judge_counts(total: Mapping[str, Any], counters: Mapping[str, int], expected: Expected) -> Iterator[str]:
    """Yield which sums are not what they should be."""
    counts: Counter[str] = Counter(counters)
    used = counts["series"] + counts["images"] + counts["ends"]
    ignored = sum(counts[reason] for reason in IGNORED_BECAUSE)
    images_on_the_wire = total["sent"] + total["stale"] + total["duplicated"]
    sums = {
        "messages that left and were not stolen": (total["messages"] - total["stolen"], expected.n_received),
        "messages received": (counts["received"], expected.n_received),
        "used + ignored + refused": (used + ignored + counts["rejected"], expected.n_received),
        "messages refused": (counts["rejected"], expected.n_garbage),
        "refused, by kind": (sum(counts[one] for one in counts if one.startswith("rejected_")), expected.n_garbage),
        "images delivered": (counts["images"], sum(len(stream.ids) for stream in expected.streams)),
        "frames delivered": (counts["frames"], counts["images"]),
        "images received": (
            counts["images"] + sum(counts[reason] for reason in IGNORED_BECAUSE if reason.startswith("image_")),
            images_on_the_wire - total["stolen_images"],
        ),
        "images taken": (total["taken"], total["sent"] + total["stale"] + total["dropped"]),
        "series opened and closed": (counts["series"], counts["series_closed"]),
        "streams": (counts["series"], len(expected.streams)),
    }
    for what, (is_so, should_be) in sums.items():
        if is_so != should_be:
            yield f"{what}: {is_so}, not {should_be}"


def judge_streams(
    server: Server, to: SourceAddress, opened: list[str], expected: Expected, payloads: list[bytes], n_images: int
) -> Iterator[str]:
    """Yield what is wrong with the streams that are on the broker."""
    if {one.name for one in list_streams(server, to)} != set(opened) or len(opened) != len(expected.streams):
        yield f"streams: {opened}, expected are {len(expected.streams)}"
        return
    hashes = [xxhash.xxh3_64_intdigest(payload) for payload in payloads]
    for name, stream in zip(opened, expected.streams, strict=True):
        receipt = make_receipt(server, to.stream(name))
        ids = [image_id + 1 for image_id in stream.ids]
        is_so = (receipt.state, receipt.expected, receipt.received, receipt.missing, receipt.checksum)
        should_be = (
            stream.reason,
            n_images,
            len(ids),
            missing_ranges(ids, max([n_images, *ids])),
            f"{chain((one, hashes[one - 1]) for one in ids):016x}",
        )
        if is_so != should_be:
            yield f"{name}: {is_so}, not {should_be}"
        if receipt.duplicated or receipt.dropped:
            yield f"{name}: {receipt.duplicated} duplicated, {receipt.dropped} dropped on the broker"


def clear(server: Server, to: SourceAddress) -> None:
    """Make room for the next seed."""
    for stream in list_streams(server, to):
        delete_stream(server, stream)


# --- all of them ------------------------------------------------------------------------------------------------------


def summary(found: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the sums over all seeds."""
    total: Counter[str] = Counter()
    counters: Counter[str] = Counter()
    for one in found:
        total.update(one["total"])
        counters.update(one["counters"])
    return {
        "n_seeds": len(found),
        "n_failed_seeds": sum(bool(one["flaws"]) for one in found),
        "n_streams": sum(one["n_streams"] for one in found),
        "detector": dict(total),
        "connector": dict(sorted(counters.items())),
        "seconds": sum(one["seconds"] for one in found),
        "slowest_s": max(one["seconds"] for one in found),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=100, help="how many (default: 100)")
    parser.add_argument("--first-seed", type=int, default=1, help="the first of them (default: 1)")
    parser.add_argument("--series", type=int, default=6, help="series for each seed (default: 6)")
    parser.add_argument("--images", type=int, default=40, help="images of a series, in two triggers (default: 40)")
    parser.add_argument("--at-once", type=int, default=4, help="seeds at the same time (default: 4)")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    progress, found = Progress(), []
    with (
        contextlib.suppress(KeyboardInterrupt),
        EmbeddedServer(memory_bytes=MEMORY_BYTES) as server,
        # most of the time of a seed is patience with images that never come
        ThreadPoolExecutor(options.at_once) as pool,
    ):
        for one in pool.map(lambda seed: run_seed(seed, options.series, options.images, server.url), seeds):
            found.append(one)
            progress.show(f"{len(found)} of {options.seeds} seeds")
            for flaw in one["flaws"]:
                print(f"seed {one['seed']}, stream v{one['version']}: {flaw}", file=sys.stderr, flush=True)
    progress.clear()
    if len(found) < options.seeds:
        return 130
    said = summary(found)
    if options.json:
        print(json.dumps(said))
    else:
        print_summary(said)
    return 1 if said["n_failed_seeds"] else 0


def print_summary(said: Mapping[str, Any]) -> None:
    print(f"{said['n_seeds']} seeds, {said['n_failed_seeds']} failed, {said['n_streams']} streams")
    for who in ("detector", "connector"):
        print(f"{who}: " + ", ".join(f"{count:g} {name}" for name, count in said[who].items() if count))
    print(f"{said['seconds']:.0f} s, the slowest seed {said['slowest_s']:.1f} s")


if __name__ == "__main__":
    sys.exit(main())
