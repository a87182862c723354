"""The configuration file: TOML whose tables are named like the commands, e.g. ``[consume.write]``.

A flag beats the environment, which beats the file, which beats the default; in the file, a command's own table beats
the top level. A key that no option has is an error that names the nearest valid one, and so is a value that the option
cannot take.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from beamstream.errors import UsageError

from .function import PLACEHOLDER, SETTINGS

SHARED = ("broker", "metrics_port")
"""Options of the root that the commands have, too."""

NOT_IN_FILES = ("help", "version", "config")
"""Options that make sense on a command line only."""

REFUSAL: type[Exception] = typer.BadParameter.__mro__[2]
"""Root of what an option raises that cannot take a value: click's `ClickException`, nameless in typer."""


def read_settings(path: Path, root: Any, ctx: Any) -> dict[str, Any]:
    """Read a configuration file into click's default map.

    Raises
    ------
    UsageError
        If the file cannot be read, is no TOML, or holds a key or a value that nobody can use.
    """
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the configuration {path}: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is no TOML: {error}") from error
    checked = _checked(settings, root, ctx, str(path), "")
    # `broker` is an option and a command: its value must not be taken for the command's table.
    shared = {name: checked.pop(name) for name in SHARED if name in checked and not isinstance(checked[name], dict)}
    return _spread(checked, root, ctx, shared) if shared else checked


def _checked(settings: Mapping[str, Any], command: Any, ctx: Any, path: str, table: str) -> dict[str, Any]:
    options = {
        name.lstrip("-"): param
        for param in command.params
        for name in param.opts
        if name.startswith("--") and name.lstrip("-") not in NOT_IN_FILES
    }
    commands = command.list_commands(ctx) if hasattr(command, "list_commands") else []
    result: dict[str, Any] = {}
    for key, value in settings.items():
        where = f"{table}.{key}" if table else key
        name = key.replace("_", "-")
        if PLACEHOLDER in commands and ":" in key and isinstance(value, Mapping):
            result[key] = _of_function(value, command.get_command(ctx, PLACEHOLDER), ctx, path, where)
        elif key in commands and isinstance(value, Mapping):
            result[key] = _checked(value, command.get_command(ctx, key), ctx, path, where)
        elif name in options:
            result[options[name].name] = _value(value, options[name], ctx, path, where)
        elif key not in commands:
            raise UsageError(_unknown(where, key, [*options, *commands], path))
        else:
            raise UsageError(f"{path}: {where!r} is a command; its options stand in a table [{where}]")
    return result


def _of_function(table: Mapping[str, Any], command: Any, ctx: Any, path: str, where: str) -> dict[str, Any]:
    """Return the options in a function's table, and apart from them its parameters, which are checked when it runs."""
    options = {name.lstrip("-") for param in command.params for name in param.opts if name.startswith("--")}
    ours = {key: value for key, value in table.items() if key.replace("_", "-") in options - {"set", "file"}}
    parameters = {key.replace("-", "_"): value for key, value in table.items() if key not in ours}
    return {**_checked(ours, command, ctx, path, where), SETTINGS: parameters}


def _value(value: Any, param: Any, ctx: Any, path: str, where: str) -> Any:
    """Return a value if its option can take it."""
    is_flag = getattr(param, "is_flag", False)
    if isinstance(value, bool) is not is_flag or isinstance(value, Mapping | list):
        wanted = "true or false" if is_flag else "a text or a number"
        raise UsageError(f"{path}: {where!r} is {value!r}; it should be {wanted}")
    try:
        param.process_value(ctx, value)
    except REFUSAL as error:
        raise UsageError(f"{path}: {where!r}: {getattr(error, 'message', error)}") from error
    return value


def _spread(settings: Mapping[str, Any], command: Any, ctx: Any, shared: Mapping[str, Any]) -> dict[str, Any]:
    """Hand what stands at the top level down to the tables of all commands."""
    spread = dict(settings)
    for name in command.list_commands(ctx):
        own = settings.get(name, {})
        child = command.get_command(ctx, name) if command is ctx.command else None
        # Below the first level all are plain commands: loading each of them takes a second, and changes nothing.
        spread[name] = _spread(own, child, ctx, shared) if hasattr(child, "list_commands") else {**shared, **own}
    return spread


def _unknown(where: str, key: str, valid: Iterable[str], path: str) -> str:
    names = sorted(valid)
    near = difflib.get_close_matches(key.replace("_", "-"), names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"valid here: {', '.join(names)}"
    return f"{path}: unknown key {where!r}; {hint}"
