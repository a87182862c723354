"""`stream doctor`: what stands in the way, in words, with what to do about it. Looks only, changes nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

import typer

from beamstream.presence import Presence, read_presence
from beamstream.protocol.client import Server
from beamstream.shared.reach import why_not_shared

from .options import Broker, Json
from .output import size_text

Verdict = Literal["good", "note", "bad"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    about : str
        What it is.
    verdict : "good", "note" or "bad"
        Nothing to do; works, and could be better; does not work.
    text : str
        How it stands, and what to do.
    """

    about: str
    verdict: Verdict
    text: str


def examine(server: Server) -> list[Finding]:
    """Look at a broker from here.

    Raises
    ------
    ServerError
        If the server cannot be asked.
    """
    version = server.check()
    presence = read_presence(server)
    return [
        Finding(about="server", verdict="good", text=f"{version} answers at {server.shown_url}"),
        _of_broker(presence, server),
        _of_disk(presence),
        _of_shared_memory(presence, why_not_shared(presence, server.shown_url)),
    ]


def _of_broker(presence: Presence | None, server: Server) -> Finding:
    if presence is None:
        text = f"nobody looks after {server.shown_url}: nothing is released or kept; start 'stream broker run'"
        return Finding(about="broker", verdict="bad", text=text)
    return Finding(about="broker", verdict="good", text=f"process {presence.pid} on {presence.host}")


def _of_disk(presence: Presence | None) -> Finding:
    if presence is None or not presence.folder:
        text = "what memory has no room for is dropped, and counted; 'stream broker run --spill DIR' keeps it"
        return Finding(about="disk", verdict="note", text=text)
    if presence.flaw:
        return Finding(about="disk", verdict="bad", text=f"{presence.folder} cannot be written: {presence.flaw}")
    free = "" if presence.disk_free_bytes is None else f", {size_text(presence.disk_free_bytes)} free"
    return Finding(about="disk", verdict="good", text=f"{presence.folder} on {presence.host}{free}")


def _of_shared_memory(presence: Presence | None, why_not: str) -> Finding:
    taken = ""
    if presence is not None and presence.shared and presence.shared_limit_bytes is not None:
        taken_bytes, limit_bytes = presence.shared_taken_bytes or 0, presence.shared_limit_bytes
        taken = f"{size_text(taken_bytes)} of {size_text(limit_bytes)} are taken"
    if why_not:
        text = f"not used from here: {why_not}" + (f" (there, {taken})" if taken else "")
        return Finding(about="shared_memory", verdict="note", text=text)
    return Finding(about="shared_memory", verdict="good", text=f"used by producers and readers here; {taken}")


def doctor(broker: Broker = None, as_json: Json = False) -> None:
    """Say what is wrong with the broker as seen from this host, and what to do about it.

    Looks at the server, at the broker process beside it, its disk, and
    shared memory. Ends with status 1 where something does not work.

    Example: stream doctor --broker redis://127.0.0.1:6379
    """
    server = Server(broker)
    findings = examine(server)
    server.close()
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in findings]))
    else:
        width = max(len(one.about) for one in findings)
        for one in findings:
            typer.echo(f"{one.verdict:<4}  {one.about.replace('_', ' '):<{width}}  {one.text}")
    raise typer.Exit(1 if any(one.verdict == "bad" for one in findings) else 0)
