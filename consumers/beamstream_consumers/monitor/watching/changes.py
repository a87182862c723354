"""Changes of state between two looks at the numbers, in words for the log. Pure: numbers in, entries out.

What the beamline would want to know the next morning: a source that fell silent or came back, a group
that appeared, vanished or lags, spilling, drops, a server that was lost. What grows is said every ten seconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

Level = Literal["info", "warning", "error"]
Entry = tuple[Level, str]

LAGS_S, LAGS_NO_MORE_S = 5.0, 1.0
"""From which lag on a group is said to lag, and below which no more [s]."""

SAY_EVERY_S = 10.0
"""How often a number that goes on growing is said [s]."""

_DROPS: tuple[tuple[str, Level, str], ...] = (
    ("n_dropped", "error", "{n} messages left memory before everybody had read them"),
    ("detector_dropped", "error", "the detector itself dropped {n} images"),
    ("n_missing", "warning", "{n} messages never came"),
    ("n_expired", "info", "{n} messages became older than the stream is kept"),
)


class Changes:
    """Remembers the numbers before."""

    def __init__(self) -> None:
        self._before: Mapping[str, Any] | None = None
        self._lagging: set[tuple[str, str, str]] = set()
        self._growing: dict[tuple[str, str], tuple[float, int]] = {}

    def between(self, numbers: Mapping[str, Any]) -> list[Entry]:
        """Return what has changed since the numbers before; nothing the first time, but what is wrong."""
        before, self._before = self._before, numbers
        entries = list(self._of_buffer(before["buffer"] if before else None, numbers["buffer"]))
        for name, after in numbers["sources"].items():
            entries += self._of_source(name, before["sources"].get(name) if before else None, after, numbers["time_s"])
        if numbers["buffer"]["reachable"]:
            entries += self._of_groups(before["groups"] if before else None, numbers["groups"])
        return entries

    # --- the buffer ----------------------------------------------------------------------------------------------

    def _of_buffer(self, before: Mapping[str, Any] | None, after: Mapping[str, Any]) -> Iterator[Entry]:
        was_reachable = before is None or before["reachable"]
        if not after["reachable"]:
            if was_reachable:
                yield "error", f"the server is lost: {after['flaw']}"
            return
        if not was_reachable:
            yield "info", "the server answers again"
        flaw = before["flaw"] if before is not None and before["reachable"] else ""
        if after["flaw"] != flaw:
            yield (
                ("warning", f"nothing goes to disk: {after['flaw']}")
                if after["flaw"]
                else ("info", "the disk takes data again")
            )
        spilling = before["spilling"] if before is not None else False
        if after["spilling"] and not spilling:
            yield "info", "messages are moved to disk"
        elif spilling and not after["spilling"]:
            yield "info", "no more messages are moved to disk"

    # --- sources -------------------------------------------------------------------------------------------------

    def _of_source(
        self, name: str, before: Mapping[str, Any] | None, after: Mapping[str, Any], now_s: float
    ) -> Iterator[Entry]:
        stream = after["stream"]
        same = before is not None and before["stream"] == stream
        life = before["life"] if before is not None and same else None
        if after["life"] != life and same:
            age = "" if after["age_s"] is None else f", its newest message is {after['age_s']:.0f} s old"
            if after["life"] in ("delayed", "silent"):
                yield "warning", f"{name}/{stream} is {after['life']}{age}"
            elif after["life"] == "live" and life in ("delayed", "silent"):
                yield "info", f"{name}/{stream} is live again"
        for field, level, text in _DROPS:
            n_before = (before[field] or 0) if before is not None and same else 0
            n = after[field] or 0
            yield from self._of_growth((name, field), n_before, n, now_s, level, f"{name}/{stream}: {text}")

    def _of_growth(
        self, key: tuple[str, str], before: int, now: int, now_s: float, level: Level, text: str
    ) -> Iterator[Entry]:
        said_s, said_n = self._growing.get(key, (-SAY_EVERY_S, 0))
        if now < said_n or (before == 0 and now == 0):
            said_n = 0  # another run
        if now > said_n and now_s - said_s >= SAY_EVERY_S:
            self._growing[key] = (now_s, now)
            yield level, text.format(n=now)
        elif now < said_n or now == 0:
            self._growing.pop(key, None)

    # --- groups --------------------------------------------------------------------------------------------------

    def _of_groups(self, before: list[Mapping[str, Any]] | None, after: list[Mapping[str, Any]]) -> Iterator[Entry]:
        old = {_key(group): group for group in before or []}
        new = {_key(group): group for group in after}
        for key, group in new.items():
            where = f"{group['source']}/{group['stream']}"
            earlier = old.get(key)
            if before is not None and group["members"] and not (earlier and earlier["members"]):
                yield "info", f"group {group['name']} reads {where}"
            elif earlier and earlier["members"] and not group["members"]:
                yield "warning" if group["lag_messages"] else "info", f"group {group['name']} of {where} has no members"
            if earlier and group["dead"] > earlier["dead"]:
                yield "error", f"group {group['name']} of {where} has given up {group['dead']} messages"
            yield from self._of_lag(key, group, where)
        self._lagging &= set(new)

    def _of_lag(self, key: tuple[str, str, str], group: Mapping[str, Any], where: str) -> Iterator[Entry]:
        if key not in self._lagging and group["lag_s"] > LAGS_S and group["lag_messages"]:
            self._lagging.add(key)
            behind = f"{group['lag_messages']} messages, {group['lag_s']:.0f} s"
            yield "warning", f"group {group['name']} lags behind {where}: {behind}"
        elif key in self._lagging and group["lag_s"] < LAGS_NO_MORE_S:
            self._lagging.discard(key)
            yield "info", f"group {group['name']} keeps up with {where} again"


def _key(group: Mapping[str, Any]) -> tuple[str, str, str]:
    return group["source"], group["stream"], group["name"]
