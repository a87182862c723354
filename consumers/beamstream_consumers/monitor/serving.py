"""The monitor as a page: what is watched, the server in front of it, and what whoever started it is told.

It goes on until a signal ends it. A broker that is away when it starts is an error unless --follow says to wait; one
that goes away later is waited for, and the page says so.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from beamstream.address import Address, SourceAddress, is_path, parse_where, split_url
from beamstream.errors import StreamNotFoundError, UsageError
from beamstream.metrics import Snapshot
from beamstream.protocol.client import Server, broker_url
from beamstream.protocol.keys import StreamKeys
from beamstream.service.desktop import open_page
from beamstream.service.shell import service_shell
from beamstream.state import read_state
from beamstream_consumers.calibration_files import read_mask
from beamstream_consumers.geometry import geometry_text

from .board import Board
from .watching import Watching
from .web.access import Role
from .web.application import make_application
from .web.hub import Facts, Hub
from .web.limits import Limits
from .web.server import WebServer, listen_on_path, listen_on_port
from .web.settings import DEFAULT_PORT, WebSettings, access_of, links_of, make_tokens

TICK_S = 0.2
"""How often the display is given a chance [s]."""

CONNECTIONS_PER_VIEWER = 8
"""Connections a page may need while it loads its files; browsers open six."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PageOptions:
    """What is shown, and how whoever started it is told.

    Attributes
    ----------
    where : tuple of str
        Data sources, streams, or one path.
    broker : str or None
        The broker's URL.
    follow : bool
        Wait for the broker and for a stream that is not there yet.
    geometry : Path or None
        In place of the streams' own.
    mask : str or None
        File with more bad pixels.
    token, operator_token : str
        Tokens that were given; empty for none.
    token_file : Path or None
        File with tokens.
    open_browser : bool
        Open the page, where there is a desktop.
    as_json : bool
        Print the links as JSON.
    metrics_port : int or None
        Port for Prometheus.
    limits : Limits
        What viewers may use.
    """

    where: tuple[str, ...]
    broker: str | None
    follow: bool
    geometry: Path | None
    mask: str | None
    token: str
    operator_token: str
    token_file: Path | None
    open_browser: bool
    as_json: bool
    metrics_port: int | None
    limits: Limits


def serve_page(web: WebSettings, options: PageOptions) -> int:
    """Serve the page until a signal ends it; returns the exit status.

    Raises
    ------
    MonitorAccessError
        If the settings would let in the wrong ones, or nobody.
    MonitorAddressError
        If the page cannot be served there.
    AddressError, UsageError
        If what is to be shown cannot be meant.
    StreamNotFoundError, NoRecordingError
        If there is nothing there, and nothing is to be waited for.
    ServerUnavailableError, ServerRefusedError
        If the broker cannot be used at the start.
    """
    tokens = make_tokens(web, token=options.token, operator_token=options.operator_token, file=options.token_file)
    access = access_of(web, tokens)
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(_listening(web))
        board = Board()
        watching = _watching(board, web, options)
        hub = Hub(
            board,
            watching.archive,
            Facts(sources=watching.sources, offline=watching.offline),
            options.limits,
            wanted=watching.wanted,
        )
        watching.n_viewers = lambda: len(hub.viewers)
        app = make_application(hub, access, control=watching.control, root_path=web.path, is_https=web.is_https)
        server = WebServer(
            app,
            listener,
            max_connections=CONNECTIONS_PER_VIEWER * (options.limits.max_viewers + CONNECTIONS_PER_VIEWER),
        )
        shell = stack.enter_context(service_shell("monitor", lambda: _snapshot(hub, watching), options.metrics_port))
        watching.start()
        stack.callback(watching.stop)
        server.start()
        stack.callback(server.close)
        port = 0 if web.uds is not None else int(listener.getsockname()[1])
        _tell(web, options, links_of(web, tokens, port), port, watching.sources)
        while not shell.stop.wait(TICK_S):
            server.check()
            shell.progress.tick()
        return shell.exit_status(failed=False)


@contextlib.contextmanager
def _listening(web: WebSettings) -> Iterator[Any]:
    if web.uds is not None:
        with listen_on_path(web.uds) as listener:
            yield listener
    else:
        with contextlib.closing(listen_on_port(web.host, web.port)) as listener:
            yield listener


def _watching(board: Board, web: WebSettings, options: PageOptions) -> Watching:
    """Return what watches; nothing is started."""
    geometry = None if options.geometry is None else geometry_text(options.geometry)
    mask = None if options.mask is None else read_mask(options.mask)
    if any(map(is_path, options.where)):
        if len(options.where) > 1:
            raise UsageError("of files one recording is shown at a time; name one")
        if web.allow_control:
            raise UsageError("--allow-control changes a running peak finder, and a recording has none; leave it out")
        return Watching(board, None, options.where[0], fps=options.limits.pictures_per_s, mask=mask, geometry=geometry)
    broker, sources = _sources(options)
    with contextlib.closing(Server(broker)) as server:
        if not options.follow:
            server.check()
            for one in sources:
                if isinstance(one, Address) and read_state(server, StreamKeys(one)) is None:
                    raise StreamNotFoundError(str(one))
    return Watching(
        board,
        broker,
        sources,
        fps=options.limits.pictures_per_s,
        mask=mask,
        geometry=geometry,
        allow_control=web.allow_control,
    )


def _sources(options: PageOptions) -> tuple[str, list[Address | SourceAddress]]:
    """Return the broker and what of it is shown; all are on the same one."""
    split = [split_url(one) for one in options.where]
    urls = {url for url, _ in split if url is not None}
    if len(urls) > 1:
        raise UsageError(f"{len(urls)} brokers are named, and one page shows one; start a monitor for each")
    sources = [parse_where(text) for _, text in split]
    if len(set(sources)) < len(sources):
        raise UsageError("the same data source is named twice")
    return broker_url(next(iter(urls), None) or options.broker), sources


def _snapshot(hub: Hub, watching: Watching) -> Snapshot:
    """Return what the page's server and the watchers have counted."""
    served = hub.snapshot()
    return Snapshot(
        events={**watching.counts, **served.events}, payload_bytes=served.payload_bytes, levels=served.levels
    )


# --- what whoever started it is told -----------------------------------------------------------------------------


def _tell(web: WebSettings, options: PageOptions, links: Mapping[Role, str], port: int, sources: list[str]) -> None:
    if options.as_json:
        said = {"urls": links, "port": port or None, "socket": str(web.uds) if web.uds else None, "sources": sources}
        typer.echo(json.dumps(said))
        return
    typer.echo(f"Monitor of {', '.join(sources)}:")
    for role, link in links.items():
        typer.echo(f"  {link}" + ("   (may change things)" if role == "operator" else ""))
    if web.uds is not None and not web.public_url:
        host = os.uname().nodename
        typer.echo(f"  once a tunnel is open:  ssh -N -L {DEFAULT_PORT}:{web.uds.absolute()} {host}")
    elif web.is_local and not web.public_url:
        typer.echo(f"  from elsewhere through a tunnel:  ssh -N -L {port}:127.0.0.1:{port} {os.uname().nodename}")
    elif not web.is_https:
        typer.echo(
            "  It is not encrypted: who is on the way can read along. Put a proxy with HTTPS before it.", err=True
        )
    if not sys.stdout.isatty():
        return
    typer.echo("Ctrl-C ends it.")
    if options.open_browser and web.uds is None:
        open_page(links.get("operator", links["viewer"]))
