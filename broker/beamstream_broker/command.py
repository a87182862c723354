"""`stream broker run`: an embedded server, or one that is there already, with what has to run beside it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from beamstream.cli.options import MetricsPort
from beamstream.durations import NEVER, parse_duration
from beamstream.errors import ServerUnavailableError, UsageError
from beamstream.protocol.client import Server
from beamstream.sizes import format_bytes, parse_bytes

from .embedded import EmbeddedServer
from .errors import NothingToAttachError
from .fetching import FetchService, fetch_service
from .fetching.endpoint import LOOPBACK, parse_fetch
from .service import BrokerService, find_flaws
from .sharing import Budget, sharing_service, why_none
from .upkeep import Ages

OFF = "off"

app = typer.Typer(add_completion=False, no_args_is_help=True, help="The server in the middle.", callback=lambda: None)


@app.command()
def run(
    memory: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Memory of the server.", show_default="4GiB, at most 40 % of the machine's"),
    ] = None,
    port: Annotated[int, typer.Option(metavar="PORT", help="TCP port; 0 chooses a free one.")] = 6379,
    host: Annotated[str, typer.Option(help="Address it listens on; others than this machine need a password.")] = (
        "127.0.0.1"
    ),
    socket: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Its Unix socket.", show_default="one in a private directory"),
    ] = None,
    password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="File whose first line is the password that clients show.")
    ] = None,
    shared_memory: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE|off",
            help="How much of it may be shared memory, where readers of this host find payloads without a copy.",
            show_default="what the index leaves; of a server that --broker names, off",
        ),
    ] = None,
    spill: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for segments: what memory has no room for, and streams that keep all; "
            "without one the former is dropped, counted.",
        ),
    ] = None,
    fetch: Annotated[
        str,
        typer.Option(
            metavar="ENDPOINT",
            help="Where readers get from that see neither shared memory nor DIR; tcp://0.0.0.0:5557 for other hosts, "
            "or off.",
            show_default="a free port that only this host reaches",
        ),
    ] = LOOPBACK,
    fetch_host: Annotated[
        str | None,
        typer.Option(metavar="HOST", help="Name under which readers reach it.", show_default="the host's own"),
    ] = None,
    retain: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="How long open streams are kept that do not say it themselves, e.g. 24h; what is older leaves them.",
            show_default="for ever",
        ),
    ] = None,
    forget_after: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="After what time without readers a finished stream that is all in DIR leaves memory.",
        ),
    ] = "24h",
    broker: Annotated[
        str | None,
        typer.Option(
            envvar="STREAM_BROKER",
            metavar="URL",
            help="A server that is there already, to be looked after; no other is started.",
            show_default=False,
        ),
    ] = None,
    metrics_port: MetricsPort = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON when it is ready.")] = False,
) -> int:
    """Run an embedded server in memory, or look after the one that --broker names; Ctrl-C ends it.

    Example: stream broker run --memory 8GiB --port 6379 --spill /data/spill
    """
    where = parse_fetch(fetch, fetch_host)
    ages = Ages(retain_s=parse_duration(retain or NEVER), forget_after_s=parse_duration(forget_after))
    shared_bytes = None if shared_memory is None or shared_memory == OFF else parse_bytes(shared_memory)
    if broker is not None:
        server = Server(broker)
        flaw = "its server is not its own; start it with --shared-memory SIZE" if shared_bytes is None else why_none()
        budget = None if flaw or shared_bytes is None else Budget(server, None, shared_bytes)
        _warn_of(flaw if shared_bytes is not None else "")
        pool = None if budget is None else budget.pool
        with sharing_service(budget) as sharing, fetch_service(spill, where, pool) as serving:
            service = BrokerService(server, spill, None, serving, ages, sharing, flaw)
            return _attach(server, service, serving, metrics_port, as_json=as_json)
    embedded = EmbeddedServer(
        memory_bytes=None if memory is None else parse_bytes(memory),
        port=port,
        host=host,
        socket_path=socket,
        password=None if password_file is None else read_password(password_file),
        closed=True,
    )
    with embedded:
        server = Server(embedded.inner_url)
        flaw = "it runs with --shared-memory off" if shared_memory == OFF else why_none()
        budget = None if flaw else Budget(server, embedded.memory_bytes, shared_bytes)
        _warn_of(flaw if shared_memory != OFF else "")
        pool = None if budget is None else budget.pool
        with sharing_service(budget) as sharing, fetch_service(spill, where, pool) as serving:
            service = BrokerService(server, spill, embedded, serving, ages, sharing, flaw)
            return service.run(lambda: _announce_embedded(embedded, serving, as_json=as_json), metrics_port)


def _warn_of(flaw: str) -> None:
    if flaw:
        typer.echo(f"warning: no shared memory, payloads go through the server: {flaw}", err=True)


def read_password(path: Path) -> str:
    """Return the first line of a file.

    Raises
    ------
    UsageError
        If the file cannot be read or its first line is empty.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the password in {path}: {error}") from error
    if not lines or not lines[0].strip():
        raise UsageError(f"the first line of {path} is empty; it should be the password")
    return lines[0].strip()


def _attach(
    server: Server,
    service: BrokerService,
    serving: FetchService | None,
    metrics_port: int | None,
    *,
    as_json: bool,
) -> int:
    """Look after a server that somebody else runs."""
    try:
        version = server.check()
    except ServerUnavailableError as error:
        raise NothingToAttachError(error.url, error.reason) from error
    flaws = find_flaws(server)

    def announce() -> None:
        if as_json:
            # Same fields as for an embedded one; where it listens besides is not for us to say.
            _print_json(url=server.shown_url, tcp_url=None, server_pid=None, serving=serving)
        else:
            typer.echo(f"looking after {version} at {server.shown_url}")
            _say_who_serves(serving)
        for flaw in flaws:
            typer.echo(f"warning: {server.shown_url}: {flaw}", err=True)

    return service.run(announce, metrics_port)


def _announce_embedded(embedded: EmbeddedServer, serving: FetchService | None, *, as_json: bool) -> None:
    """Say where the server is; passwords are left out, whoever needs them has the file."""
    url = embedded.settings.url(with_password=False)
    tcp_url = embedded.settings.tcp_url(with_password=False)
    if as_json:
        _print_json(url=url, tcp_url=tcp_url, server_pid=embedded.pid, serving=serving)
        return
    typer.echo(f"{embedded.binary} is ready with {format_bytes(embedded.memory_bytes)} of memory")
    typer.echo(f"  on this machine  {url}")
    typer.echo(f"  over TCP         {tcp_url}")
    _say_who_serves(serving)
    typer.echo(f"next, e.g.:  stream --broker {url} ls")


def _say_who_serves(serving: FetchService | None) -> None:
    if serving is not None:
        typer.echo(f"  fetch service    {serving.address}")


def _print_json(*, url: str, tcp_url: str | None, server_pid: int | None, serving: FetchService | None) -> None:
    fetch_url = None if serving is None else serving.address
    where = {"url": url, "tcp_url": tcp_url, "fetch_url": fetch_url, "pid": os.getpid(), "server_pid": server_pid}
    typer.echo(json.dumps(where))
