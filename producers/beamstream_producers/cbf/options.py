"""What is done with folders of CBF files, and why a file of them may not be sent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import tzinfo

from .file_table import PATIENCE_S, SETTLE_S

NOT_SENT_BECAUSE: Mapping[str, str] = {
    "already_there": "its message was sent by an earlier run",
    "before_first": "its number is below that of the scan's first file; say --first-number",
    "beyond_frames": "its number is beyond what --frames promised",
    "implausible": "its number is far beyond all others",
    "after_end": "its scan's stream has ended",
    "stale": "it is older than --newer-than says",
}
"""Why a file is not sent, by the name of the counter, in words for the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CbfOptions:
    """What is done with files.

    Attributes
    ----------
    stream : str or None
        Name of the one stream that is written; None: one for each scan, by its name.
    follow : bool
        Whether files are waited for; otherwise the source ends when all that are there are sent.
    n_frames : int or None
        How many images a scan has; its stream ends with them.
    idle_timeout_s : float or None
        After how long without a new file a scan has ended, with `follow` [s].
    n_scans : int or None
        Ends after so many scans.
    first_number : int or None
        Number of the file that is message 1; None: the lowest that is there when the scan begins.
    newer_than_ns : int
        Files that were last written before this are left alone [ns since 1970].
    zone : tzinfo or None
        Whose local time the headers' time stamps are; None: this machine's.
    convert : bool
        Whether pixels are packed anew as bslz4.
    patience_s, settle_s : float
        How long files are waited for that are not whole, and whose bytes are wrong [s].
    """

    stream: str | None = None
    follow: bool = False
    n_frames: int | None = None
    idle_timeout_s: float | None = None
    n_scans: int | None = None
    first_number: int | None = None
    newer_than_ns: int = 0
    zone: tzinfo | None = None
    convert: bool = False
    patience_s: float = PATIENCE_S
    settle_s: float = SETTLE_S
