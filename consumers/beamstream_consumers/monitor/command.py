"""`stream consume monitor`: a stream at a glance, in a terminal, a log or a script."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator

import typer
from rich.console import Console
from rich.live import Live

from beamstream.address import Address, SourceAddress, parse_where, split_url
from beamstream.cli.options import Broker, Follow, Group, Json, Where
from beamstream.protocol.client import Server, broker_url
from beamstream.stop import stop_on_signals

from .terminal.rendering import as_line, as_object, as_table
from .terminal.view import View
from .terminal.watching import SHOW_EVERY_S, newest_stream, newest_streams, watch

LINE_EVERY_S = 2.0
"""How often a line is printed where there is no terminal [s]."""

GROUP = "monitor"
"""The monitor's group, unless another one is named: monitors that are to show the same frames need one each."""


def monitor(
    where: Where,
    broker: Broker = None,
    group: Group = None,
    follow: Follow = False,
    as_json: Json = False,
) -> None:
    """Show what comes, how fast, how old it is, and what is in the newest frame.

    It takes the newest frame a few times a second and holds nothing back.
    It ends with the stream; with --follow it goes on with the data source's
    next one. Without a terminal it prints a line every two seconds, with
    --json an object.

    Examples:

      stream consume monitor 11012345/eiger/series_00042

      stream consume monitor 11012345/eiger --follow
    """
    url, text = split_url(where)
    at = parse_where(text)
    broker = broker_url(url or broker)
    with (
        contextlib.closing(Server(broker)) as server,
        stop_on_signals() as stop,
        _display(as_json=as_json) as (show, every_s),
    ):
        server.check()
        for address in newest_streams(at, server, stop, follow=follow):
            superseded = _superseded(server, address, at) if follow else lambda: False
            watch(
                address,
                broker,
                group or GROUP,
                show,
                stop,
                follow=follow,
                superseded=superseded,
                show_every_s=every_s,
            )
    raise typer.Exit(stop.exit_status)


def _superseded(server: Server, address: Address, at: Address | SourceAddress) -> Callable[[], bool]:
    """Return what tells whether the data source has a newer stream; a stream that was named stays."""
    if isinstance(at, Address):
        return lambda: False
    return lambda: newest_stream(server, at) != address


@contextlib.contextmanager
def _display(*, as_json: bool) -> Iterator[tuple[Callable[[View], None], float]]:
    """Give what shows a view, and how often that makes sense [s]."""
    console = Console()
    if as_json:
        yield lambda view: typer.echo(json.dumps(as_object(view))), LINE_EVERY_S
    elif not console.is_terminal:
        yield lambda view: typer.echo(as_line(view)), LINE_EVERY_S
    else:
        with Live(console=console, auto_refresh=False) as live:
            yield lambda view: live.update(as_table(view), refresh=True), SHOW_EVERY_S
