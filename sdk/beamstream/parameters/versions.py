"""Versions of parameters as they are kept on the broker: who changed what, and when. Pure.

A version is made of what the options of the service say, and of what was set by hand; the latter wins. Large values
(masks, geometries) are kept once, under their checksum; what a version says of them is small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import msgpack
import xxhash

from beamstream.errors import BeamstreamError, EntryError
from beamstream.protocol import decode_metadata, encode_metadata

from .declaration import Parameters
from .errors import ParameterRangeError
from .parameter import Bounds, Parameter, Value, shown

LARGE_FROM_BYTES = 512
"""From this size on a text, like every array, is kept apart [bytes]."""

MAX_LARGE_BYTES = 32 << 20
"""What the large values of one version may have together, packed [bytes]: a mask of 16M pixels packs to 0.1 to 2 MB."""

WHERE: Final = "parameters"


@dataclass(frozen=True, slots=True, kw_only=True)
class Large:
    """A value that is kept apart.

    Attributes
    ----------
    checksum : str
        XXH3-64 of the packed value, as 16 hexadecimal digits.
    size_bytes : int
        Its packed size [bytes].
    what : str
        What it is, for people, e.g. ``array uint8 1062x1028``.
    """

    checksum: str
    size_bytes: int
    what: str


Stored = Value | Large


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of the parameters of a group's services.

    Attributes
    ----------
    number : int
        From 1; what results are stamped with.
    time_ns : int
        When it was made [ns since 1970].
    who : str
        Who made it, ``user@host``.
    why : str
        ``started``: the options of a service said so; ``set``, ``reset``: by hand; ``put back``: the server had lost
        it.
    initial : mapping
        What the options say, for each parameter.
    changed : mapping
        What was set by hand, and is used in their place.
    """

    number: int
    time_ns: int
    who: str
    why: str
    initial: Mapping[str, Stored] = field(default_factory=dict)
    changed: Mapping[str, Stored] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Stored]:
        """What is used, for each parameter."""
        return {**self.initial, **self.changed}

    @property
    def described(self) -> dict[str, bool | int | float | str | None]:
        """What is used, large values by what they are: fit for JSON and for metadata."""
        return {name: described(value) for name, value in self.values.items()}


def described(value: Stored) -> bool | int | float | str | None:
    """Return a small value as it is, and of a large one what it is."""
    if isinstance(value, Large):
        return f"{value.what} xxh3 {value.checksum}"
    return value if isinstance(value, bool | int | float | str | None) else shown(value)


def store_values(values: Mapping[str, Value]) -> tuple[dict[str, Stored], dict[str, bytes]]:
    """Return values as a version has them, and the large ones among them, packed, by checksum.

    Raises
    ------
    ParameterRangeError
        If the large ones have more than `MAX_LARGE_BYTES` together.
    """
    stored: dict[str, Stored] = {}
    packed: dict[str, bytes] = {}
    for name, value in values.items():
        if isinstance(value, bool | int | float | None) or (isinstance(value, str) and len(value) < LARGE_FROM_BYTES):
            stored[name] = value
            continue
        data = encode_metadata({"value": value})
        checksum = f"{xxhash.xxh3_64_intdigest(data):016x}"
        packed[checksum] = data
        stored[name] = Large(checksum=checksum, size_bytes=len(data), what=shown(value))
        n_bytes = sum(map(len, packed.values()))
        if n_bytes > MAX_LARGE_BYTES:
            limit = f"at most {MAX_LARGE_BYTES} bytes with the other large values, packed, and that are {n_bytes}"
            raise ParameterRangeError(name, shown(value), limit)
    return stored, packed


def load_value(packed: bytes) -> Value:
    """Read a large value; the inverse of what `store_values` packs.

    Raises
    ------
    EntryError
        If it is none.
    """
    value: Value = decode_metadata(packed).get("value")
    return value


# --- records -----------------------------------------------------------------------------------------------------


def encode_version(version: Version) -> bytes:
    """Pack a version; its number is that of the field it is kept in."""
    record = {
        "t": version.time_ns,
        "w": version.who,
        "y": version.why,
        "i": _plain(version.initial),
        "c": _plain(version.changed),
    }
    packed: bytes = msgpack.packb(record)
    return packed


def decode_version(number: int, packed: bytes) -> Version:
    """Read a version; the inverse of `encode_version`.

    Raises
    ------
    EntryError
        If it is none.
    """
    try:
        record = msgpack.unpackb(packed)
        return Version(
            number=number,
            time_ns=int(record["t"]),
            who=str(record["w"]),
            why=str(record["y"]),
            initial=_stored(record["i"]),
            changed=_stored(record["c"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, msgpack.exceptions.UnpackException) as error:
        raise EntryError(f"version {number} of {WHERE}", repr(error)) from error


def encode_declaration(parameters: Parameters) -> bytes:
    """Pack what a service has declared."""
    declared = [
        {"name": one.name, "kind": one.kind, "default": one.default, "optional": one.optional, **asdict(one.bounds)}
        for one in parameters.values()
    ]
    packed: bytes = msgpack.packb(declared)
    return packed


def decode_declaration(packed: bytes) -> Parameters:
    """Read what a service has declared; the inverse of `encode_declaration`. Unknown keys are ignored.

    Raises
    ------
    EntryError
        If it is no declaration.
    """
    try:
        return Parameters(_parameter(one) for one in msgpack.unpackb(packed))
    except (ValueError, TypeError, KeyError, msgpack.exceptions.UnpackException, BeamstreamError) as error:
        raise EntryError(f"declaration of {WHERE}", repr(error)) from error


def _parameter(one: Mapping[str, Any]) -> Parameter:
    bounds = Bounds(
        minimum=one["minimum"],
        maximum=one["maximum"],
        unit=one["unit"],
        help=one["help"],
        choices=tuple(one["choices"]),
    )
    return Parameter(
        name=one["name"], kind=one["kind"], default=one["default"], optional=one["optional"], bounds=bounds
    )


def _plain(values: Mapping[str, Stored]) -> dict[str, Any]:
    return {name: asdict(value) if isinstance(value, Large) else value for name, value in values.items()}


def _stored(values: Mapping[str, Any]) -> dict[str, Stored]:
    return {name: Large(**value) if isinstance(value, Mapping) else value for name, value in values.items()}
