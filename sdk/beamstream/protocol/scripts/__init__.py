"""The server-side scripts: Lua files beside this one, each with its key schema in its head.

A script is refused as a whole while the server's memory is full, before its first write, so that publishing can wait
and come again; those that free memory or keep readers going are marked to run all the same.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

_ALLOW_OOM = "#!lua flags=allow-oom\n"
_PUBLISHING = frozenset({"publish", "finish"})
_OF_GROUPS = frozenset({"join", "claim", "hand_out", "give_back", "touch", "leave", "reinject", "seek", "drop_group"})
_SHARED = {  # what is prepended, in this order
    "plain": frozenset({"publish"}),
    "entries": _PUBLISHING | _OF_GROUPS | {"expire", "forget", "newest", "orphans", "release", "snapshot"},
    "sequence": _PUBLISHING,
    "datasets": _PUBLISHING,
    "group": _OF_GROUPS,
}
_WHEN_FULL = _OF_GROUPS | {
    "finish",
    "release",
    "newest",
    "note",
    "announce",
    "expire",
    "seen",
    "forget",
    "lease",
    "orphans",
    "tune",
}


@cache
def source(name: str) -> str:
    """Return the text of a script, e.g. ``publish``, with what it shares prepended."""
    folder = resources.files(__package__)
    parts = [_ALLOW_OOM] if name in _WHEN_FULL else []
    parts += [folder.joinpath(f"{shared}.lua").read_text("utf-8") for shared, users in _SHARED.items() if name in users]
    parts.append(folder.joinpath(f"{name}.lua").read_text("utf-8"))
    return "".join(parts)
