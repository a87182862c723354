"""How parameters change: by hand, and by a service that begins with other options.

What was set by hand wins over the options of the service until it is reset, so that a restart does not undo it. What a
service begins with is a version like any other, so that every result can be stamped with one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from beamstream.errors import BeamstreamError

from .declaration import Parameters
from .parameter import Value
from .store import ParameterStore
from .versions import Version, store_values


def change_parameters(store: ParameterStore, values: Mapping[str, object], reset: Iterable[str] = ()) -> Version:
    """Set parameters by hand, for all processes of the group, from their next look on.

    Parameters
    ----------
    store : ParameterStore
        Whose.
    values : mapping
        What is set, checked against what the service has declared; what was set before and is not named stays.
    reset : iterable of str
        What goes back to what the options of the service say.

    Returns
    -------
    Version
        The new one; the current one where that has these values already.

    Raises
    ------
    ParametersNotFoundError
        If no service has declared any.
    ParameterError
        If a parameter is not known, or a value cannot be its.
    """
    while True:
        newest = store.newest_number()
        declared = store.declared()
        current = store.current()
        checked = declared.check(values)
        dropped = {declared[name].name for name in reset}
        before = {} if current is None else store.load_values(current.number, current.changed)
        changed = {name: value for name, value in before.items() if name in declared and name not in dropped} | checked
        if current is not None and store_values(changed)[0] == current.changed:
            return current
        initial = declared.initial if current is None else store.load_values(current.number, current.initial)
        why = "set" if checked else "reset"
        version = store.append(initial, changed, why=why, after=newest)
        if version is not None:
            return version


def announce_parameters(store: ParameterStore, parameters: Parameters) -> tuple[Version, list[str]]:
    """Say what the options of a service are; what was set by hand stays.

    Parameters
    ----------
    store : ParameterStore
        Where.
    parameters : Parameters
        What the service declares, and begins with.

    Returns
    -------
    Version, list of str
        What is to be used, and in words what was set by hand and cannot be kept.
    """
    while True:
        newest = store.newest_number()
        current = store.current()
        changed, lost = ({}, []) if current is None else _still_possible(store, current, parameters)
        if current is not None and _is_same(current, parameters.initial, changed):
            store.declare(parameters)
            return current, lost
        version = store.append(parameters.initial, changed, why="started", after=newest, declared=parameters)
        if version is not None:
            return version, lost


def _still_possible(
    store: ParameterStore, current: Version, parameters: Parameters
) -> tuple[dict[str, Value], list[str]]:
    """Return what was set by hand and still can be, and in words what cannot."""
    changed: dict[str, Value] = {}
    lost: list[str] = []
    for name in current.changed:
        try:
            changed |= parameters.check(store.load_values(current.number, {name: current.changed[name]}))
        except BeamstreamError as error:
            lost.append(str(error))
    return changed, lost


def _is_same(version: Version, initial: Mapping[str, Value], changed: Mapping[str, Value]) -> bool:
    return store_values(initial)[0] == version.initial and store_values(changed)[0] == version.changed
