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
    pinned : str
        Who keeps shared memory from being used again, so that producers go without; empty where nobody does.
    owns_server : bool
        Whether the server ends with it. Where it does not, what is in shared memory can be lost while the index stays.
    """

    host: str
    pid: int
    folder: str
    flaw: str
    n_spilled: int | None = None
    spilling: bool = False
    disk_free_bytes: int | None = None
    shared: str = ""
    pinned: str = ""
    owns_server: bool = False


def announce(server: Server, presence: Presence) -> None:
    """Say that a broker is there; works while the server's memory is full, too."""
    fields: list[str | int] = ["host", presence.host, "pid", presence.pid]
    fields += ["folder", presence.folder, "flaw", presence.flaw, "spilling", int(presence.spilling)]
    fields += ["shared", presence.shared, "pinned", presence.pinned, "owns_server", int(presence.owns_server)]
    for name, number in (("n_spilled", presence.n_spilled), ("disk_free_bytes", presence.disk_free_bytes)):
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
        n_spilled=_number(fields.get("n_spilled")),
        spilling=fields.get("spilling") == "1",
        disk_free_bytes=_number(fields.get("disk_free_bytes")),
        shared=fields.get("shared", ""),
        pinned=fields.get("pinned", ""),
        owns_server=fields.get("owns_server") == "1",
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
