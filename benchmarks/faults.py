"""The fault suite: everything that can die dies at random moments, and nothing that was reported as sent is lost.

    python benchmarks/faults.py [--runs 200] [--seed 7] [--fault NAME …] [--json]

In each run a producer sends some hundred messages to a stream, small and large ones in turn, and a member of a group
works on them; both, the broker and its server are real processes. Meanwhile something fails, see `FAULTS`. A process
that was killed is started again, and a producer then sends everything again from the first message on.

Lost is what was reported to a producer as sent and was never worked on, or is not in the stream in the end; wrong is
what was delivered with other bytes. After each run the stream has to be complete, its checksum chain that of what was
sent, on the broker and (where all of it is kept) on disk; and where the server was killed, the group has to go on
within a second of where it was. Ends with status 1 where a single run fails; `--seed` and the number of the run repeat
it, but for the scheduling of the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xxhash

from beamstream import Address
from beamstream.errors import BeamstreamError
from beamstream.offline import path_receipt
from beamstream.protocol import EntryKind
from beamstream.protocol.client import Server
from beamstream.receipt import chain, make_receipt
from beamstream.segments import RecordKind, list_segments
from beamstream.segments.reader import SegmentReader
from beamstream.streams import delete_stream, index_entries
from beamstream_broker.embedded import EmbeddedServer
from broker_process import Progress, ProofError, need_disk
from fault_processes import Broker, Proxy, Work, Worker, consume, lines, produce, proxied

MEMORY = "32MiB"
N_MESSAGES = 300
LARGE_BYTES = 16 << 10
OVERFLOWING_BYTES = 256 << 10
"""Large messages where memory is to overflow [bytes]: half of 300 of them are more than the server takes."""

PACE_S = 0.002
RUN_TIMEOUT_S = 45.0
START_TIMEOUT_S = 10.0
"""How long the first message may take [s]; nothing fails before."""

LAST_WORDS_S = 0.2
"""How long the producer may take to write down what it was told before everything died [s]."""

RESUME_S = 1.0
"""How far back a group may begin again when the server was killed [s]."""

SLACK_S = 1.0
"""What a busy machine adds to that, acknowledgements that wait 0.1 s included [s]."""


@dataclass
class Run:
    """One run: what works, and the dice."""

    rng: random.Random
    work: Work
    broker: Broker
    proxy: Proxy | None = None
    producer: Worker = field(init=False)
    consumer: Worker = field(init=False)
    killed_at: list[float] = field(default_factory=list)
    ready_at: list[float] = field(default_factory=lambda: [0.0])
    torn_bytes: int = 0

    def moments(self, most: int) -> Iterator[None]:
        """Wait for a few random moments while the producer is at work."""
        for _ in range(self.rng.randint(1, most)):
            time.sleep(self.rng.uniform(0.05, 1.2 * PACE_S * N_MESSAGES))
            self.killed_at.append(time.time())
            yield
            self.ready_at.append(time.time())


Fault = Callable[[Run], None]


def kill_producer(run: Run) -> None:
    """The producer is killed at random moments."""
    for _ in run.moments(2):
        run.producer.kill()


def producer_dies_between(run: Run) -> None:
    """The producer dies after payloads are stored and before they are in the index; see `start`."""


def kill_consumer(run: Run) -> None:
    """The consumer is killed at random moments."""
    for _ in run.moments(2):
        run.consumer.kill()


def consumer_dies_between(run: Run) -> None:
    """The consumer dies after it has worked on a message and before it acknowledges it; see `start`."""


def kill_broker(run: Run) -> None:
    """The broker process is killed while it writes to disk; its server goes on."""
    for _ in run.moments(3):
        run.broker.kill()
        run.broker.start()


def kill_server(run: Run) -> None:
    """The server is killed; the broker starts it again and puts everything back that is on disk."""
    for _ in run.moments(2):
        with contextlib.suppress(ProcessLookupError):
            os.kill(server_pid(run.broker.url), signal.SIGKILL)
        wait_for_server(run.broker.url)


def cut_power(run: Run) -> None:
    """Broker and server are killed, and what was not synced is torn off, or is not what was written."""
    for _ in run.moments(2):
        run.broker.kill()
        time.sleep(LAST_WORDS_S)
        tear(run)
        run.broker.start()


def cut_connections(run: Run) -> None:
    """All connections are cut, in the middle of what they carry."""
    for _ in range(3):
        for _ in run.moments(2):
            if run.proxy is not None:
                run.proxy.cut()


FAULTS: dict[str, tuple[Fault, tuple[str, ...]]] = {
    "producer killed": (kill_producer, ("overflow", "all")),
    "producer dies between payload and index": (producer_dies_between, ("overflow", "all")),
    "consumer killed": (kill_consumer, ("overflow", "all")),
    "consumer dies between work and acknowledge": (consumer_dies_between, ("overflow", "all")),
    "broker killed while spilling": (kill_broker, ("all", "overflow")),
    "server killed": (kill_server, ("all",)),
    "power cut": (cut_power, ("all",)),
    "connections cut": (cut_connections, ("overflow", "all")),
}
"""What fails, and what the streams keep then, by turns."""


def server_pid(url: str) -> int:
    """Return the process id of the server that answers now."""
    server = Server(url)
    text = server.call("INFO", "server").decode()
    server.close()
    return int(next(line for line in text.splitlines() if line.startswith("process_id:")).partition(":")[2])


def wait_for_server(url: str) -> None:
    """Wait until a server that was killed answers again."""
    ends_at = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < ends_at:
        with contextlib.suppress(BeamstreamError):
            server_pid(url)
            return
        time.sleep(0.01)


def tear(run: Run) -> None:
    """Do to the last segment what a power cut does: of what was not synced, some is missing or something else."""
    segments = list_segments(run.broker.spill / str(run.work.address))
    if not segments:
        return
    path = segments[max(segments)]
    sent = {int(one) for (one,) in lines(run.work.sent)}
    with SegmentReader(path) as reader:
        rows = [row for row in reader.table if row["kind"] == RecordKind.MESSAGE]
        unsafe = [int(row["offset"]) for row in rows if int(row["message_id"]) not in sent]
        last_safe = max((int(row["offset"]) for row in rows if int(row["message_id"]) in sent), default=0)
        if reader.report.closed:
            return
    size = path.stat().st_size
    begin = run.rng.randint(min((offset for offset in unsafe if offset > last_safe), default=size), size)
    run.torn_bytes += size - begin
    if begin == size:
        # Everything was safe: the beginning of what would have been written next.
        with path.open("ab") as file:
            file.write(b"\xb5BSREC\x01" + run.rng.randbytes(run.rng.randint(0, LARGE_BYTES)))
    elif run.rng.random() < 0.5:
        os.truncate(path, begin)
    else:
        with path.open("r+b") as file:
            file.seek(begin)
            file.write(run.rng.randbytes(run.rng.randint(0, size - begin)))


def start(run: Run, fault: Fault) -> None:
    """Start producer and consumer; those that die by themselves know when."""
    rng, n = run.rng, run.work.n_messages
    run.producer = Worker(produce, run.work, rng.randint(1, 25) if fault is producer_dies_between else 0)
    run.consumer = Worker(consume, run.work, rng.randint(1, n) if fault is consumer_dies_between else 0)
    if fault in (producer_dies_between, consumer_dies_between):
        return
    ends_at = time.monotonic() + START_TIMEOUT_S
    while not run.work.handled.exists() and time.monotonic() < ends_at:
        time.sleep(0.01)


def judge(run: Run, finished: bool) -> dict[str, Any]:
    """Return what became of a run: losses, wrong deliveries, and other flaws in words."""
    work = run.work
    sent = {int(one) for (one,) in lines(work.sent)}
    handled = lines(work.handled)
    lost = sorted(sent - {int(one) for one, *_ in handled} | sent - present(run))
    n_wrong = sum(right == "0" for *_, right in handled)
    flaws = [" ".join(words) for words in lines(work.folder / "flaws")]
    if not finished:
        flaws.append("producer or consumer did not come to the end")
    else:
        flaws += compare_receipts(run)
    back_s = furthest_back_s(run, handled)
    if back_s > RESUME_S + SLACK_S:
        flaws.append(f"the group began again {back_s:.1f} s before the server was killed")
    if lost:
        flaws.append(f"lost: {lost[:10]}")
    return {
        "n_lost": len(lost),
        "n_wrong": n_wrong,
        "n_handled_again": len(handled) - len({one for one, *_ in handled}),
        "back_s": back_s,
        "torn_bytes": run.torn_bytes,
        "flaws": flaws,
    }


def present(run: Run) -> set[int]:
    """Return the messages that are in the stream in the end."""
    entries = index_entries(Server(run.broker.url), run.work.address)
    return {entry.message_id for entry in entries if entry.kind is EntryKind.MESSAGE}


def furthest_back_s(run: Run, handled: list[list[str]]) -> float:
    """Return how long before the server was killed the oldest message was done that was done again after it [s]."""
    if not run.killed_at or run.proxy is not None or run.broker.server_pid is None:
        return 0.0
    first: dict[str, float] = {}
    furthest = 0.0
    for one, at, _ in handled:
        done_at = float(at)
        for killed_at, ready_at in zip(run.killed_at, run.ready_at, strict=False):
            # What was worked on while there was no server could be acknowledged only when there was one again.
            if one in first and first[one] < killed_at < done_at:
                furthest = max(furthest, killed_at - max(first[one], ready_at))
                break
        first[one] = done_at
    return furthest


def compare_receipts(run: Run) -> Iterator[str]:
    """Yield where the broker's receipt, or that of the disk, is not what was sent."""
    work = run.work
    sent = chain((one, xxhash.xxh3_64_intdigest(work.payload(one))) for one in range(1, work.n_messages + 1))
    drawn = {"the broker": make_receipt(Server(run.broker.url), work.address)}
    if work.keep == "all":
        drawn["the disk"] = path_receipt(run.broker.spill / str(work.address), verify=True)
    for where, receipt in drawn.items():
        if receipt.checksum != f"{sent:016x}" or not receipt.clean or receipt.received != work.n_messages:
            yield (
                f"{where} has {receipt.received} of {work.n_messages} messages, state {receipt.state}, missing "
                f"{receipt.missing[:5]}, checksum {receipt.checksum} and not {sent:016x}"
            )


@contextlib.contextmanager
def surroundings(folder: Path, fault: Fault) -> Iterator[tuple[Broker, Proxy | None]]:
    """Run the broker for all runs of one fault; the server is not its own where only the broker is to be killed."""
    with contextlib.ExitStack() as stack:
        attach = None
        if fault is kill_broker:
            attach = stack.enter_context(EmbeddedServer(memory_bytes=32 << 20)).url
        broker = Broker(folder, MEMORY, attach)
        stack.callback(broker.close)
        yield broker, stack.enter_context(proxied(broker.url)) if fault is cut_connections else None


def run_once(name: str, number: int, seed: int, folder: Path, broker: Broker, proxy: Proxy | None) -> dict[str, Any]:
    """Do one run."""
    fault, keeps = FAULTS[name]
    keep = keeps[number % len(keeps)]
    overflowing = fault is kill_broker and keep == "overflow"
    place = folder / f"run_{number}"
    place.mkdir()
    work = Work(
        url=proxy.url if proxy else broker.url,
        address=Address("proof", "faults", f"run_{number}"),
        folder=place,
        keep=keep,
        n_messages=N_MESSAGES,
        large_bytes=OVERFLOWING_BYTES if overflowing else LARGE_BYTES,
        pace_s=PACE_S,
    )
    run = Run(random.Random(f"{seed} {name} {number}"), work, broker, proxy)
    began = time.monotonic()
    start(run, fault)
    fault(run)
    ends_at = time.monotonic() + RUN_TIMEOUT_S
    finished = [worker.wait(ends_at) for worker in (run.producer, run.consumer)]
    found = judge(run, all(finished))
    found["seconds"] = time.monotonic() - began
    clear(run, broker)
    return found | {"name": name, "number": number, "keep": keep}


def clear(run: Run, broker: Broker) -> None:
    """Make room for the next run."""
    with contextlib.suppress(BeamstreamError):
        delete_stream(Server(broker.url), run.work.address)


def run_fault(name: str, n_runs: int, seed: int, root: Path, progress: Progress) -> list[dict[str, Any]]:
    """Do all runs of one fault."""
    found = []
    folder = root / name.replace(" ", "_")
    folder.mkdir()
    with surroundings(folder, FAULTS[name][0]) as (broker, proxy):
        for number in range(1, n_runs + 1):
            progress.show(f"{name}: run {number} of {n_runs}")
            if FAULTS[name][0] is kill_server and number > 1:
                broker.restart()  # one whose server dies again and again gives up, as it should
            found.append(run_once(name, number, seed, folder, broker, proxy))
            for flaw in found[-1]["flaws"]:
                print(f"{name}, run {number}, seed {seed}: {flaw}", file=sys.stderr, flush=True)
    progress.clear()
    return found


def summary(name: str, runs: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    return {
        "fault": name,
        "n_runs": len(runs),
        "n_lost": sum(run["n_lost"] for run in runs),
        "n_wrong": sum(run["n_wrong"] for run in runs),
        "n_failed_runs": sum(bool(run["flaws"]) for run in runs),
        "n_handled_again": sum(run["n_handled_again"] for run in runs),
        "torn_bytes": sum(run["torn_bytes"] for run in runs),
        "furthest_back_s": max(run["back_s"] for run in runs),
        "seconds": seconds,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200, help="in all, shared among the faults (default: 200)")
    parser.add_argument("--seed", type=int, default=7, help="what is random (default: 7)")
    parser.add_argument("--fault", action="append", choices=list(FAULTS), help="only this one; may be repeated")
    parser.add_argument("--folder", type=Path, help="for segments; default: the temporary folder")
    parser.add_argument("--json", action="store_true", help="print one line of JSON")
    options = parser.parse_args()
    names = options.fault or list(FAULTS)
    n_runs = max(1, -(-options.runs // len(names)))
    progress, found = Progress(), []
    try:
        with tempfile.TemporaryDirectory(dir=options.folder, prefix="bs-") as root:
            need_disk(Path(root), 20_000_000 * n_runs * len(names))
            for name in names:
                began = time.monotonic()
                runs = run_fault(name, n_runs, options.seed, Path(root), progress)
                found.append(summary(name, runs, time.monotonic() - began))
                if not options.json:
                    print_summary(found[-1])
    except ProofError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if options.json:
        print(json.dumps(found))
    else:
        total = {key: sum(one[key] for one in found) for key in ("n_runs", "n_lost", "n_wrong", "n_failed_runs")}
        print("{n_runs} runs, {n_lost} messages lost, {n_wrong} wrong, {n_failed_runs} runs failed".format(**total))
    return 1 if any(one["n_failed_runs"] or one["n_lost"] or one["n_wrong"] for one in found) else 0


def print_summary(one: dict[str, Any]) -> None:
    print(
        f"{one['fault']:45} {one['n_runs']:4} runs  {one['n_lost']} lost  {one['n_wrong']} wrong  "
        f"{one['n_failed_runs']} failed  {one['n_handled_again']} handled again, at most "
        f"{one['furthest_back_s']:.2f} s back  ({one['seconds']:.0f} s)",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
