"""From ``module:name`` to a processor: a function of the user's, a processor class, or a factory of one.

Modules are looked for in the current directory, too. Whatever is wrong is said in terms of what was written: which
module, which name, and what is near it.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from beamstream.address import SourceAddress
from beamstream.errors import UsageError
from beamstream.parameters import Parameters

from .function import FunctionProcessor
from .processor import Processor

MODULE_LIMIT = 1000
"""Files of the current directory that are looked at for a name that is near."""


class FunctionNotFoundError(UsageError):
    """There is no such module, or nothing of this name in it."""

    def __init__(self, text: str, what: str, near: Iterable[str], where: str) -> None:
        self.text = text
        self.near = tuple(near)
        hint = f"did you mean {' or '.join(map(repr, self.near))}?" if self.near else where
        super().__init__(f"{text}: {what}; {hint}")


class FunctionImportError(UsageError):
    """A module of the user's that cannot be imported; says where it raises what."""

    def __init__(self, text: str, error: BaseException) -> None:
        self.text = text
        frame = next(iter(reversed(traceback.extract_tb(error.__traceback__))), None)
        at = f" ({frame.filename}, line {frame.lineno})" if frame is not None else ""
        if isinstance(error, SyntaxError):
            at = f" ({error.filename}, line {error.lineno})"
        super().__init__(f"{text} cannot be imported: {type(error).__name__}: {error}{at}")


class FunctionKindError(UsageError):
    """Something that is neither a function of a frame nor a processor."""

    def __init__(self, text: str, what: str) -> None:
        self.text = text
        self.what = what
        super().__init__(
            f"{text} is {what}; wanted is a function of one frame, a class with open, process and status "
            "(beamstream.service.Processor), or a function without arguments that returns one"
        )


def load_target(text: str) -> Any:
    """Import what ``module:name`` names.

    Raises
    ------
    FunctionNotFoundError, FunctionImportError, FunctionKindError
        If there is none, it cannot be imported, or it cannot be called.
    """
    module_name, _, name = text.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *name.split("."))):
        raise FunctionNotFoundError(text, "it is not of the form MODULE:FUNCTION", (), "write e.g. mymodule:find_peaks")
    here = os.getcwd()  # noqa: PTH109 (a text, as sys.path has them)
    if here not in sys.path:
        sys.path.insert(0, here)
    target = _import(text, module_name)
    for part in name.split("."):
        if not hasattr(target, part):
            known = [one for one, value in vars(target).items() if callable(value) and not one.startswith("__")]
            near = difflib.get_close_matches(part, known, n=2)
            there = f"there are {', '.join(sorted(known)[:8])}" if known else "nothing there can be called"
            raise FunctionNotFoundError(text, f"{module_name} has no {part!r}", near, there)
        target = getattr(target, part)
    if not callable(target):
        raise FunctionKindError(text, f"a {type(target).__name__}")
    return target


def _import(text: str, name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise FunctionImportError(text, error) from error  # it is there, and misses another one
        files = sorted(Path().glob("*.py"))[:MODULE_LIMIT]
        near = difflib.get_close_matches(error.name, [file.stem for file in files], n=2)
        raise FunctionNotFoundError(
            text, f"there is no module {error.name!r}", near, "it has to be in the current directory, or installed"
        ) from error
    except Exception as error:
        raise FunctionImportError(text, error) from error


def is_function_of_frame(target: Any) -> bool:
    """Whether something is called with each frame; otherwise it makes a processor."""
    if isinstance(target, type):
        return False
    positional = [
        argument
        for argument in inspect.signature(target).parameters.values()
        if argument.kind in (argument.POSITIONAL_ONLY, argument.POSITIONAL_OR_KEYWORD, argument.VAR_POSITIONAL)
    ]
    return bool(positional)


def parameters_of(target: Any) -> Parameters:
    """Return the parameters that a function, a class or a factory has: its keyword-only arguments.

    Raises
    ------
    ParameterDeclarationError
        If one of them has no default, or a type that cannot be kept.
    """
    return Parameters.of(target.__init__ if isinstance(target, type) else target, leave_out=("to",))  # type: ignore[misc]


def load_processor(text: str, settings: Mapping[str, object], to: SourceAddress | None = None) -> Processor:
    """Make the processor that ``module:name`` names; to be called in the process that runs it.

    Parameters
    ----------
    text : str
        What it is called, e.g. ``mymodule:find_peaks``.
    settings : mapping
        Parameters that differ from their defaults.
    to : SourceAddress, optional
        The data source that is written; given to a class or a factory that has an argument `to`.

    Raises
    ------
    FunctionNotFoundError, FunctionImportError, FunctionKindError
        See `load_target`.
    ParameterError
        If there is no such parameter, or a value cannot be one.
    UsageError
        If a data source was named for a processor that does not take one.
    """
    target = load_target(text)
    if is_function_of_frame(target):
        return FunctionProcessor(target, settings, to=to)
    values: dict[str, object] = dict(parameters_of(target).check(settings))
    if to is not None:
        if "to" not in inspect.signature(target).parameters:
            raise UsageError(f"--to {to}: {text} has no argument 'to', and says itself where its results go")
        values["to"] = to
    made = target(**values)
    if not all(callable(getattr(made, name, None)) for name in ("open", "process", "status")):
        raise FunctionKindError(text, f"something that makes a {type(made).__name__}")
    return cast(Processor, made)
