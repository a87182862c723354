"""beamstream and its alternatives, in one run on one machine: same payloads, same number of readers, interleaved.

    python benchmarks/peers [--peer NAME …] [--readers N …] [--size 1MiB] [--install] [--json FILE]

One producer and its readers, each a process; each reader is to get every message, and reads every byte of it: XXH3-64
of each payload is compared with that of what was sent. In each round every peer is run once, with a warm-up before;
figures are medians over the rounds. GB/s is what one reader got (10^9 bytes), from the first message's sending to the
last one's reading; CPU is that of all processes, servers included, for each GB that was read, over all readers. A peer
that drops what a slow reader has no room for is measured as fast as the producer goes, and where that loses messages
once more, a tenth below the highest rate tried at which nothing was lost.

A peer whose packages are not here is left out and said to be; --install gets them with uv into environments of their
own, which are removed afterwards unless --environments names where they stay. How each peer is set, and after which
page of its documentation, stands in its module. Ends with status 1 where a run failed, or a payload came twice or
damaged.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from all_peers import PEERS, TIERS, find_peer
from beamstream.errors import UsageError
from beamstream.sizes import parse_bytes
from beamstream_broker.settings import MALLOC_ENVIRONMENT
from contest import MARGIN, Contest, find_rate, references
from environments import InstallError, find_python, install
from harness import PeerError
from peer import Peer, Run
from program import ProgramError
from workload import MIN_SIZE_BYTES, Payloads

DEFAULT_READERS = (1, 3)


@dataclass(slots=True)
class Comparison:
    """All that is measured, and who is not here.

    Attributes
    ----------
    contests : list of Contest
        In the order of the table.
    not_here : dict
        Why a peer is left out, by name.
    """

    contests: list[Contest] = field(default_factory=list)
    not_here: dict[str, str] = field(default_factory=dict)


def default_peers(run: Run) -> list[Peer]:
    """Return those that are measured where none is named: of us, each tier that there is."""
    tiers = [peer for peer in PEERS if peer.name in {f"beamstream-{tier}" for tier in TIERS[:2]}]
    ours = [peer for peer in tiers if peer.find_flaw(run) is None] or [find_peer("beamstream")]
    return [*ours, *(peer for peer in PEERS if not peer.name.startswith("beamstream"))]


def enter(peers: Sequence[Peer], runs: Sequence[Run], folder: Path | None, *, may_install: bool) -> Comparison:
    """Find an interpreter for each peer, and enter those that can be measured."""
    found = Comparison()
    for peer in peers:
        flaw = peer.find_flaw(runs[0]) if find_python(peer, folder) or may_install else None
        python = find_python(peer, folder)
        if flaw is None and python is None:
            flaw = f"needs {', '.join(peer.requirements)} from PyPI: name --install"
            if may_install and folder is not None:
                progress(f"installing {', '.join(peer.requirements)}")
                try:
                    python, flaw = install(peer, folder), None
                except InstallError as error:
                    flaw = str(error)
        if flaw is not None or python is None:
            found.not_here[peer.name] = flaw or "there is no interpreter for it"
        else:
            found.contests += [Contest(peer=peer, python=python, run=run) for run in runs]
    return found


def pace(contests: Sequence[Contest], n_warm: int, n_messages: int) -> list[Contest]:
    """Return the contests, and for each that loses messages one more at the highest rate tried without a loss."""
    found = []
    for contest in contests:
        found.append(contest)
        if not contest.peer.drops:
            continue
        try:
            for rate_hz, n_missing in find_rate(contest, n_warm, n_messages):
                progress(f"{contest.peer.name}, {contest.run.n_readers} readers, {rate_hz:.0f} Hz: {n_missing} missing")
                if not n_missing:
                    found.append(
                        Contest(peer=contest.peer, python=contest.python, run=contest.run, rate_hz=MARGIN * rate_hz)
                    )
        except (PeerError, ProgramError) as error:
            contest.error = str(error)
    return found


def progress(text: str) -> None:
    """Show a line in place of the last one where somebody watches."""
    if os.isatty(sys.stderr.fileno()):
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def print_table(found: Comparison) -> None:
    """Print a table in Markdown."""
    head = ("peer", "readers", "GB/s (from – to)", "of ours", "missing", "CPU s/GB", "gives up")
    rows = [head, tuple("-" * len(cell) for cell in head)]
    ours = references(found.contests)
    for contest in found.contests:
        name, n_readers = contest.name, str(contest.run.n_readers)
        if contest.error is not None:
            rows.append((name, n_readers, "failed", "", "", "", contest.error))
            continue
        rates = [one.gb_per_s for one in contest.rounds]
        share, beside = contest.median(lambda one: one.missing_share), contest.beside(ours.get(contest.run.n_readers))
        rows.append(
            (
                name,
                n_readers,
                f"{contest.median(lambda one: one.gb_per_s):.2f} ({min(rates):.2f} – {max(rates):.2f})",
                "" if beside is None else f"{beside:.2f}",
                f"{share:.1%}" if share else "0",
                f"{contest.median(lambda one: one.cpu_s_per_gb):.2f}",
                contest.peer.gives_up,
            )
        )
    rows += [(name, "", "not here", "", "", "", why) for name, why in found.not_here.items()]
    widths = [max(len(row[k]) for row in rows) for k in range(len(head))]
    for row in rows:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")


def as_json(found: Comparison, settings: dict[str, Any]) -> dict[str, Any]:
    """Return everything that is known of the run."""
    ours = references(found.contests)
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"n_cpus": os.cpu_count(), "kernel": platform.release(), "python": platform.python_version()},
        **settings,
        "results": [contest.as_json(ours.get(contest.run.n_readers)) for contest in found.contests],
        "not_here": found.not_here,
    }


def compare(options: argparse.Namespace) -> int:
    """Measure, print and write; return the exit status."""
    size_bytes, memory_bytes = parse_bytes(options.size), parse_bytes(options.memory)
    runs = [
        Run(size_bytes=size_bytes, n_readers=n_readers, memory_bytes=memory_bytes)
        for n_readers in options.readers or DEFAULT_READERS
    ]
    n_messages = max(2, round(options.gb * 1e9 / size_bytes))
    n_warm = max(2, round((options.gb if options.warm_gb is None else options.warm_gb) * 1e9 / size_bytes))
    peers = [find_peer(name) for name in options.peer or ()] or default_peers(runs[0])
    with ExitStack() as stack:
        folder: Path | None = options.environments
        if folder is None and options.install:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="beamstream-peers-")))
        found = enter(peers, runs, folder, may_install=options.install)
        found.contests = pace(found.contests, n_warm, n_messages)
        began_s = time.monotonic()
        for number in range(options.repeats):
            for contest in found.contests:
                progress(
                    f"round {number + 1} of {options.repeats}: {contest.name}, {contest.run.n_readers} readers "
                    f"({time.monotonic() - began_s:.0f} s so far)"
                )
                contest.measure(n_warm, n_messages)
        progress("")
    n_different = Payloads(size_bytes).n_different
    print(f"{n_messages} payloads of {size_bytes} bytes ({n_different} different ones) after {n_warm} to warm up;")
    print(f"medians of {options.repeats}; {os.cpu_count()} CPUs; servers with {memory_bytes / 2**20:.0f} MiB\n")
    print_table(found)
    if options.json is not None:
        settings = {
            "n_messages": n_messages,
            "n_warm": n_warm,
            "repeats": options.repeats,
            "keep_memory": options.keep_memory,
            "run": asdict(runs[0]),
        }
        options.json.write_text(json.dumps(as_json(found, settings), indent=1) + "\n")
    wrong = [contest.name for contest in found.contests if any(one.n_wrong for one in contest.rounds)]
    if wrong:
        print(f"\nmessages came twice or damaged: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong or any(contest.error for contest in found.contests) else 0


def parse() -> argparse.Namespace:
    """Return the options; ends the program where they cannot be meant."""
    parser = argparse.ArgumentParser(
        prog="python benchmarks/peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [peer.name for peer in PEERS]
    parser.add_argument("--peer", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}")
    parser.add_argument("--readers", action="append", type=int, metavar="N", help="how many (default: 1 and 3)")
    parser.add_argument("--size", default="1MiB", help="of a payload (default: 1MiB)")
    parser.add_argument("--gb", type=float, default=1.0, help="payload that is measured in each run [GB] (default: 1)")
    parser.add_argument("--warm-gb", type=float, metavar="GB", help="payload to warm up with (default: as much again)")
    parser.add_argument("--memory", default="512MiB", help="what a server may hold (default: 512MiB)")
    parser.add_argument("--repeats", type=int, default=5, metavar="N", help="rounds (default: 5)")
    parser.add_argument(
        "--keep-memory", action="store_true", help="tell the C library of all processes not to give memory back"
    )
    parser.add_argument("--install", action="store_true", help="get packages that are missing, with uv")
    parser.add_argument("--environments", type=Path, metavar="DIR", help="where they stay, for the next time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure of every round")
    options = parser.parse_args()
    try:
        if parse_bytes(options.size) < MIN_SIZE_BYTES:
            parser.error(f"--size: at least {MIN_SIZE_BYTES} bytes")
        if 4 * parse_bytes(options.size) > parse_bytes(options.memory):
            parser.error("--memory: at least four payloads have to fit")
    except UsageError as error:
        parser.error(str(error))
    if options.repeats < 1 or options.gb <= 0 or min(options.readers or DEFAULT_READERS) < 1:
        parser.error("at least one round, one reader and something to send are needed")
    return options


def main() -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse()
    if options.keep_memory:
        os.environ.update(MALLOC_ENVIRONMENT)
    try:
        return compare(options)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
