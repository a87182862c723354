"""`stream consume MODULE:FUNCTION`: a function of the user's, run like any consumer of ours."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import typer

from beamstream.errors import UsageError
from beamstream.producer import DEFAULT_TIER, check_tier

from .options import (
    Broker,
    Follow,
    From,
    Group,
    MetricsPort,
    Part,
    TierText,
    WhereOrPath,
    Workers,
    parse_source,
    parse_start,
)

PLACEHOLDER = "MODULE:FUNCTION"
"""What stands for it in lists of commands."""

SETTINGS = "parameters of the function"
"""Where the parameters that the configuration file names stand among a command's defaults."""


def function_command(
    ctx: typer.Context,
    where: WhereOrPath,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="BEAMTIME/SOURCE",
            help="Data source of the results; without it, the source with the function's name behind its own.",
            show_default=False,
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="A parameter: a keyword-only argument of the function; may come several times.",
            show_default=False,
        ),
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Option(
            "--file",
            metavar="KEY=FILE",
            help="A parameter from a file: .npy for an array, text for a text.",
            show_default=False,
        ),
    ] = None,
    workers: Workers = 1,
    broker: Broker = None,
    group: Group = None,
    start: From = "start",
    follow: Follow = False,
    required: Annotated[
        bool, typer.Option("--required/--best-effort", help="Whether frames stay in memory until they are processed.")
    ] = False,
    part: Part = None,
    tier: TierText = DEFAULT_TIER,
    metrics_port: MetricsPort = None,
) -> None:
    """Call a function of your own with each frame, and publish what it returns.

    MODULE is looked for in the current directory, too. The function is given
    a Frame and returns None (no result), a number, a dict, an array,
    (array, dict), or a beamstream.service.Result. Its keyword-only arguments
    are parameters: --set changes them now, 'stream parameters set' later.

    Examples:

      stream consume mymodule:brightest 11012345/eiger/series_00042 --set threshold=12

      stream consume mymodule:brightest 11012345/eiger --follow --workers 4
    """
    from beamstream.parameters import parse_texts, read_files
    from beamstream.service import Intake, Upkeep, run_processor
    from beamstream.service.processing.loading import load_processor, load_target, parameters_of

    text = str(ctx.info_name)
    if text == PLACEHOLDER:
        raise UsageError(f"{PLACEHOLDER} stands for your own, e.g. mymodule:find_peaks in the file mymodule.py")
    parameters = parameters_of(load_target(text))
    from_file = _checked(dict((ctx.default_map or {}).get(SETTINGS, {})), parameters, ctx)
    values = {
        **parameters.check(from_file),
        **parse_texts(parameters, settings or ()),
        **read_files(parameters, files or ()),
    }
    make = partial(load_processor, text, values, parse_source(to) if to else None)
    intake = Intake(group=group, start=parse_start(start), follow=follow, required=required, part=part)
    upkeep = Upkeep(tier=check_tier(tier))
    status = run_processor(
        make, where, workers=workers, broker=broker, intake=intake, upkeep=upkeep, metrics_port=metrics_port
    )
    raise typer.Exit(status)


def _checked(values: dict[str, object], parameters: Mapping[str, object], ctx: typer.Context) -> dict[str, object]:
    """Refuse a key of the configuration file that is neither an option nor a parameter; names what is near."""
    for name in values:
        if name not in parameters:
            options = [one.lstrip("-") for param in ctx.command.params for one in param.opts if one.startswith("--")]
            known = sorted({*parameters, *options} - {"help", "set", "file"})
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"valid here: {', '.join(known)}"
            raise UsageError(f"configuration: unknown key {name!r} for {ctx.info_name}; {hint}")
    return values


def describe(command: Any, target: Any) -> None:
    """Let the help of a command say what a function says of itself."""
    from beamstream.service.processing.loading import parameters_of

    said = [inspect.getdoc(target) or ""]
    said += [
        f"{parameter.name}: {parameter.wanted}, {parameter.default!r} unless --set says otherwise. "
        f"{parameter.bounds.help} {parameter.bounds_text}".rstrip()
        for parameter in parameters_of(target).values()
    ]
    command.help = "\n\n".join([*filter(None, said), command.help or ""])
