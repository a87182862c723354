"""What the broker process says of itself: that it is there, where it keeps things on disk, and what keeps it from it.

It lies in one hash on the server that is gone some seconds after the process. Producers and commands read from it why
they have to wait.
"""

from __future__ import annotations

from dataclasses import dataclass

from .protocol.client import Server
from .protocol.keys import BROKER

PRESENT_S = 5.0
"""How long the broker is taken to be there after it last said so [s]; it says so every second."""


_NUMBERS = ("n_spilled", "disk_free_bytes", "shared_taken_bytes", "shared_limit_bytes")
"""Fields that a broker need not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """A broker process.

    Attributes
    ----------
    host : str
        Where it runs.
    pid : int
        Its process id.
    folder : str
        Where it keeps segments; empty where it keeps none.
    flaw : str
        Why nothing goes to disk now; empty where nothing keeps it from it.
    n_spilled : int or None
        Messages that it has moved to disk; None where it does not say.
    spilling : bool
        Whether it does so now.
    disk_free_bytes : int or None
        Room on the disk of the folder [bytes]; None where it does not say.
    shared : str
        Who gives segments of shared memory to processes of its host (`beamstream.shared`); empty where nobody does.
    shared_flaw : str
        Why nobody does; empty where somebody does, or it is not said.
    shared_taken_bytes, shared_limit_bytes : int or None
        How much of shared memory holds payloads or is with producers, and how much of it there may be [bytes]; None
        where it is not said.
    fetch : str
        Who gives payloads to those who see neither its shared memory nor its folder (`beamstream.fetch`); empty where
        nobody does.
    """

    host: str
    pid: int
    folder: str
    flaw: str
    n_spilled: int | None = None
    spilling: bool = False
    disk_free_bytes: int | None = None
    shared: str = ""
    shared_flaw: str = ""
    shared_taken_bytes: int | None = None
    shared_limit_bytes: int | None = None
    fetch: str = ""


def announce(server: Server, presence: Presence) -> None:
    """Say that a broker is there; works while the server's memory is full, too."""
    fields: list[str | int] = ["host", presence.host, "pid", presence.pid]
    fields += ["folder", presence.folder, "flaw", presence.flaw, "spilling", int(presence.spilling)]
    fields += ["shared", presence.shared, "shared_flaw", presence.shared_flaw, "fetch", presence.fetch]
    for name in _NUMBERS:
        number = getattr(presence, name)
        fields += [] if number is None else [name, number]
    server.script("note", [BROKER], ["set", *fields])
    server.call("PEXPIRE", BROKER, int(PRESENT_S * 1000))


def withdraw(server: Server) -> None:
    """Say that the broker is gone."""
    server.call("DEL", BROKER)


def read_presence(server: Server) -> Presence | None:
    """Return the broker that looks after a server; None where there is none."""
    flat = server.call("HGETALL", BROKER)
    if not flat:
        return None
    fields = {key.decode(): value.decode("utf-8", "replace") for key, value in zip(flat[::2], flat[1::2], strict=True)}
    return Presence(
        host=fields.get("host", ""),
        pid=int(fields.get("pid", "0")),
        folder=fields.get("folder", ""),
        flaw=fields.get("flaw", ""),
        spilling=fields.get("spilling") == "1",
        shared=fields.get("shared", ""),
        shared_flaw=fields.get("shared_flaw", ""),
        fetch=fields.get("fetch", ""),
        **{name: _number(fields.get(name)) for name in _NUMBERS},
    )


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None


def why_nobody_keeps(server: Server) -> str:
    """Return in words why there is no broker that writes to disk; empty where there is one."""
    return _why_nobody(read_presence(server), server)


def why_nothing_is_kept(server: Server) -> str:
    """Return in words why nothing goes to disk now; empty where a broker is at it."""
    presence = read_presence(server)
    return _why_nobody(presence, server) or (presence.flaw if presence is not None else "")


def _why_nobody(presence: Presence | None, server: Server) -> str:
    if presence is None:
        return f"no broker looks after {server.shown_url}; start 'stream broker run --spill DIR'"
    if not presence.folder:
        return f"the broker on {presence.host} keeps nothing on disk; start it with --spill DIR"
    return ""
