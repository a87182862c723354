"""Commands that come from entry points: loaded when they are asked for, so that `stream ls` need not import numba.

An entry point names a function with typer annotations, or a `typer.Typer`. Contexts and commands are typed `Any`: typer
carries click under a private name in its newer versions, and uses the public one in its older ones.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import typer
from typer.core import TyperGroup

from beamstream.errors import UsageError

from .function import PLACEHOLDER, describe, function_command


def as_command(name: str, target: Callable[..., Any] | typer.Typer) -> Any:
    """Turn what an entry point names into a command called `name`."""
    if not isinstance(target, typer.Typer):
        app = typer.Typer(add_completion=False)
        app.command(name)(target)
        target = app
    command = typer.main.get_command(target)
    command.name = name
    return command


def _load(point: EntryPoint) -> Any:
    try:
        return as_command(point.name, point.load())
    except Exception as error:  # noqa: BLE001 (somebody else's code: whatever it raises, the other commands go on)
        return _unavailable(point, f"{type(error).__name__}: {error}")


def _unavailable(point: EntryPoint, reason: str) -> Any:
    """Return a command in place of one that cannot be loaded: the others stay usable, and the help says why."""
    explanation = f"cannot be loaded from {point.value}: {reason}"

    def explain() -> None:
        raise UsageError(f"{point.name}: {explanation}")

    from rich.markup import escape  # rarely needed, slow to import

    explain.__doc__ = escape(explanation)
    app = typer.Typer(add_completion=False)
    app.command(point.name, context_settings={"ignore_unknown_options": True, "allow_extra_args": True})(explain)
    return as_command(point.name, app)


class PluginGroup(TyperGroup):
    """A group of commands whose members come from an entry point group, beside its own."""

    entry_point_group = ""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name its own commands and the plug-ins'."""
        plugins = {point.name for point in entry_points(group=self.entry_point_group)}
        return sorted(plugins | set(super().list_commands(ctx)))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return its own command of this name, else the plug-in's."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        for point in entry_points(group=self.entry_point_group, name=cmd_name):
            return _load(point)
        return None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that a command line names; names near ones where there is none."""
        name, valid = args[0], self.list_commands(ctx)
        if name not in valid and not name.startswith("-"):
            near = difflib.get_close_matches(name, valid, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(valid)}"
            raise UsageError(f"{ctx.command_path} has no command {name!r}; {hint}")
        return super().resolve_command(ctx, args)


class ProducerCommands(PluginGroup):
    """`stream produce …`."""

    entry_point_group = "beamstream.producers"


class ConsumerCommands(PluginGroup):
    """`stream consume …`."""

    entry_point_group = "beamstream.consumers"

    def list_commands(self, ctx: Any) -> list[str]:
        """Name what stands for functions of the user's, too."""
        return [*super().list_commands(ctx), PLACEHOLDER]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, or one for a function of the user's."""
        if ":" not in cmd_name:
            return super().get_command(ctx, cmd_name)
        return as_command(cmd_name, function_command)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find a command, or import the function that is named in its place."""
        name = args[0]
        if ":" not in name or name == PLACEHOLDER:
            return super().resolve_command(ctx, args)
        from beamstream.service.processing.loading import load_target

        command = self.get_command(ctx, name)
        describe(command, load_target(name))
        return name, command, args[1:]


class RootCommands(PluginGroup):
    """`stream …`."""

    entry_point_group = "beamstream.commands"
