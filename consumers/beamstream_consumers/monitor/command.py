"""`stream consume monitor`: data sources at a glance, in a browser, a terminal, a log or a script."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from beamstream.address import is_path
from beamstream.cli.options import Broker, Follow, Group, Json, MetricsPort
from beamstream.errors import UsageError
from beamstream_consumers.options import GeometryFile, MaskFile

SERVING = "Page"
LETTING_IN = "Who is let in"

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="WHERE",
        help="BEAMTIME/SOURCE for its newest stream, and each next one; BEAMTIME/SOURCE/STREAM for that one; several "
        "side by side. Or one recording: NeXus, a detector's master file, segments, a folder of CBF files.",
        show_default=False,
    ),
]


def monitor(
    where: Sources,
    host: Annotated[
        str, typer.Option(metavar="NAME", help="Interface of the page.", rich_help_panel=SERVING)
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Its port; 0 for a free one.", rich_help_panel=SERVING)
    ] = 8800,
    uds: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Serve on a Unix socket that only you can open, in place of a port.",
            rich_help_panel=SERVING,
        ),
    ] = None,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Leave the browser closed.", rich_help_panel=SERVING)
    ] = False,
    fps: Annotated[
        float,
        typer.Option(metavar="HZ", min=0.1, max=60.0, help="Most pictures a second.", rich_help_panel=SERVING),
    ] = 10.0,
    max_viewers: Annotated[
        int, typer.Option(metavar="N", min=1, max=1000, help="Most pages at a time.", rich_help_panel=SERVING)
    ] = 32,
    max_mbit: Annotated[
        float,
        typer.Option(
            metavar="MBIT/S",
            min=0.0,
            help="Most that all pages together are sent; 0 for no limit.",
            rich_help_panel=SERVING,
        ),
    ] = 0.0,
    root_path: Annotated[
        str, typer.Option(metavar="PATH", help="Path under which a proxy shows the page.", rich_help_panel=SERVING)
    ] = "",
    public_url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Address of the page for browsers, where a proxy stands before it.",
            rich_help_panel=SERVING,
        ),
    ] = "",
    auth: Annotated[
        str,
        typer.Option(
            metavar="token|proxy|none",
            help="How viewers are known: by the printed link, by a proxy that has asked them, or not at all.",
            rich_help_panel=LETTING_IN,
        ),
    ] = "token",
    allow_control: Annotated[
        bool,
        typer.Option(
            "--allow-control",
            help="Let operators change the peak finder and its mask; they get a link of their own.",
            rich_help_panel=LETTING_IN,
        ),
    ] = False,
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Tokens of viewers and operators, a line each: so links stay good. It is made if it is not there.",
            rich_help_panel=LETTING_IN,
        ),
    ] = None,
    token: Annotated[
        str,
        typer.Option(
            envvar="STREAM_MONITOR_TOKEN",
            metavar="TOKEN",
            help="The viewers' token; by the environment, for command lines can be seen by all.",
            rich_help_panel=LETTING_IN,
        ),
    ] = "",
    operator_token: Annotated[
        str,
        typer.Option(
            envvar="STREAM_MONITOR_OPERATOR_TOKEN",
            metavar="TOKEN",
            help="The operators' token, likewise.",
            rich_help_panel=LETTING_IN,
        ),
    ] = "",
    allow_origin: Annotated[
        str,
        typer.Option(
            metavar="URL,...", help="Other names of the page, e.g. http://server:8800.", rich_help_panel=LETTING_IN
        ),
    ] = "",
    proxy_address: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS,...",
            help="Of --auth proxy: whose header is trusted, e.g. 127.0.0.1.",
            rich_help_panel=LETTING_IN,
        ),
    ] = "",
    proxy_header: Annotated[
        str,
        typer.Option(metavar="NAME", help="Of --auth proxy: header with the user's name.", rich_help_panel=LETTING_IN),
    ] = "X-Forwarded-User",
    operators: Annotated[
        str,
        typer.Option(metavar="USER,...", help="Of --auth proxy: who may change things.", rich_help_panel=LETTING_IN),
    ] = "",
    geometry: GeometryFile = None,
    mask: MaskFile = None,
    terminal: Annotated[
        bool, typer.Option("--terminal", help="No page: numbers of one stream in the terminal, or as lines.")
    ] = False,
    broker: Broker = None,
    group: Group = None,
    follow: Follow = False,
    as_json: Json = False,
    metrics_port: MetricsPort = None,
) -> None:
    """Show what comes: pictures, hits, peaks, rates, groups, the buffer.

    It serves a page for browsers on this machine, and prints its address.
    Others reach it through an SSH tunnel or a proxy: see the how-to guide
    watch-live. It takes the newest frame a few times a second and holds
    nothing back. It goes on with the next stream, until Ctrl-C.

    Without a browser: --terminal. That ends with the stream, unless --follow
    is given; without a terminal it prints a line every two seconds, with
    --json an object.

    Examples:

      stream consume monitor 11012345/eiger

      stream consume monitor 11012345/eiger --uds ~/monitor.sock --no-browser

      stream consume monitor 11012345/eiger --allow-control

      stream consume monitor run_042_master.h5

      stream consume monitor 11012345/eiger --terminal --follow
    """
    if terminal:
        if len(where) > 1 or is_path(where[0]):
            raise UsageError("--terminal shows one stream of a broker; the page shows several, and files")
        from .terminal.command import show_in_terminal

        raise typer.Exit(show_in_terminal(where[0], broker, group, follow=follow, as_json=as_json))

    from .serving import PageOptions, serve_page
    from .web.limits import Limits
    from .web.settings import WebSettings

    web = WebSettings(
        host=host,
        port=port,
        uds=uds.expanduser() if uds else None,
        auth=auth,
        allow_control=allow_control,
        root_path=root_path.rstrip("/"),
        public_url=public_url,
        allowed_origins=_listed(allow_origin),
        proxy_addresses=_listed(proxy_address),
        proxy_header=proxy_header,
        operators=_listed(operators),
    )
    options = PageOptions(
        where=tuple(where),
        broker=broker,
        follow=follow,
        geometry=geometry,
        mask=mask,
        token=token,
        operator_token=operator_token,
        token_file=token_file.expanduser() if token_file else None,
        open_browser=not no_browser,
        as_json=as_json,
        metrics_port=metrics_port,
        limits=Limits(max_viewers=max_viewers, pictures_per_s=fps, max_mbit_s=max_mbit),
    )
    raise typer.Exit(serve_page(web, options))


def _listed(text: str) -> tuple[str, ...]:
    """Read a list that is written with commas."""
    return tuple(one.strip() for one in text.split(",") if one.strip())
