"""One run of the bench: a broker, processes, the ceilings, then every case; size by size."""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from beamstream.address import SourceAddress
from beamstream_broker.memory import measure_memory

from .ceilings import measure_disk, measure_memcpy, redis_ceiling, socket_ceiling
from .crew import ANSWER_TIMEOUT_S, Crew
from .disks import disk_room
from .errors import IncompleteRunError, TierNotHadError, WorkerFailedError
from .findings import Ceiling, Findings, Host, Left, Result, frame_text
from .measuring import DISK_BYTES, Bench
from .plan import Case, Plan
from .target import Target, bare_prefix
from .workload import takes_tier

BEAMTIME = "stream-bench"
"""Beamtime of the streams of the bench."""

SPARE_BYTES = 1 << 30
"""What is left to others on the disk [bytes]."""


class Reporter(Protocol):
    """Who is told how far it is."""

    def begin(self, what: str) -> None:
        """Take note of what is measured next."""
        ...

    def found(self, one: Ceiling | Result | Left) -> None:
        """Take note of a figure."""
        ...


class Session:
    """Measures what a plan says.

    Parameters
    ----------
    plan : Plan
        What.
    target : Target
        On which broker.
    folder : Path
        Where a disk is measured.
    no_disk : str
        Why that says nothing about a disk; empty where it does.
    asked_tiers : sequence of str
        Tiers that somebody asked for by name: one of these that cannot be had is an error, others are left out.
    reporter : Reporter
        Who is told.
    """

    def __init__(
        self, plan: Plan, target: Target, folder: Path, no_disk: str, asked_tiers: list[str], reporter: Reporter
    ) -> None:
        self._plan = plan
        self._target = target
        self._folder = folder
        self._no_disk = no_disk
        self._asked_tiers = asked_tiers
        self._reporter = reporter
        self._ceilings: list[Ceiling] = []
        self._results: list[Result] = []
        self._left: list[Left] = []
        self._source = SourceAddress(BEAMTIME, f"bench-{os.getpid()}-{secrets.token_hex(4)}")

    def run(self) -> Findings:
        """Measure everything.

        Raises
        ------
        BeamstreamError
            See `Bench.measure`.
        """
        measured_at = datetime.now(UTC).isoformat(timespec="seconds")
        host = describe_host(self._target)
        reasons = {case: self._why_not(case) for case in self._plan.cases}
        with contextlib.ExitStack() as stack:
            # After the crew has ended: nobody writes any more then.
            stack.callback(self._target.delete_all, self._source)
            crew = stack.enter_context(
                Crew(self._plan.n_readers, self._target.check, ANSWER_TIMEOUT_S + 2 * self._plan.seconds)
            )
            bench = Bench(self._target, crew, self._source, self._plan.seconds)
            for size in self._plan.sizes:
                bench.check_room(size)
            self._measure_machine()
            for size in self._plan.sizes:
                self._measure_ceilings(crew, size)
                for case in self._plan.cases:
                    if case.message_bytes == size:
                        self._measure(bench, case, reasons[case])
        return Findings(
            measured_at=measured_at,
            host=host,
            broker=None if self._target.is_ours else self._target.server.shown_url,
            memory_bytes=self._target.memory_bytes,
            seconds=self._plan.seconds,
            window_bytes=bench.window_bytes,
            ceilings=self._ceilings,
            results=self._results,
            left=self._left,
        )

    # --- ceilings ----------------------------------------------------------------------------------------------

    def _measure_machine(self) -> None:
        """Measure what has no size: memory and disk."""
        self._reporter.begin("memcpy")
        self._take(measure_memcpy(self._plan.ceiling_s))
        if self._no_disk:
            self._leave("disk", self._no_disk)
            return
        self._reporter.begin("disk")
        try:
            for ceiling in measure_disk(self._folder, self._plan.ceiling_s):
                self._take(ceiling)
        except OSError as error:
            self._leave("disk", f"{self._folder}: {error.strerror or error}")

    def _measure_ceilings(self, crew: Crew, size: int) -> None:
        self._reporter.begin(f"ceilings, {frame_text(size)}")
        name = f"beamstream-bench-{secrets.token_hex(8)}"
        receiver = crew.readers[0]
        receiver.do("listen", name=name)
        receiver.tell("receive", size=size)
        sent = crew.producer.do("transmit", name=name, size=size, seconds=self._plan.ceiling_s)
        self._take(socket_ceiling(size, sent, receiver.hear()))
        told = crew.producer.do(
            "set_and_get",
            url=self._target.server.url,
            prefix=bare_prefix(self._source),
            size=size,
            seconds=self._plan.ceiling_s,
        )
        if "refusal" in told:
            self._leave(f"redis-py SET/GET, {frame_text(size)}", told["refusal"])
        else:
            self._take(redis_ceiling(size, told))

    # --- cases -------------------------------------------------------------------------------------------------

    def _measure(self, bench: Bench, case: Case, reason: str) -> None:
        what = f"{case.tier}, {frame_text(case.message_bytes)}"
        if reason:
            self._leave(what, reason)
            return
        self._reporter.begin(f"{what}, {' and '.join(map(str, case.n_groups))} group(s)")
        try:
            for result in bench.measure(case, self._plan.rate_hz):
                self._take(result)
        except (WorkerFailedError, IncompleteRunError) as error:
            # Only a `Producer` that says why there is no shared memory is a reason to go on without.
            refusal = error.failure if isinstance(error, IncompleteRunError) else error.reason if error.kind else ""
            if case.tier != "shared" or not refusal or case.tier in self._asked_tiers:
                raise
            self._leave(what, refusal)

    def _why_not(self, case: Case) -> str:
        """Return in words why a case cannot be measured here; empty where it can.

        Raises
        ------
        TierNotHadError
            If it was asked for by name.
        """
        reason = ""
        if case.tier == "shared" and not takes_tier():
            reason = "this version has no shared memory tier"
        elif case.tier == "shared" and not self._target.is_ours:
            reason = (
                "what others have in somebody's shared memory cannot be seen, and would have to go; leave out --broker"
            )
        elif case.tier == "disk" and not self._target.is_ours:
            reason = "payloads of somebody's broker are not moved to disk before their time; leave out --broker"
        elif case.tier == "disk":
            reason = self._no_disk or disk_room(self._folder, DISK_BYTES + SPARE_BYTES)
        if reason and case.tier in self._asked_tiers:
            raise TierNotHadError(case.tier, reason)
        return reason

    # --- both --------------------------------------------------------------------------------------------------

    def _take(self, one: Ceiling | Result) -> None:
        if isinstance(one, Ceiling):
            self._ceilings.append(one)
        else:
            self._results.append(one)
        self._reporter.found(one)

    def _leave(self, what: str, reason: str) -> None:
        left = Left(what=what, reason=reason)
        self._left.append(left)
        self._reporter.found(left)


def count_steps(plan: Plan) -> int:
    """Return how often a reporter is told that something begins."""
    return 3 + len(plan.sizes) + len(plan.cases)


def describe_host(target: Target) -> Host:
    """Describe the machine and what runs on it."""
    return Host(
        n_cpus=len(os.sched_getaffinity(0)),
        cpu=next(_cpu_names(), ""),
        memory_bytes=measure_memory(),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        beamstream=version("beamstream"),
        server=target.server.check(),
        load_before=os.getloadavg()[0],
    )


def _cpu_names() -> Iterator[str]:
    """Yield what the kernel calls the processors; nothing where it does not."""
    with contextlib.suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8", errors="replace") as file:
        for line in file:
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                yield value.strip()
