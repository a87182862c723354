"""`stream bench` on the command line."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from beamstream.address import hide_password
from beamstream.protocol.client import broker_url
from beamstream.sizes import parse_bytes
from beamstream_broker.memory import choose_memory, measure_memory

from .disks import choose_folder
from .errors import OutputFileError
from .findings import Findings, Tier
from .plan import MAX_MEMBERS, Plan, make_plan
from .plot import draw
from .session import Session, count_steps
from .showing import Showing
from .table import print_findings
from .target import Target, own_broker, somebodys_broker

MEMORY_SHARE, QUICK_MEMORY_SHARE = 2, 4
"""What part of a broker's usual memory the bench's own has, a half or a quarter: within seconds all of it is in use and
used again, as on a long run, and what one tier has touched lies about while another one is measured."""


class TierName(StrEnum):
    """Where payloads lie."""

    INLINE = "inline"
    MEMORY = "memory"
    SHARED = "shared"
    DISK = "disk"


def bench(
    ctx: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Two sizes, one group, 0.6 s each: done in 20 s.")] = False,
    size: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SIZE",
            help="Size of a frame; may be given several times.",
            show_default="200B, 100kB, 1MiB, 9MB",
        ),
    ] = None,
    tier: Annotated[
        list[TierName] | None,
        typer.Option(help="Where the payloads lie; may be given several times.", show_default="all"),
    ] = None,
    groups: Annotated[
        list[int] | None,
        typer.Option(
            metavar="N",
            min=1,
            max=MAX_MEMBERS,
            help="How many groups read it all; may be given several times.",
            show_default="1, 3",
        ),
    ] = None,
    members: Annotated[
        int, typer.Option(metavar="N", min=1, max=MAX_MEMBERS, help="Processes that share the frames of each group.")
    ] = 1,
    seconds: Annotated[
        float | None,
        typer.Option(metavar="S", min=0.05, max=600, help="How long is sent for one figure.", show_default="2"),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="HZ", min=1, help="Frames per second for latencies.", show_default="half of what goes through"
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Memory of the bench's own server.",
            show_default="2GiB, at most 20 % of the machine's; with --quick half of it",
        ),
    ] = None,
    spill: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="The disk to measure: a folder in which one is made for as long as it takes.",
            show_default="the one for temporary files",
        ),
    ] = None,
    broker: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Measure on this server, which has to be idle; its memory is not filled, nothing stays behind.",
            show_default="a server of its own",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE.json", help="Write all figures here.", show_default=False)
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw them here.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of tables.")] = False,
) -> int:
    """Measure what this machine can do: throughput, latency and CPU per tier, beside what its parts do on their own.

    Real processes send and read, every byte is read. It takes some two minutes; other work on the machine shows in
    the figures.

    Examples:

      stream bench --quick

      stream bench --output bench.json --plot bench.svg

      stream bench --size 100kB --groups 1 --rate 9000 --tier memory
    """
    url = asked_broker(ctx, broker)
    tiers: list[Tier] = [one.value for one in tier or []]
    plan = make_plan(
        tiers=tiers,
        sizes=[parse_bytes(text) for text in size or []],
        n_groups=groups or [],
        n_members=members,
        seconds=seconds,
        rate_hz=rate,
        quick=quick,
    )
    for path in (output, plot):
        check_writable(path)
    folder, no_disk = choose_folder(spill)
    memory_bytes = own_memory(quick=quick) if memory is None else parse_bytes(memory)
    target = own_broker(memory_bytes, folder) if url is None else somebodys_broker(url)
    findings = _measure(plan, target, folder, no_disk, tiers)
    _hand_over(findings, output, plot, as_json=as_json)
    return 0


def asked_broker(ctx: typer.Context, broker: str | None) -> str | None:
    """Return the broker that was named on this very command line; None where a server of its own is to be measured.

    One that is in the environment or in a configuration file is where people work: nobody wants it measured by
    accident.
    """
    root = ctx.find_root()
    for context, value in ((ctx, broker), (root, root.params.get("broker"))):
        source = context.get_parameter_source("broker")
        if value is not None and source is not None and source.name == "COMMANDLINE":
            return str(value)
    elsewhere = broker or root.params.get("broker")
    if elsewhere:
        typer.echo(
            f"bench: {hide_password(broker_url(elsewhere))} is left alone, a server of its own is measured; "
            "to measure that one, say --broker on the command line",
            err=True,
        )
    return None


def own_memory(*, quick: bool) -> int:
    """Return what the bench's own server may use when nobody says how much [bytes]."""
    return choose_memory(measure_memory()) // (QUICK_MEMORY_SHARE if quick else MEMORY_SHARE)


def check_writable(path: Path | None) -> None:
    """Raise if a file cannot be written later on.

    Raises
    ------
    OutputFileError
        With what is in the way.
    """
    if path is None:
        return
    is_new = not path.exists()
    try:
        path.open("a").close()
    except OSError as error:
        raise OutputFileError(path, error.strerror or str(error)) from error
    if is_new:
        path.unlink()


@contextlib.contextmanager
def ended_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM leave as little behind as Ctrl-C, as long as the context lasts."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _measure(
    plan: Plan, broker: AbstractContextManager[Target], folder: Path, no_disk: str, tiers: Sequence[str]
) -> Findings:
    with ended_like_ctrl_c(), Showing(count_steps(plan)) as showing:
        showing.begin("starting")
        with broker as target:
            return Session(plan, target, folder, no_disk, list(tiers), showing).run()


def _hand_over(findings: Findings, output: Path | None, plot: Path | None, *, as_json: bool) -> None:
    found: dict[str, Any] = findings.as_dict()
    if output is not None:
        output.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    if plot is not None:
        plot.write_text(draw(findings), "utf-8")
    if as_json:
        json.dump(found, sys.stdout)
        sys.stdout.write("\n")
    else:
        print_findings(findings)
    for path in (output, plot):
        if path is not None:
            typer.echo(f"bench: {path} is written", err=True)
