"""What can be wrong about parameters: errors that name the parameter, the value, the limit and the unit."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from beamstream.errors import BeamstreamError, UsageError


class ParameterError(UsageError):
    """Something about a parameter that cannot be meant."""


class ParameterDeclarationError(ParameterError):
    """A dataclass or a function whose fields cannot be parameters; its author has to mend it."""

    def __init__(self, owner: str, name: str, reason: str) -> None:
        self.owner = owner
        self.name = name
        self.reason = reason
        super().__init__(f"{owner}: {name} cannot be a parameter: {reason}")


class UnknownParameterError(ParameterError):
    """A parameter that nobody has declared."""

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(known)
        self.nearest = tuple(difflib.get_close_matches(name, self.known, n=1))
        hint = f"did you mean {self.nearest[0]!r}?" if self.nearest else f"there are {', '.join(self.known) or 'none'}"
        super().__init__(f"there is no parameter {name!r}; {hint}")


class ParameterTypeError(ParameterError):
    """A value of another type than its parameter's."""

    def __init__(self, name: str, value: str, wanted: str) -> None:
        self.name = name
        self.value = value
        self.wanted = wanted
        super().__init__(f"{name}={value} is no {wanted}")


class ParameterRangeError(ParameterError):
    """A value beyond the bounds of its parameter."""

    def __init__(self, name: str, value: str, bounds: str) -> None:
        self.name = name
        self.value = value
        self.bounds = bounds
        super().__init__(f"{name}={value} is out of bounds: it has to be {bounds}")


class ParametersNotFoundError(BeamstreamError):
    """No service of this data source and group has ever declared parameters."""

    def __init__(self, source: str, group: str, known: Iterable[str] = ()) -> None:
        self.source = source
        self.group = group
        self.known = tuple(known)
        there = (
            f"groups of {source} with parameters: {', '.join(self.known)}"
            if self.known
            else f"no group of {source} has any"
        )
        super().__init__(
            f"no service of group {group} on {source} has declared parameters; {there}. "
            "Start the service first; --group is its name, or what it was given with --group"
        )


class LargeValueGoneError(ParameterError):
    """A mask or another large value of an old version has left the broker for want of room."""

    def __init__(self, name: str, number: int, what: str) -> None:
        self.name = name
        self.number = number
        super().__init__(f"{name} of version {number} ({what}) is not kept any more; set it again from its file")
