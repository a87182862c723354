"""The monitor without a browser: a table in a terminal, a line in a log, an object for a script."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator

import typer
from rich.console import Console
from rich.live import Live

from beamstream.address import Address, SourceAddress, parse_where, split_url
from beamstream.protocol.client import Server, broker_url
from beamstream.stop import stop_on_signals

from .rendering import as_line, as_object, as_table
from .view import View
from .watching import SHOW_EVERY_S, newest_stream, newest_streams, watch

LINE_EVERY_S = 2.0
"""How often a line is printed where there is no terminal [s]."""

GROUP = "monitor"
"""The monitor's group, unless another one is named: monitors that are to show the same frames need one each."""


def show_in_terminal(where: str, broker: str | None, group: str | None, *, follow: bool, as_json: bool) -> int:
    """Show a stream, or a data source's newest, until it has ended or a signal comes; returns the exit status.

    Raises
    ------
    AddressError
        If `where` is no address.
    StreamNotFoundError
        If there is no such stream, and none is to be waited for.
    ServerUnavailableError, ServerRefusedError
        If the broker cannot be used.
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
    return stop.exit_status


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
