"""The root of the command line: global options, and how errors end."""

from __future__ import annotations

import io
import logging
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from beamstream.errors import BeamstreamError, UsageError

from . import dead_letters, groups, parameters, streams
from .doctor import doctor
from .plugins import ConsumerCommands, ProducerCommands, RootCommands
from .settings import read_settings

log = logging.getLogger("beamstream")

OUR_PACKAGES = ("beamstream", "beamstream_broker", "beamstream_producers", "beamstream_consumers")
"""What --log-level speaks of."""

MISUSE: type[Exception] = typer.BadParameter.__mro__[2]
"""Root of what the parser raises: click's `ClickException`, which typer gives no public name."""

app = typer.Typer(
    cls=RootCommands,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Detector frames from the socket to whoever needs them.\n\nTry it: stream demo",
)
app.add_typer(
    typer.Typer(cls=ProducerCommands, no_args_is_help=True, callback=lambda: None),
    name="produce",
    help="Bring frames in.",
)
app.add_typer(
    typer.Typer(cls=ConsumerCommands, no_args_is_help=True, callback=lambda: None),
    name="consume",
    help="Do something with frames.",
)
app.add_typer(groups.app, name="group")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(parameters.app, name="parameters")
streams.add_to(app)
app.command()(doctor)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"beamstream {version('beamstream')}")
        raise typer.Exit


def _take_settings(ctx: typer.Context, config: Path | None) -> Path | None:
    if config is not None:
        ctx.default_map = read_settings(config, ctx.command, ctx)
    return config


@app.callback()
def options(
    ctx: typer.Context,
    broker: Annotated[
        str | None, typer.Option(envvar="STREAM_BROKER", metavar="URL", help="The broker; see the commands.")
    ] = None,
    _config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            envvar="STREAM_CONFIG",
            metavar="FILE",
            callback=_take_settings,
            is_eager=True,
            help="Options from a TOML file, with tables named like the commands; flags and environment beat it.",
        ),
    ] = None,
    log_level: Annotated[
        str, typer.Option(envvar="STREAM_LOG_LEVEL", metavar="LEVEL", help="debug, info, warning or error.")
    ] = "info",
    metrics_port: Annotated[
        int | None,
        typer.Option(
            envvar="STREAM_METRICS_PORT",
            metavar="PORT",
            min=0,
            max=65535,
            help="Serve Prometheus metrics on this loopback port.",
        ),
    ] = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and end.")
    ] = False,
) -> None:
    """Take the global options; the commands find them in the environment, and what the file says in their own table."""
    for name, value in (("broker", broker), ("metrics_port", metrics_port)):
        source = ctx.get_parameter_source(name)
        if value is not None and source is not None and source.name == "COMMANDLINE":
            os.environ[f"STREAM_{name.upper()}"] = str(value)
    _start_logging(log_level)


class _CurrentStderr(io.TextIOBase):
    """What `sys.stderr` is at the moment: the progress display takes it over while it shows a line."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()


def _start_logging(level: str) -> None:
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise UsageError(f"--log-level {level!r} is none of debug, info, warning and error")
    logging.basicConfig(
        # What other libraries say in detail (numba: thousands of lines) helps nobody here.
        level=max(number, logging.INFO),
        stream=_CurrentStderr(),
        format="%(asctime)s %(levelname)s %(message)s",
        datefmt="%Y-%m-%dT%H:%M:%S",
    )
    for package in OUR_PACKAGES:
        logging.getLogger(package).setLevel(number)


def main() -> NoReturn:
    """Run the command line and end the process with its status."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; returns the exit status."""
    try:
        status = typer.main.get_command(app).main(arguments, prog_name="stream", standalone_mode=False)
    except MISUSE as error:
        error.show()  # type: ignore[attr-defined]
        return 2
    except (KeyboardInterrupt, typer.Abort):
        return 130
    except BeamstreamError as error:
        log.debug("the whole story:", exc_info=error)
        typer.echo(f"stream: {error}", err=True)
        return 2 if isinstance(error, UsageError) else 1
    except BrokenPipeError:
        # Whoever read the output has gone, e.g. `| head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status if isinstance(status, int) else 0
