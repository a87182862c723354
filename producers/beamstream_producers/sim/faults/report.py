"""What `stream simulate eiger --faults` says: of each series, of all together, and which faults there are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .journal import Journal
from .kinds import MEANINGS

_ALWAYS = ("taken", "sent", "dropped")


def describe_last(journal: Journal, *, as_json: bool) -> str:
    """Return a line about the series that is over since last; nothing was ever armed: an empty one."""
    if not journal.reports:
        return "{}" if as_json else "no series was taken"
    report = journal.reports[-1].as_dict()
    return json.dumps(report) if as_json else _line(f"series {report['series']}", report)


def describe_total(journal: Journal, *, as_json: bool) -> str:
    """Return a line about all series together."""
    total = journal.total()
    return json.dumps({"total": total}) if as_json else _line(f"{total['series']} series", total)


def list_faults() -> str:
    """Return a line about each fault."""
    width = max(map(len, MEANINGS))
    rows = [f"{name:{width}}  of {unit}: {meaning}" for name, (unit, meaning) in MEANINGS.items()]
    return "\n".join(rows)


def _line(begin: str, report: Mapping[str, Any]) -> str:
    """Return the counts in words, those left out that are 0."""
    rest = [name for name, count in report.items() if count and name not in (*_ALWAYS, "series")]
    said = [f"{report[name]} {name.replace('_', ' ')}" for name in (*_ALWAYS, *rest)]
    return f"{begin}: {', '.join(said)}"
