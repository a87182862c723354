"""A function `frame -> result` as a processor: what a scientist writes in ten lines runs like any analysis of ours.

What a function may return stands in `as_result`. Its keyword-only arguments are its parameters, and can be changed
while it runs. It has one output unless `outputs` names several.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from beamstream.address import SourceAddress
from beamstream.errors import UsageError
from beamstream.frame import Frame
from beamstream.parameters import Parameters, Value
from beamstream.service.consuming.handler import StreamStart

from .processor import Output, Result, Results, derived_address

F = TypeVar("F", bound=Callable[..., Any])

OUTPUTS = "__beamstream_outputs__"
"""Where a function says the names of its outputs."""


class ResultTypeError(UsageError):
    """A function returned something that is no result."""

    def __init__(self, function: str, what: str) -> None:
        self.function = function
        self.what = what
        super().__init__(
            f"{function} returned {what}; it can return None, a number, a text, a dict, an array, (array, dict), "
            "a Frame, a Result, or, with @outputs, a dict of these by output"
        )


def outputs(*names: str) -> Callable[[F], F]:
    """Say that a function has several outputs: it returns a dict with a result for each, or for some of them.

    Examples
    --------
    >>> @outputs("hits", "sums")
    ... def sort(frame):
    ...     total = int(frame.array().sum())
    ...     return {"sums": total, "hits": frame} if total > 1000 else {"sums": total}
    """

    def mark(function: F) -> F:
        setattr(function, OUTPUTS, names)
        return function

    return mark


class FunctionProcessor:
    """Runs a function; a `Processor`.

    Parameters
    ----------
    function : callable
        Called with a frame and its parameters.
    settings : mapping, optional
        Parameters that differ from its defaults.
    to : SourceAddress, optional
        The data source that is written; default: the source's name with the function's behind it. With several outputs
        each has its own name behind it.

    Raises
    ------
    ParameterError
        If there is no such parameter, or a value cannot be one.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        settings: Mapping[str, object] | None = None,
        *,
        to: SourceAddress | None = None,
    ) -> None:
        self.name = getattr(function, "__name__", type(function).__name__)
        self.parameters = Parameters.of(function).starting_with(settings or {})
        self._function = function
        self._values: Mapping[str, Value] = dict(self.parameters.initial)
        self._to = to
        self._names: tuple[str, ...] = getattr(function, OUTPUTS, ())

    def tune(self, values: Mapping[str, Value]) -> None:
        """Use these values from the next frame on."""
        self._values = values

    def open(self, stream: StreamStart) -> Mapping[str, Output]:
        """Say where results go.

        Raises
        ------
        AddressError, UsageError
            If the function's or an output's name cannot be one of a data source, or it would be the source itself.
        """
        made_of = {"made_of": {"stream": str(stream.address), "function": self.name}}
        names = self._names or (self.name,)
        return {name: Output(address=derived_address(stream.address, name, self._address(name)), metadata=made_of)
                for name in names}  # fmt: skip

    def _address(self, name: str) -> SourceAddress | None:
        if self._to is None or not self._names:
            return self._to
        return SourceAddress(self._to.beamtime, f"{self._to.source}-{name}")

    def process(self, frame: Frame) -> Results:
        """Call the function.

        Raises
        ------
        ResultTypeError
            If what it returns is no result.
        Exception
            What it raises.
        """
        returned = self._function(frame, **self._values)
        if not self._names:
            result = as_result(self.name, returned)
            return {} if result is None else {self.name: result}
        if returned is None:
            return {}
        if not isinstance(returned, Mapping) or not all(isinstance(name, str) for name in returned):
            what = f"a {type(returned).__name__} where a dict by output is needed ({', '.join(self._names)})"
            raise ResultTypeError(self.name, what)
        results = {name: as_result(self.name, value) for name, value in returned.items()}
        return {name: result for name, result in results.items() if result is not None}

    def status(self) -> Mapping[str, int | float | str]:
        """Return nothing: the loop counts results."""
        return {}


def as_result(function: str, returned: object) -> Result | None:
    """Return what a function's value means; None where the frame has no result.

    Parameters
    ----------
    function : str
        Its name, for the error.
    returned : object
        None: no result, the id is declined. A number or a text: a message with the metadata ``value``. A dict: a
        message with this metadata. An array, or (array, dict). A `Frame`: its bytes as they are. A `Result`.

    Raises
    ------
    ResultTypeError
        If it is nothing of these.
    """
    import numpy as np  # who only produces needs none

    match returned:
        case None:
            return None
        case Result():
            return returned
        case Frame():
            return Result(frame=returned, metadata=returned.metadata)
        case np.ndarray():
            return Result(array=returned)
        case bool() | int() | float() | str() | np.generic():
            return Result(metadata={"value": _plain(returned)})
        case Mapping():
            return Result(metadata=_plain(returned))
        case (np.ndarray() as array, Mapping() as metadata):
            return Result(array=array, metadata=_plain(metadata))
    raise ResultTypeError(function, f"a {type(returned).__name__}")


def _plain(value: Any) -> Any:
    """Return a value with Python's numbers in place of NumPy's, which metadata cannot carry."""
    import numpy as np

    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value
