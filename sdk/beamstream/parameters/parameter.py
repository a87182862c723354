"""One parameter: name, type, default, bounds, unit and a word of help; and what values it takes. Pure.

Checking is strict: nothing is rounded, cut or guessed; only a whole number may stand where a float is wanted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, Literal, Union

from .errors import ParameterRangeError, ParameterTypeError

if TYPE_CHECKING:
    import numpy.typing as npt

Kind = Literal["bool", "int", "float", "str", "array"]

Value = Union[bool, int, float, str, None, "npt.NDArray[Any]"]

MAX_TEXT_BYTES = 4 << 20
"""Longest text [bytes]: the geometry of a detector with hundreds of panels has about 0.2 MB."""

MAX_ARRAY_BYTES = 256 << 20
"""Largest array before it is packed [bytes]: a flatfield of a 16M detector in double precision has 144 MB."""

MAX_INTEGER = 2**63 - 1
"""Largest integer that can be kept."""

NONE = "none"
"""What stands for no value in texts and files."""

BOUNDS = "beamstream.bounds"
"""Where the metadata of a dataclass field has its bounds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What a value has to keep to, and what it means: ``Annotated[float, Bounds(minimum=0, unit="photons")]``.

    Attributes
    ----------
    minimum, maximum : number or None
        The least and the greatest value, both allowed.
    unit : str
        Its unit, e.g. ``photons``; empty where it has none.
    help : str
        One line for people.
    choices : tuple of str
        Of texts, the only ones that are allowed; empty: any.
    """

    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    help: str = ""
    choices: tuple[str, ...] = ()


def tunable(
    default: Any,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    unit: str = "",
    help: str = "",  # noqa: A002 (the word that typer and argparse use)
    choices: Iterable[str] = (),
) -> Any:
    """Return a field of a dataclass with its bounds.

    Examples
    --------
    >>> from beamstream.parameters import Parameters
    >>> @dataclass(frozen=True, kw_only=True)
    ... class Settings:
    ...     threshold: float = tunable(8.0, minimum=0, unit="photons", help="Least intensity of a peak.")
    >>> Parameters.of(Settings)["threshold"].bounds_text
    'at least 0 photons'
    """
    bounds = Bounds(minimum=minimum, maximum=maximum, unit=unit, help=help, choices=tuple(choices))
    return dataclasses.field(default=default, metadata={BOUNDS: bounds})


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One parameter.

    Attributes
    ----------
    name : str
        Its name, that of a field or an argument.
    kind : {"bool", "int", "float", "str", "array"}
        What values it takes.
    default : value
        What it is where nobody says anything; of an array None.
    optional : bool
        Whether it may be None.
    bounds : Bounds
        Limits, unit and help.
    """

    name: str
    kind: Kind
    default: Value
    optional: bool = False
    bounds: Bounds = Bounds()

    @property
    def bounds_text(self) -> str:
        """What values may be, for people, e.g. ``from 0 to 65535 photons``; empty where there are no bounds."""
        low, high, unit = self.bounds.minimum, self.bounds.maximum, self.bounds.unit
        if self.bounds.choices:
            return f"one of {', '.join(self.bounds.choices)}"
        if low is None and high is None:
            return ""
        text = f"from {low:g} to {high:g}" if None not in (low, high) else _one_sided(low, high)
        return f"{text} {unit}".rstrip()

    @property
    def wanted(self) -> str:
        """What it takes, for people, e.g. ``int or none``."""
        return f"{self.kind} or {NONE}" if self.optional else self.kind

    def check(self, value: object) -> Value:
        """Return the value as its type, if it is one.

        Raises
        ------
        ParameterTypeError
            If it is of another type.
        ParameterRangeError
            If it is out of bounds, or too large to be kept.
        """
        if self.optional and (value is None or (isinstance(value, str) and value == NONE)):
            return None
        checked = _as_kind(self.kind, value)
        if checked is None:
            raise ParameterTypeError(self.name, shown(value), self.wanted)
        if too_much := _too_large(checked):
            raise ParameterRangeError(self.name, shown(value), too_much)
        if not self._is_within(checked):
            unit = f" {self.bounds.unit}" if self.bounds.unit else ""
            raise ParameterRangeError(self.name, f"{shown(value)}{unit}", self.bounds_text)
        return checked

    def _is_within(self, value: Value) -> bool:
        low, high, choices = self.bounds.minimum, self.bounds.maximum, self.bounds.choices
        if isinstance(value, str):
            return not choices or value in choices
        if isinstance(value, bool) or not isinstance(value, int | float):
            return True
        return (low is None or value >= low) and (high is None or value <= high)


def shown(value: object, most: int = 60) -> str:
    """Write a value for people, long ones in short, e.g. ``array uint8 1062x1028``."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"array {value.dtype} {'x'.join(map(str, value.shape))}"
    if isinstance(value, bool) or value is None:
        return NONE if value is None else str(value).lower()
    text = value if isinstance(value, str) else repr(value)
    if len(text) <= most and "\n" not in text:
        return text
    return f"{text[: most // 2].splitlines()[0] if text else ''}… ({len(text)} characters)"


def _as_kind(kind: Kind, value: object) -> Value:
    """Return a value as a plain one of this kind, None where it is of another."""
    if kind == "array":
        return value if hasattr(value, "shape") and hasattr(value, "dtype") and value.dtype.kind in "biuf" else None  # type: ignore[return-value]
    if kind == "str":
        return value if isinstance(value, str) else None
    if hasattr(value, "item") and getattr(value, "ndim", 1) == 0:
        value = value.item()  # a scalar of NumPy's
    if kind == "bool" or isinstance(value, bool):
        return value if kind == "bool" and isinstance(value, bool) else None
    if kind == "int":
        return int(value) if isinstance(value, Integral) else None
    return float(value) if isinstance(value, Real) and not math.isnan(value) else None


def _too_large(value: Value) -> str:
    """Say what keeps a value from being kept; empty where nothing does."""
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return f"at most {MAX_INTEGER}"
    if isinstance(value, str) and len(value.encode("utf-8", "replace")) > MAX_TEXT_BYTES:
        return f"at most {MAX_TEXT_BYTES} bytes long, and has {len(value.encode('utf-8', 'replace'))}"
    n_bytes = getattr(value, "nbytes", 0)
    return f"at most {MAX_ARRAY_BYTES} bytes, and has {n_bytes}" if n_bytes > MAX_ARRAY_BYTES else ""


def _one_sided(low: float | None, high: float | None) -> str:
    return f"at least {low:g}" if low is not None else f"at most {high:g}"
