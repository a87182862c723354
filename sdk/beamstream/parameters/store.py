"""The parameters of a group's services on the broker: all versions, the newest of which its processes use.

One hash for each data source and group. A version is appended by a script, after the one that it was made from and no
other, so that two changes at a time cannot undo one another. A process asks for the newest number with one small call.
"""

from __future__ import annotations

import getpass
import os
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from beamstream.address import SourceAddress
from beamstream.protocol.client import Server
from beamstream.protocol.keys import parameters_of, tunable_groups_of

from .declaration import Parameters
from .errors import LargeValueGoneError, ParametersNotFoundError
from .parameter import Value
from .versions import (
    Large,
    Stored,
    Version,
    decode_declaration,
    decode_version,
    encode_declaration,
    encode_version,
    load_value,
    store_values,
)

MAX_VERSIONS = 1000
"""Versions that are kept; the oldest leave first."""

MAX_KEPT_BYTES = 64 << 20
"""What large values of all versions may have together [bytes]; those that were used longest ago leave first."""

KEPT_S = 30 * 86400.0
"""How long parameters are kept after a service began to use them, or somebody changed them [s]."""

PAGE = 100
"""Versions read with one call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """What became of a version.

    Attributes
    ----------
    n_used : int
        How many processes have taken it over, those that began with it included.
    refusal : str
        Who could not use it, and why; empty where nobody said so.
    """

    n_used: int
    refusal: str


class ParameterStore:
    """The parameters of the services of one group on one data source.

    Parameters
    ----------
    server : Server
        Where.
    source : SourceAddress
        The data source that they work on.
    group : str
        Their consumer group.
    """

    def __init__(self, server: Server, source: SourceAddress, group: str) -> None:
        self._server = server
        self.source = source
        self.group = group
        self._key = parameters_of(source, group)

    # --- reading -----------------------------------------------------------------------------------------------

    def newest_number(self) -> int:
        """Return the number of the newest version; 0 where there is none."""
        return int(self._server.call("HGET", self._key, "version") or 0)

    def declared(self) -> Parameters:
        """Return what the service that began last has declared.

        Raises
        ------
        ParametersNotFoundError
            If none ever has; groups that have are named.
        """
        packed = self._server.call("HGET", self._key, "declared")
        if packed is None:
            names = sorted(name.decode("utf-8", "replace") for name in self._groups())
            raise ParametersNotFoundError(str(self.source), self.group, [name for name in names if name != self.group])
        return decode_declaration(packed)

    def _groups(self) -> Iterable[bytes]:
        groups: Iterable[bytes] = self._server.call("SMEMBERS", tunable_groups_of(self.source))
        return groups

    def version(self, number: int) -> Version | None:
        """Return one version; None where it is not kept."""
        packed = self._server.call("HGET", self._key, f"v{number}")
        return None if packed is None else decode_version(number, packed)

    def current(self) -> Version | None:
        """Return the newest version that nobody has refused; None where there is none."""
        for number in range(self.newest_number(), 0, -1):
            packed, refusal = self._server.call("HMGET", self._key, f"v{number}", f"r{number}")
            if packed is None:
                return None
            if refusal is None:
                return decode_version(number, packed)
        return None

    def versions(self) -> list[tuple[Version, Fate]]:
        """Return all versions that are kept, oldest first, and what became of them."""
        newest, oldest = self._server.call("HMGET", self._key, "version", "oldest")
        numbers = range(int(oldest or 1), int(newest or 0) + 1)
        found: list[tuple[Version, Fate]] = []
        for start in range(0, len(numbers), PAGE):
            found += self._page(numbers[start : start + PAGE])
        return found

    def _page(self, numbers: Sequence[int]) -> list[tuple[Version, Fate]]:
        fields = [f"{kind}{number}" for number in numbers for kind in "var"]
        answers = iter(self._server.call("HMGET", self._key, *fields))
        return [
            (decode_version(number, packed), _fate(n_used, refusal))
            for number, packed, n_used, refusal in zip(numbers, answers, answers, answers, strict=True)
            if packed is not None
        ]

    def fate(self, number: int) -> Fate:
        """Return what became of a version up to now."""
        return _fate(*self._server.call("HMGET", self._key, f"a{number}", f"r{number}"))

    def load(self, version: Version) -> dict[str, Value]:
        """Return the values of a version, the large ones fetched.

        Raises
        ------
        LargeValueGoneError
            If one of them is not kept any more.
        """
        return self.load_values(version.number, version.values)

    def load_values(self, number: int, stored: Mapping[str, Stored]) -> dict[str, Value]:
        """Return some values of a version, as `load` does."""
        return {name: self._value(number, name, value) for name, value in stored.items()}

    def _value(self, number: int, name: str, stored: Stored) -> Value:
        if not isinstance(stored, Large):
            return stored
        packed = self._server.call("HGET", self._key, f"x{stored.checksum}")
        if packed is None:
            raise LargeValueGoneError(name, number, stored.what)
        return load_value(packed)

    # --- writing -----------------------------------------------------------------------------------------------

    def append(
        self,
        initial: Mapping[str, Value],
        changed: Mapping[str, Value],
        *,
        why: str,
        after: int,
        number: int | None = None,
        declared: Parameters | None = None,
    ) -> Version | None:
        """Append a version; None where the newest one is not `after` any more: somebody else was quicker.

        Parameters
        ----------
        initial, changed : mapping
            What the options say, and what was set by hand.
        why : str
            See `Version`.
        after : int
            The number of the newest version that this one was made from.
        number : int, optional
            Its own, where it is not the next one.
        declared : Parameters, optional
            Keep this declaration with it.

        Raises
        ------
        ParameterRangeError
            If it is too large to be kept.
        """
        stored_initial, large = store_values(initial)
        stored_changed, more = store_values(changed)
        version = Version(
            number=number or after + 1,
            time_ns=time.time_ns(),
            who=who_am_i(),
            why=why,
            initial=stored_initial,
            changed=stored_changed,
        )
        appended = self._server.script(
            "tune",
            [self._key, tunable_groups_of(self.source)],
            [
                self.group,
                after,
                version.number,
                encode_version(version),
                b"" if declared is None else encode_declaration(declared),
                MAX_VERSIONS,
                MAX_KEPT_BYTES,
                int(KEPT_S * 1000),
                *(piece for pair in (large | more).items() for piece in pair),
            ],
        )
        return version if appended else None

    def declare(self, parameters: Parameters) -> None:
        """Keep a declaration, and the parameters for another while."""
        self._note("set", "declared", encode_declaration(parameters))
        for key in (self._key, tunable_groups_of(self.source)):
            self._server.call("PEXPIRE", key, int(KEPT_S * 1000))

    def note_used(self, number: int) -> None:
        """Say that one more process uses a version."""
        self._note("add", f"a{number}", 1)

    def note_refused(self, number: int, why: str) -> None:
        """Say that a version cannot be used."""
        self._note("set", f"r{number}", f"{who_am_i()}: {why}"[:2000])

    def _note(self, how: str, name: str, value: bytes | str | int) -> None:
        self._server.script("note", [self._key], [how, name, value])


def who_am_i() -> str:
    """Return ``user@host``."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # a user id without a name, as in containers
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"


def _fate(n_used: bytes | None, refusal: bytes | None) -> Fate:
    return Fate(n_used=int(n_used or 0), refusal=(refusal or b"").decode("utf-8", "replace"))
