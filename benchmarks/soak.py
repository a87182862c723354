"""A soak: frames at half of what the machine can do, for as long as is wanted, while everything that may happen does.

    python benchmarks/soak.py [--minutes 20] [--tier shared] [--rate HZ] [--json FILE] [--plot FILE.svg]

`stream broker run --spill`, one producer, and three groups that read every byte: `pair` with two members, `sleeper`,
and `leaver`, which leaves and joins again all the time. Visitors come as groups of their own, stay for two seconds, and
go. All groups are required: what one of them lacks stays, and where there is no room for more, the producer waits. One
stream follows on the other: each is finished, read to its end by all groups, its receipt compared, and deleted, so that
nothing grows that should not.

In the middle, one stream is sent as slowly as the disk can take it while `sleeper` sleeps, until memory is full and
what it has missed is on disk; then it catches up from there. The stream after it finds memory full of what the disk has
to take first. In the one after that, a member of `pair` is killed (SIGKILL); its messages go to the other one.

What the machine can do is measured first, or said by --rate. Once a second, memory, descriptors, segments, throughput
and delays are written down. Ends with status 1 unless every group got every id, every receipt is clean (that of the
files of the spilled stream, too), and memory and latency are flat: the medians of the second half against those of the
first one, seconds of events left out. The limits are in `soak_watch.py`.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from beamstream import Address
from beamstream.errors import BeamstreamError
from beamstream.offline import path_receipt
from beamstream.producer import check_tier
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.sizes import parse_bytes
from beamstream.streams import delete_stream
from broker_process import Progress, ProofError, RunningBroker, need_disk, running_broker
from soak_findings import Record, describe, judge, panels
from soak_plot import draw
from soak_processes import MEMBERS, Reading, Sending, Worker, count_ids, produce, read, visit
from soak_watch import Watch

SOURCE = "proof/soak"
LEAVE_EVERY_S = 10.0
SHARE_OF_LIMIT = 0.5
N_ROUNDS = 20
"""Streams in the whole time, if that is long enough."""

SHORTEST_ROUND_S, LONGEST_ROUND_S = 8.0, 60.0
SPILL_OF_MEMORY = 1.2
"""How much is sent while a group sleeps, as a multiple of the memory: a quarter is on disk when the group wakes up."""

AFTERMATH_S = 10.0
"""How long what was spilled, and what a killed reader held, is seen in the delays of others [s]."""

JOIN_TIMEOUT_S = 60.0
WARM_S = 60.0
"""How long the first touch of all memory may take [s]."""

STALLED_S = 120.0
"""How much longer than planned a stream may take before the soak gives up [s]."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that is wanted."""

    seconds: float
    tier: str
    size: int
    memory_bytes: int
    rate_hz: float
    limit_s: float
    spill_hz: float
    round_s: float


class Soak:
    """All processes, and what they tell."""

    def __init__(self, broker: RunningBroker, folder: Path, plan: Plan, stack: ExitStack) -> None:
        self.plan, self.broker, self.folder = plan, broker, folder
        self.ids = folder / "ids"
        self.ids.mkdir()
        self.server = Server(broker.url)
        self.producer = Worker("producer", produce, broker.url)
        self.visitor = Worker("visitor", visit, broker.url)
        self.readers = {f"{group}{number}": group for group, n in MEMBERS.items() for number in range(1, n + 1)}
        self.workers = {name: self._start(name) for name in self.readers}
        stack.callback(self._end)
        self.reads: list[tuple[float, str, int, int, Any]] = []
        self.events: list[tuple[float, float, str]] = []
        self.rounds: list[dict[str, Any]] = []
        self.flaws: list[str] = []
        self.progress = Progress()
        self.began_s = time.monotonic()
        self.seconds = 0.0
        self.watch = stack.enter_context(Watch(broker.url, folder / "spill", self.processes))
        self._told: Counter[tuple[str, str]] = Counter()
        self._sent: dict[str, Any] = {}
        self._visited: dict[str, Any] = {}
        self._lost: Counter[str] = Counter()

    def _start(self, name: str) -> Worker:
        return Worker(name, read, self.broker.url, self.ids, name)

    def _end(self) -> None:
        for worker in [*self.workers.values(), self.producer, self.visitor]:
            worker.end()

    def processes(self) -> dict[str, int]:
        """Return name to process id of all."""
        workers = {worker.name: worker.pid for worker in [self.producer, self.visitor, *self.workers.values()]}
        return {"server": self.broker.server_pid, "broker": self.broker.pid, **workers}

    # --- what is told ------------------------------------------------------------------------------------------

    def _hear(self) -> None:
        for worker in [self.producer, self.visitor, *self.workers.values()]:
            for kind, told in worker.heard():
                if kind == "read":
                    self.reads.append(told)
                elif kind == "sent":
                    self._sent = told
                    self._told["sent", worker.name] += 1
                elif kind == "visited":
                    self._visited = told
                    self._told["visited", worker.name] += 1
                else:
                    if kind == "done":
                        self._lost.update({what: n for what, n in told.items() if isinstance(n, int)})
                    self._told[kind, worker.name] += 1

    def _wait(self, kind: str, names: Sequence[str], timeout_s: float, look: Callable[[], None] | None = None) -> None:
        ends_at = time.monotonic() + timeout_s
        while missing := [name for name in names if not self._told[kind, name]]:
            self._hear()
            if look is not None:
                look()
            if time.monotonic() > ends_at:
                raise ProofError(f"{', '.join(missing)}: not {kind} after {timeout_s:.0f} s")
            done_s = time.monotonic() - self.began_s
            n_s = sum(one[2] for one in self.reads[-12:]) / 3
            self.progress.show(
                f"{done_s:.0f} of about {self.seconds:.0f} s, {len(self.rounds)} streams, {n_s:.0f} messages/s"
            )
            time.sleep(0.02)
        for name in names:
            self._told[kind, name] = 0

    # --- one stream --------------------------------------------------------------------------------------------

    def round(
        self, name: str, sending: Sending, *, is_limit: bool = False, sleeps: bool = False, kills: bool = False
    ) -> dict[str, Any]:
        """Send one stream, have all groups read it, and look at what they got."""
        self._lost.clear()
        self.producer.tell(sending)
        self._wait("open", ["producer"], JOIN_TIMEOUT_S)
        for reader, group in self.readers.items():
            self.workers[reader].tell(
                Reading(
                    stream=sending.stream,
                    group=group,
                    sleep_until=int(0.9 * sending.n) if sleeps and group == "sleeper" else 0,
                    leave_every_s=LEAVE_EVERY_S if group == "leaver" and not is_limit else 0.0,
                )
            )
        self._wait("joined", list(self.readers), JOIN_TIMEOUT_S)
        if not is_limit:
            self.visitor.tell(sending.stream)
        began_s = time.monotonic()
        self.producer.tell("go")
        planned_s = sending.n / sending.rate_hz if sending.n else sending.seconds + WARM_S
        alive = dict(self.readers)
        if kills:
            self._wait_until(began_s + 0.3 * planned_s)
            self.workers["pair2"].kill()
            del self.workers["pair2"], alive["pair2"]
            self._note("killed", time.monotonic(), AFTERMATH_S)
        if sleeps:
            self._wait("awake", ["sleeper1"], planned_s + STALLED_S)
            awake_s = time.monotonic()
        self._wait("sent", ["producer"], planned_s + STALLED_S)
        self._wait("done", list(alive), STALLED_S)
        took_s = time.monotonic() - began_s
        if sleeps:
            self._note("sleeper sleeps", began_s, awake_s - began_s)
            self._note("reads from disk", awake_s, time.monotonic() - awake_s + AFTERMATH_S)
        if not is_limit:
            self.visitor.tell("")
            self._wait("visited", ["visitor"], JOIN_TIMEOUT_S)
        if kills:
            self.workers["pair2"] = self._start("pair2")
        found = self._look_at(name, sending, took_s)
        self.rounds.append(found)
        return found

    def _wait_until(self, at_s: float) -> None:
        while time.monotonic() < at_s:
            self._hear()
            time.sleep(0.02)

    def _note(self, what: str, at_s: float, for_s: float) -> None:
        self.events.append((at_s, at_s + for_s, what))

    def _look_at(self, name: str, sending: Sending, took_s: float) -> dict[str, Any]:
        """Compare what came of a stream with what was sent."""
        n, address = self._sent["n"], Address.parse(sending.stream)
        receipt = make_receipt(self.server, address)
        flaws = []
        if not receipt.clean or receipt.received != n:
            told = f"{receipt.state}, {receipt.received} of {n} received, {receipt.n_missing} missing"
            flaws.append(f"the receipt is not clean: {told}, {receipt.dropped} dropped")
        again = {}
        for group in MEMBERS:
            counts = count_ids(self.ids, sending.stream, group)
            n_lacking, n_beyond = int((counts[:n] == 0).sum()), int(counts[n:].sum())
            again[group] = int((counts[:n] - 1).clip(0).sum())
            if n_lacking or n_beyond:
                flaws.append(
                    f"group {group} did not get {n_lacking} of {n} messages, and {n_beyond} that were not sent"
                )
        for what in ("skipped", "corrupt", "missing", "dead"):
            if self._lost[what]:
                flaws.append(f"readers count {self._lost[what]} {what}")
        if self._sent["n_failed"]:
            flaws.append(f"{self._sent['n_failed']} messages could not be sent")
        if self._visited.get("holes"):
            flaws.append(f"visitors saw {self._visited['holes']} holes")
        for path in self.ids.iterdir():
            path.unlink()
        if sending.keep == "memory":
            delete_stream(self.server, address)
        self.flaws += [f"{sending.stream}: {flaw}" for flaw in flaws]
        visits = {what: self._visited.get(what, 0) for what in ("visits", "frames")}
        self._visited = {}
        return {
            "name": name, "stream": sending.stream, "keep": sending.keep, "n": n, "took_s": took_s, **self._sent,
            "took_s_sending": self._sent["took_s"], "again": again, "joins_again": self._lost["joins"], **visits,
            "checksum": receipt.checksum, "flaws": flaws,
        }  # fmt: skip

    def record(self) -> Record:
        """Return what was written down."""
        return Record(
            tier=self.plan.tier, size=self.plan.size, readers=list(self.readers), began_s=self.began_s,
            reads=self.reads, samples=self.watch.samples, events=self.events, rounds=self.rounds,
        )  # fmt: skip

    # --- all of them -------------------------------------------------------------------------------------------

    def sending(self, number: int, **more: Any) -> Sending:
        """Return what the producer is told for a stream."""
        fields = {"keep": "memory", **more}
        return Sending(stream=f"{SOURCE}/run_{number:03}", tier=self.plan.tier, size=self.plan.size, **fields)

    def measure_limit(self) -> float:
        """Return how many messages a second go through, all three groups reading every byte; 0 if that is not wanted.

        The clock runs when the memory has been gone through once: pages that are new take longer than a copy.
        """
        n_warm = self.plan.memory_bytes // self.plan.size
        self.round("limit", self.sending(0, seconds=self.plan.limit_s, n_warm=n_warm), is_limit=True)
        if not self.plan.limit_s:
            return 0.0
        rates = []
        for group in MEMBERS:
            told = [(at_s, n) for at_s, of, n, _, _ in self.reads if of == group and at_s > self._sent["warm_s"] + 1]
            rates.append(sum(n for _, n in told[1:]) / max(1e-3, told[-1][0] - told[0][0]) if told else 0.0)
        if not min(rates):
            raise ProofError(f"the limit cannot be measured in {self.plan.limit_s:g} s; say more with --limit-seconds")
        return min(rates)

    def run(self) -> dict[str, Any]:
        """Run the whole; returns every figure."""
        plan = self.plan
        self.seconds = plan.seconds + plan.limit_s
        limit_hz = self.measure_limit()
        rate_hz = plan.rate_hz or SHARE_OF_LIMIT * limit_hz
        self.reads.clear()
        self.watch.samples.clear()
        self.began_s, self.seconds = time.monotonic(), plan.seconds
        n_spilled = int(SPILL_OF_MEMORY * plan.memory_bytes / plan.size)
        spill_hz = min(rate_hz, plan.spill_hz)
        left_s = max(plan.seconds - n_spilled / spill_hz, 4 * (plan.round_s or SHORTEST_ROUND_S))
        round_s = plan.round_s or min(LONGEST_ROUND_S, max(SHORTEST_ROUND_S, left_s / N_ROUNDS))
        n_rounds = max(4, round(left_s / round_s))
        spilled = None
        for number in range(1, n_rounds + 1):
            self.round("steady", self.sending(number, n=max(1, int(rate_hz * round_s)), rate_hz=rate_hz),
                       kills=number == n_rounds // 2 + 2)  # fmt: skip
            if number == n_rounds // 2:
                sending = self.sending(n_rounds + 1, keep="overflow", n=n_spilled, rate_hz=spill_hz)
                spilled = self.round("spill", sending, sleeps=True)
        return {
            "limit_hz": limit_hz,
            "rate_hz": rate_hz,
            "spilled": spilled,
            "seconds": time.monotonic() - self.began_s,
        }


@contextmanager
def surroundings(arguments: argparse.Namespace, plan: Plan) -> Iterator[Path]:
    """Make a folder for the files of the soak, and remove it at the end."""
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="beamstream-soak-") as name:
        folder = Path(name)
        (folder / "spill").mkdir()
        need_disk(folder, int(2 * SPILL_OF_MEMORY * plan.memory_bytes))
        yield folder


def soak_all(arguments: argparse.Namespace, plan: Plan) -> tuple[Soak, dict[str, Any]]:
    """Run the soak, and compare the files that the broker left when it had ended."""
    with surroundings(arguments, plan) as folder:
        with running_broker(arguments.memory, folder / "spill") as broker, ExitStack() as stack:
            soak = Soak(broker, folder, plan, stack)
            found = soak.run()
            spilled = found["spilled"]
            state = soak.server.call("HGETALL", f"bs1:{{{spilled['stream']}}}:state")
            spilled["on_disk"] = int(dict(zip(state[::2], state[1::2], strict=True)).get(b"spilled_n", b"0"))
            left = soak.processes()
        # Told to end, the broker has written what the stream still had in memory.
        receipt = path_receipt(folder / "spill" / spilled["stream"], verify=True)
        if not receipt.clean or receipt.checksum != spilled["checksum"]:
            soak.flaws.append(f"the receipt of the files differs: {receipt.as_dict()}")
        soak.flaws += [f"{name} ({pid}) is still there" for name, pid in left.items() if Path(f"/proc/{pid}").exists()]
    return soak, found


def main() -> int:
    """Run the soak; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20.0, help="without the measurement of the limit")
    parser.add_argument("--tier", default="shared", help="shared, memory or auto")
    parser.add_argument("--rate", type=float, default=0.0, metavar="HZ", help="frames a second; half of the limit else")
    parser.add_argument("--size", default="1MiB", help="of a frame")
    parser.add_argument("--memory", default="8GiB", help="of server and shared memory: some seconds")
    parser.add_argument("--limit-seconds", type=float, default=20.0, help="for how long the limit is measured")
    parser.add_argument(
        "--spill-rate", type=float, default=200.0, metavar="HZ", help="frames a second while one sleeps"
    )
    parser.add_argument(
        "--round-seconds", type=float, default=0.0, help="length of a stream; a twentieth of the time else"
    )
    parser.add_argument("--folder", type=Path, help="on the disk that takes the segments; default: the temporary one")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw memory and latency there")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        plan = Plan(
            seconds=60 * arguments.minutes, tier=check_tier(arguments.tier), size=parse_bytes(arguments.size),
            memory_bytes=parse_bytes(arguments.memory), rate_hz=arguments.rate,
            limit_s=0.0 if arguments.rate else arguments.limit_seconds,
            spill_hz=arguments.spill_rate,
            round_s=arguments.round_seconds,
        )  # fmt: skip
        soak, found = soak_all(arguments, plan)
    except (ProofError, BeamstreamError) as error:
        print(f"not shown: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    soak.progress.clear()
    record = soak.record()
    halves = judge(record)
    flaws = soak.flaws + [f"{one.name} is not flat" for one in halves if not one.is_flat]
    if (most_bytes := max(one["segment_bytes"] for one in record.samples)) > plan.memory_bytes:
        flaws.append(f"{most_bytes} bytes of shared memory are more than {plan.memory_bytes}")
    lines = list(describe(record, found, halves))
    print("\n".join([*lines, *(f"FLAW: {flaw}" for flaw in flaws), "FAILED" if flaws else "flat, and receipts clean"]))
    events = [(from_s - soak.began_s, to_s - soak.began_s, what) for from_s, to_s, what in soak.events]
    if arguments.plot is not None:
        arguments.plot.write_text(draw("A soak", lines[0], panels(record), events), "utf-8")
    if arguments.json is not None:
        report = {**found, "rounds": soak.rounds, "halves": [{**asdict(one), "is_flat": one.is_flat} for one in halves],
                  "events": events, "flaws": flaws, "samples": soak.watch.samples}  # fmt: skip
        arguments.json.write_text(json.dumps(report), "utf-8")
    return 1 if flaws else 0


if __name__ == "__main__":
    sys.exit(main())
