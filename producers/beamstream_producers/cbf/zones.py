"""Whose local time the time stamps of files are."""

from __future__ import annotations

import os
import time
from datetime import tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from .errors import TimezoneError

VARIABLE = "STREAM_TIMEZONE"
"""Environment variable that names the zone, for readers of folders, too."""

_LOCAL = Path("/etc/localtime")


def find_zone(name: str | None) -> tzinfo | None:
    """Return the zone of this name; None, which stands for the machine's own, where none is named.

    Raises
    ------
    TimezoneError
        If there is no such zone.
    """
    if not name:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise TimezoneError(name) from error


def zone_name(zone: tzinfo | None) -> str:
    """Return what a zone is called; of the machine's own as far as it says so."""
    if zone is not None:
        return str(zone)
    if name := os.environ.get("TZ"):
        return name
    parts = _LOCAL.resolve().parts if _LOCAL.is_symlink() else ()
    return "/".join(parts[parts.index("zoneinfo") + 1 :]) if "zoneinfo" in parts else "/".join(time.tzname)
