"""Parameters of a running service: applied between frames, and stamped into what is published after that.

Policy: the broker is asked for the number of the newest version at most twice a second, never for each frame. All
processes of a group use the same version within that time. Values that a processor refuses leave it with those that it
has; whoever set them is told. A lost server changes nothing, and one that was started anew is given the values back.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from beamstream.address import Address, SourceAddress
from beamstream.errors import BeamstreamError, ServerError, UsageError
from beamstream.parameters import Tunable, Value
from beamstream.parameters.changes import announce_parameters
from beamstream.parameters.store import ParameterStore
from beamstream.parameters.versions import Version, described
from beamstream.protocol.client import Server

log = logging.getLogger(__name__)

LOOK_EVERY_S = 0.5
"""How often a process asks for the newest version [s]: people see a change at once, the server does not notice."""

STAMP = "parameters"
"""The metadata of a result has the number of the version under this name."""

VALUES = "parameter_values"
"""The first result of a version has its values under this name."""


class Tuning:
    """What a service uses of the parameters that can be changed while it runs.

    Parameters
    ----------
    tunable : Tunable
        Whose parameters they are.
    server : Server
        Where they are kept.
    source : SourceAddress
        The data source that is worked on.
    group : str
        The service's consumer group.

    Attributes
    ----------
    n_changes, n_refused : int
        How many versions were taken over while running, and how many could not be.
    """

    def __init__(self, tunable: Tunable, server: Server, source: SourceAddress, group: str) -> None:
        self._tunable = tunable
        self._store = ParameterStore(server, source, group)
        self._version: Version | None = None
        self._values: Mapping[str, Value] = {}
        self._seen = 0
        self._look_at = 0.0
        self._told: set[str] = set()
        self.n_changes = 0
        self.n_refused = 0

    @property
    def number(self) -> int:
        """The number of the version in use; 0 before `begin`."""
        return 0 if self._version is None else self._version.number

    def begin(self) -> None:
        """Say what the options are, and take over what is to be used: before the first frame.

        Raises
        ------
        UsageError
            If the processor can use no version that is kept.
        ServerUnavailableError, ServerRefusedError
            If the broker cannot be used; to be called again.
        """
        version, lost = announce_parameters(self._store, self._tunable.parameters)
        for reason in lost:
            log.warning("parameters: set by hand, and not possible any more: %s", reason)
        error = self._use(version)
        while error is not None:
            log.error("parameters: version %d cannot be used: %s", version.number, error)
            before = self._store.current()
            if before is None:
                raise UsageError(f"no version of the parameters can be used; the newest one: {error}") from error
            version, error = before, self._use(before)
        self._seen = self._store.newest_number()
        self._say_what_is_set(version)

    def look(self) -> bool:
        """Take over a new version, if there is one; True where that is so. To be called between frames, cheap."""
        now = time.monotonic()
        if now < self._look_at or self._version is None:
            return False
        self._look_at = now + LOOK_EVERY_S
        try:
            number = self._store.newest_number()
            if number == self._seen:
                return False
            if number < self._version.number:
                return self._put_back(number)
            return self._take_over(number)
        except BeamstreamError as error:
            log.log(
                logging.DEBUG if isinstance(error, ServerError) else logging.ERROR, "parameters: not read: %s", error
            )
            return False

    def stamp(self, metadata: Mapping[str, Any], output: str = "") -> Mapping[str, Any]:
        """Return the metadata of a result with the version that it was made with.

        The first result of a version in each output has the values, too, so that a stream says by itself what it was
        made with.

        Parameters
        ----------
        metadata : mapping
            What the processor says about the result.
        output : str
            The derived stream's address.
        """
        if self._version is None:
            return metadata
        stamped = {**metadata, STAMP: self._version.number}
        if output not in self._told:
            self._told.add(output)
            stamped[VALUES] = self._version.described
        return stamped

    def take_back(self, output: str) -> None:
        """Say that the last stamped result was not sent: the next one has the values."""
        self._told.discard(output)

    def describe(self, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the metadata of a derived stream with what it is made with at its beginning."""
        if self._version is None:
            return metadata
        begun_with = {
            "source": str(self._store.source),
            "group": self._store.group,
            "version": self._version.number,
            "values": self._version.described,
        }
        return {**metadata, STAMP: begun_with}

    # --- taking over -------------------------------------------------------------------------------------------

    def _take_over(self, newest: int) -> bool:
        """Use the newest version that can be; those in between are passed over."""
        before = self._version
        for number in range(newest, self.number, -1):
            version = self._store.version(number)
            if version is None:
                break
            error = self._use(version)
            if error is None:
                self._say_change(before, version)
                self.n_changes += 1
                break
            self.n_refused += 1
            log.error("parameters: version %d is refused, going on with %d: %s", number, self.number, error)
        self._seen = newest
        return self._version is not before

    def _use(self, version: Version) -> Exception | None:
        """Hand a version's values to the processor; return why that is not possible."""
        parameters = self._tunable.parameters
        try:
            values = self._store.load(version)
            # In the middle of an update another process may have declared other parameters.
            known = {name: value for name, value in values.items() if name in parameters}
            complete = parameters.complete({**parameters.initial, **known})
            self._tunable.tune(complete)
        except ServerError:
            raise
        except Exception as error:  # noqa: BLE001 (user code: the values before are used on)
            self._store.note_refused(version.number, f"{type(error).__name__}: {error}")
            return error
        self._version, self._values = version, complete
        self._told.clear()
        self._store.note_used(version.number)
        return None

    def _put_back(self, newest: int) -> bool:
        """Give the values in use to a server that has lost them; the results from then on have a new number."""
        version = self._version
        if version is None:
            return False
        log.warning("parameters: the server was started anew without them; putting back version %d", version.number)
        parameters = self._tunable.parameters
        changed = {name: self._values[name] for name in version.changed if name in self._values}
        made = self._store.append(
            parameters.initial,
            changed,
            why="put back",
            after=newest,
            number=version.number + 1,
            declared=parameters,
        )
        return made is not None and self._take_over(made.number)

    def _say_what_is_set(self, version: Version) -> None:
        for name, value in version.changed.items():
            log.info(
                "parameters: %s=%s was set by hand and is used in place of %s from the options; "
                "'stream parameters set %s --group %s --reset %s' goes back to it",
                name,
                described(value),
                described(version.initial.get(name)),
                self._store.source,
                self._store.group,
                name,
            )

    @staticmethod
    def _say_change(before: Version | None, after: Version) -> None:
        old = {} if before is None else before.described
        new = after.described
        changes = ", ".join(f"{name} {old.get(name)} to {new[name]}" for name in new if old.get(name) != new[name])
        log.info("parameters: version %d by %s (%s): %s", after.number, after.who, after.why, changes or "the same")


def find_tuning(handler: object, server: Server, where: Address | SourceAddress, group: str) -> Tuning | None:
    """Return what looks after the parameters of a handler, or of the processor in it; None where it has none."""
    source = where.source_address if isinstance(where, Address) else where
    for candidate in (handler, getattr(handler, "processor", None)):
        if isinstance(candidate, Tunable) and len(candidate.parameters):
            return Tuning(candidate, server, source, group)
    return None
