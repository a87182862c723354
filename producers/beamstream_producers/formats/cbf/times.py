"""Time stamps of CBF headers: local time of the detector's computer, in two spellings, without a zone."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo

_MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
_TIME = re.compile(r"(\d{4})[-/](\d{2}|[A-Za-z]{3})[-/](\d{2})[T ](\d{2}):(\d{2}):(\d{2})(?:\.(\d{1,9}))?\d*", re.ASCII)

FIRST_YEAR = 1970
"""Before this there is no time in nanoseconds that a message could carry."""


def parse_time(text: str | None, zone: tzinfo | None) -> tuple[datetime, int] | None:
    """Read a time stamp.

    Parameters
    ----------
    text : str or None
        ``2019-09-11T13:20:28.989`` or ``2011-Nov-01T17:59:04.733``.
    zone : tzinfo or None
        Whose local time it is; None: this machine's. Of an hour that comes twice in autumn, the first is meant.

    Returns
    -------
    (datetime, int) or None
        The second with its zone, and the time [ns since 1970, UTC]; None where there is no time.
    """
    found = _TIME.fullmatch(text.strip()) if text else None
    if found is None:
        return None
    month = int(found[2]) if found[2].isdigit() else _MONTHS.get(found[2].lower(), 0)
    try:
        day, hour, minute, seconds = (int(found[k]) for k in (3, 4, 5, 6))
        second = datetime(int(found[1]), month, day, hour, minute, seconds, tzinfo=zone)
        second = second.astimezone() if zone is None else second
        since = int(second.timestamp())
    except (ValueError, OverflowError, OSError):
        return None
    if second.year < FIRST_YEAR or since < 0:
        return None
    return second, since * 1_000_000_000 + int((found[7] or "0").ljust(9, "0"))
