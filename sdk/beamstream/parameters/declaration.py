"""Declarations of parameters, read from where they stand anyway: dataclass fields, or keyword-only arguments. Pure."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Annotated, Any, Protocol, Union, get_args, get_origin, runtime_checkable

from .errors import ParameterDeclarationError, ParameterRangeError, ParameterTypeError, UnknownParameterError
from .parameter import BOUNDS, Bounds, Kind, Parameter, Value

_SCALARS: Mapping[type, Kind] = {bool: "bool", int: "int", float: "float", str: "str"}


class Parameters(Mapping[str, Parameter]):
    """The parameters of one processor, by name, and the values that it begins with.

    Parameters
    ----------
    parameters : iterable of Parameter
        Their declarations.
    initial : mapping, optional
        What the options say; the defaults for what is not named.

    Raises
    ------
    ParameterError
        If an initial value cannot be one.
    """

    def __init__(self, parameters: Iterable[Parameter], initial: Mapping[str, object] | None = None) -> None:
        self._parameters = {parameter.name: parameter for parameter in parameters}
        self.initial: Mapping[str, Value] = types.MappingProxyType(self.complete(initial or {}))

    @classmethod
    def of(cls, what: Any, leave_out: Iterable[str] = ()) -> Parameters:
        """Read a declaration.

        Parameters
        ----------
        what : dataclass, instance of one, or function
            Every field is a parameter, or every keyword-only argument. The values of an instance become the initial
            ones. Bounds stand in the field (`tunable`) or the annotation (``Annotated[float, Bounds(…)]``).
        leave_out : iterable of str
            Fields or arguments that cannot be changed while the service runs.

        Raises
        ------
        ParameterDeclarationError
            If one of them has no default, or a type that cannot be kept.
        """
        left_out = set(leave_out)
        if not dataclasses.is_dataclass(what):
            return cls(_of_function(what, left_out))
        found = [parameter for parameter in _of_dataclass(what, left_out) if parameter.name not in left_out]
        if isinstance(what, type):
            return cls(found)
        return cls(found, {parameter.name: getattr(what, parameter.name) for parameter in found})

    def starting_with(self, values: Mapping[str, object]) -> Parameters:
        """Return the same parameters with other initial values, e.g. those of a configuration file.

        Raises
        ------
        ParameterError
            If one is not known, of another type, or out of bounds.
        """
        return Parameters(self._parameters.values(), {**self.initial, **values})

    def check(self, values: Mapping[str, object]) -> dict[str, Value]:
        """Return values as their types, if all of them can be.

        Raises
        ------
        UnknownParameterError
            If there is no such parameter; the nearest one is named.
        ParameterTypeError, ParameterRangeError
            If a value is of another type, or out of bounds.
        """
        return {name: self[name].check(value) for name, value in values.items()}

    def complete(self, values: Mapping[str, object]) -> dict[str, Value]:
        """Return a value for each parameter: the given ones, checked, and the defaults."""
        return {name: parameter.default for name, parameter in self._parameters.items()} | self.check(values)

    def __getitem__(self, name: str) -> Parameter:
        if name not in self._parameters:
            raise UnknownParameterError(name, self._parameters)
        return self._parameters[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parameters

    def __iter__(self) -> Iterator[str]:
        return iter(self._parameters)

    def __len__(self) -> int:
        return len(self._parameters)


@runtime_checkable
class Tunable(Protocol):
    """Something with parameters; an addition to a `Processor`, `Reducer` or `Handler`."""

    parameters: Parameters
    """Their declaration, with the values that the options said as `initial` ones."""

    def tune(self, values: Mapping[str, Value]) -> None:
        """Use these values from the next frame on: one for each parameter, checked already.

        Called before the first frame, and between frames. Raising one of our errors refuses the values as a whole:
        those before them are used on, and whoever looks is told why.
        """
        ...


# --- reading declarations ----------------------------------------------------------------------------------------


def _of_dataclass(what: Any, left_out: set[str]) -> Iterator[Parameter]:
    owner = what if isinstance(what, type) else type(what)
    hints = typing.get_type_hints(owner, include_extras=True)
    for field in dataclasses.fields(owner):
        if field.name in left_out:
            continue
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        missing = default is dataclasses.MISSING
        yield _declare(owner.__name__, field.name, hints[field.name], default, missing, field.metadata.get(BOUNDS))


def _of_function(function: Callable[..., Any], left_out: set[str]) -> Iterator[Parameter]:
    # A callable object is declared by its __call__; its own annotations are those of a class.
    described = function if inspect.isroutine(function) or isinstance(function, type) else type(function).__call__
    hints = typing.get_type_hints(described, include_extras=True)
    name = getattr(function, "__name__", type(function).__name__)
    for argument in inspect.signature(function).parameters.values():
        if argument.kind is argument.KEYWORD_ONLY and argument.name not in left_out:
            default, missing = argument.default, argument.default is argument.empty
            yield _declare(name, argument.name, hints.get(argument.name, type(default)), default, missing, None)


def _declare(owner: str, name: str, hint: Any, default: Any, missing: bool, bounds: Bounds | None) -> Parameter:
    if missing:
        raise ParameterDeclarationError(owner, name, "it has no default")
    if get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        bounds = next((extra for extra in more if isinstance(extra, Bounds)), bounds)
    kind, optional = _kind_of(owner, name, hint)
    optional = optional or default is None
    parameter = Parameter(name=name, kind=kind, default=None, optional=optional, bounds=bounds or Bounds())
    if kind == "array" and default is not None:
        raise ParameterDeclarationError(owner, name, "the default of an array has to be None")
    try:
        return dataclasses.replace(parameter, default=parameter.check(default))
    except (ParameterTypeError, ParameterRangeError) as error:
        raise ParameterDeclarationError(owner, name, f"its default: {error}") from error


def _kind_of(owner: str, name: str, hint: Any) -> tuple[Kind, bool]:
    """Return what kind of value an annotation means, and whether it may be None."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kinds = {option for option in options if option is not types.NoneType}
    if len(kinds) == 1:
        (only,) = kinds
        if only in _SCALARS:
            return _SCALARS[only], len(options) > 1
        array = get_origin(only) or only
        if getattr(array, "__name__", "") == "ndarray" and getattr(array, "__module__", "") == "numpy":
            return "array", len(options) > 1
    raise ParameterDeclarationError(
        owner, name, f"its type {hint} is none of bool, int, float, str, numpy.ndarray, or one of them or None"
    )
