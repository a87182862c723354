"""Commands about the parameters of running services: show, set."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from beamstream.address import Address, SourceAddress, parse_where, split_url
from beamstream.errors import UsageError
from beamstream.parameters import Parameters, UnknownParameterError, parse_texts, read_files
from beamstream.parameters.changes import change_parameters
from beamstream.parameters.parameter import shown
from beamstream.parameters.store import Fate, ParameterStore
from beamstream.parameters.versions import Version, described
from beamstream.protocol.client import Server

from .options import Broker, GroupName, Json
from .output import print_rows

app = typer.Typer(
    no_args_is_help=True, help="Parameters of running services: thresholds, masks, geometries.", callback=lambda: None
)

Source = Annotated[
    str, typer.Argument(metavar="BEAMTIME/SOURCE", help="The data source that is worked on.", show_default=False)
]

LOOK_EVERY_S = 0.1
"""How often `set` looks whether a service has taken a version over [s]."""

HISTORY = 10
"""Versions that people are shown; JSON has all."""


def _locate(where: str, broker: str | None, group: str) -> ParameterStore:
    url, text = split_url(where)
    at = parse_where(text)
    source = at.source_address if isinstance(at, Address) else at
    return ParameterStore(Server(url or broker), source, group)


@app.command()
def show(where: Source, group: GroupName, broker: Broker = None, as_json: Json = False) -> None:
    """Show the parameters of a group's services: values, defaults, bounds, and who changed what.

    Example: stream parameters show 11012345/eiger --group peaks
    """
    store = _locate(where, broker, group)
    declared = store.declared()
    current = store.current()
    versions = store.versions()
    rows = [_row(name, declared, current) for name in declared]
    history = [_history_row(version, fate) for version, fate in versions]
    if as_json:
        number = 0 if current is None else current.number
        typer.echo(json.dumps({"version": number, "parameters": rows, "history": history}))
        return
    print_rows([_for_people(row) for row in rows], as_json=False, nothing="the service has declared no parameters")
    typer.echo()
    print_rows(_changes(versions)[-HISTORY:], as_json=False, nothing="no versions")


def _row(name: str, declared: Parameters, current: Version | None) -> dict[str, Any]:
    one = declared[name]
    values = {} if current is None else current.values
    return {
        "parameter": name,
        "value": described(values.get(name, one.default)),
        "set": current is not None and name in current.changed,
        "option": described({} if current is None else current.initial.get(name)) if current else None,
        "default": described(one.default),
        "type": one.wanted,
        "bounds": one.bounds_text,
        "unit": one.bounds.unit,
        "help": one.bounds.help,
    }


def _for_people(row: dict[str, Any]) -> dict[str, Any]:
    texts = {key: shown(row[key]) for key in ("value", "option", "default")}
    return {key: texts.get(key, row[key]) for key in row if key != "unit"}


def _history_row(version: Version, fate: Fate) -> dict[str, Any]:
    return {
        "version": version.number,
        "time": datetime.fromtimestamp(version.time_ns / 1e9, UTC).isoformat(timespec="seconds"),
        "who": version.who,
        "why": version.why,
        "n_used": fate.n_used,
        "refusal": fate.refusal,
        "values": version.described,
        "set": list(version.changed),
    }


def _changes(versions: list[tuple[Version, Fate]]) -> list[dict[str, Any]]:
    """Return the history as people want to read it: what each version changed."""
    rows = []
    before: dict[str, Any] = {}
    for version, fate in versions:
        row = _history_row(version, fate)
        values = row.pop("values")
        del row["set"]
        changed = {name: value for name, value in values.items() if name not in before or before[name] != value}
        row["refusal"] = fate.refusal.splitlines()[0] if fate.refusal else ""
        rows.append(row | {"changes": _pairs(changed) if before else "the options of the service"})
        before = values
    return rows


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(f"{name}={shown(value)}" for name, value in values.items()) or "-"


@app.command("set")
def set_(
    where: Source,
    group: GroupName,
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]…", help="Values, e.g. threshold=12; with --reset names.", show_default=False
        ),
    ] = None,
    files: Annotated[
        list[str] | None,
        typer.Option("--file", metavar="KEY=FILE", help="A mask (.npy) or a geometry's text; may be repeated."),
    ] = None,
    reset: Annotated[
        bool, typer.Option("--reset", help="Go back to the options of the service: for the named ones, or for all.")
    ] = False,
    wait: Annotated[
        float, typer.Option(metavar="SECONDS", min=0, help="How long to wait for a service to take it over.")
    ] = 2.0,
    broker: Broker = None,
    as_json: Json = False,
) -> None:
    """Change parameters of a group's services while they run; later frames only are made with them.

    What is set stays set, also over a restart of the service, until --reset.

    Examples:

      stream parameters set 11012345/eiger --group peaks threshold=12 min_pixels=3

      stream parameters set 11012345/eiger --group peaks --file mask=bad.npy

      stream parameters set 11012345/eiger --group peaks --reset threshold
    """
    store = _locate(where, broker, group)
    declared = store.declared()
    names, texts = _split(settings or [], declared, reset)
    values = {**parse_texts(declared, texts), **read_files(declared, files or [])}
    if not values and not reset:
        raise UsageError("nothing to change; name KEY=VALUE, --file KEY=FILE or --reset")
    before = store.newest_number()
    version = change_parameters(store, values, (names or list(declared)) if reset else ())
    fate = _await(store, version, wait)
    if as_json:
        typer.echo(json.dumps(_history_row(version, fate)))
    else:
        typer.echo(_describe(store.source, group, version, fate, is_new=version.number > before))
    if fate.refusal:
        raise typer.Exit(1)


def _split(settings: list[str], declared: Parameters, reset: bool) -> tuple[list[str], list[str]]:
    """Tell names that go back from values that are set."""
    names = [text.replace("-", "_") for text in settings if "=" not in text] if reset else []
    for name in names:
        if name not in declared:
            raise UnknownParameterError(name, declared)
    return names, [text for text in settings if not reset or "=" in text]


def _await(store: ParameterStore, version: Version, wait_s: float) -> Fate:
    """Wait until somebody uses a version, or refuses it."""
    ends_at = time.monotonic() + wait_s
    fate = store.fate(version.number)
    while not fate.n_used and not fate.refusal and time.monotonic() < ends_at:
        time.sleep(LOOK_EVERY_S)
        fate = store.fate(version.number)
    return fate


def _describe(source: SourceAddress, group: str, version: Version, fate: Fate, *, is_new: bool) -> str:
    head = f"{source}: group {group}: version {version.number}"
    if not is_new:
        return f"{head} has these values already"
    if fate.refusal:
        return f"{head} was refused, and the values before are used on: {fate.refusal}"
    if fate.n_used:
        return f"{head} is used from now on"
    return f"{head} is kept, but no running service has taken it over yet"
