"""Which files were seen, and what became of each: so that each is taken once, whatever is said about it how often.

A file is to be tried when it is new or has changed since. One that could not be taken waits: for its writer, who may be
slow, for so long as it changes and some time more. Then it is settled, as one that was taken is; and it is tried again
should it ever change.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from beamstream.errors import BeamstreamError
from beamstream_producers.formats.cbf import IncompleteCbfError

from .errors import FileReadError, FileTooLargeError
from .files import FoundFile, Signature
from .naming import ScanKey

PATIENCE_S = 10.0
"""How long a file that is not whole, or may not be read, is waited for after it last changed [s]."""

SETTLE_S = 2.0
"""How long one whose bytes are wrong is waited for after it last changed [s]: it may be written out of order."""


@dataclass(slots=True)
class _Waiting:
    found: FoundFile
    error: BeamstreamError
    until_s: float


@dataclass(slots=True)
class Settled:
    """A file that nothing is to be done about as long as it does not change; `checksum` of what was taken of it."""

    signature: Signature
    checksum: int | None


class FileTable:
    """The files of all scans.

    Parameters
    ----------
    patience_s, settle_s : float
        See `PATIENCE_S` and `SETTLE_S` [s].
    trusts_times : bool
        Whether a file that was last written so long ago is not waited for at all: where files still come, the clock of
        the machine that writes them may be another one.

    Attributes
    ----------
    n_files : int
        How many different files were noted.
    """

    def __init__(
        self, patience_s: float = PATIENCE_S, settle_s: float = SETTLE_S, *, trusts_times: bool = True
    ) -> None:
        self._patience_s = patience_s
        self._settle_s = settle_s
        self._trusts_times = trusts_times
        self._to_try: defaultdict[ScanKey, dict[str, FoundFile]] = defaultdict(dict)
        self._waiting: defaultdict[ScanKey, dict[str, _Waiting]] = defaultdict(dict)
        self._settled: defaultdict[ScanKey, dict[str, Settled]] = defaultdict(dict)
        self._lowest: dict[ScanKey, int] = {}
        self.n_files = 0

    def __contains__(self, scan: ScanKey) -> bool:
        return scan in self._lowest

    @property
    def scans(self) -> list[ScanKey]:
        """All scans of which a file was seen."""
        return list(self._lowest)

    def note(self, found: FoundFile) -> bool:
        """Note that a file is there; return whether that is news."""
        scan, name = found.scan, found.name
        settled, waiting = self._settled[scan].get(name), self._waiting[scan].get(name)
        known = waiting.found.signature if waiting else settled.signature if settled else None
        if known == found.signature:
            return False
        self.n_files += known is None and name not in self._to_try[scan]
        self._lowest[scan] = min(self._lowest.get(scan, found.number), found.number)
        self._to_try[scan][name] = found
        return True

    def lowest_number(self, scan: ScanKey) -> int:
        """Return the lowest number of the files of a scan that were ever seen."""
        return self._lowest[scan]

    def scans_to_try(self) -> list[ScanKey]:
        """Return the scans with something to try, those whose oldest file is older first."""
        ages = {
            scan: min(found.signature.mtime_ns for found in files.values())
            for scan, files in self._to_try.items()
            if files
        }
        return sorted(ages, key=lambda scan: (ages[scan], scan))

    def take_all_to_try(self, scan: ScanKey) -> list[FoundFile]:
        """Return what is to be tried of a scan, in the order of numbers; it counts as tried from now on."""
        files = self._to_try.pop(scan, {})
        return sorted(files.values(), key=lambda found: (found.number, found.name))

    def put_back(self, files: list[FoundFile]) -> None:
        """Note that these were not tried after all."""
        for found in files:
            self._to_try[found.scan].setdefault(found.name, found)

    def settled(self, found: FoundFile) -> Settled | None:
        """Return what became of a file before; None where it is new."""
        return self._settled[found.scan].get(found.name)

    def settle(self, found: FoundFile, checksum: int | None = None) -> None:
        """Note that nothing more is to be done about a file."""
        self._waiting[found.scan].pop(found.name, None)
        self._settled[found.scan][found.name] = Settled(found.signature, checksum)

    def forget(self, found: FoundFile) -> None:
        """Note that a file is gone; one of its name would be new."""
        self._waiting[found.scan].pop(found.name, None)
        self._settled[found.scan].pop(found.name, None)

    # --- waiting -----------------------------------------------------------------------------------------------

    def wait(self, found: FoundFile, error: BeamstreamError, now_s: float) -> bool:
        """Let a file wait that could not be taken; False where its time is over, as it is of one left long ago."""
        name = found.name
        before = self._waiting[found.scan].get(name)
        if before is not None and before.found.signature == found.signature:
            before.error = error
            return now_s < before.until_s
        wait_s = self._wait_s(error)
        mtime_ns = found.signature.mtime_ns
        if self._trusts_times and mtime_ns and time.time() - mtime_ns / 1e9 >= wait_s:
            return False
        self._waiting[found.scan][name] = _Waiting(found, error, now_s + wait_s)
        return wait_s > 0

    def _wait_s(self, error: BeamstreamError) -> float:
        if isinstance(error, IncompleteCbfError | FileReadError) and not isinstance(error, FileTooLargeError):
            return self._patience_s
        return self._settle_s

    def is_waiting(self, scan: ScanKey | None = None) -> bool:
        """Whether files of a scan, or of any, wait."""
        return any(self._waiting.values()) if scan is None else bool(self._waiting.get(scan))

    def waiting(self) -> Iterator[FoundFile]:
        """Yield the files that wait."""
        for files in list(self._waiting.values()):
            yield from [one.found for one in files.values()]

    def overdue(self, now_s: float) -> Iterator[FoundFile]:
        """Yield the files that have waited long enough."""
        for files in list(self._waiting.values()):
            yield from [one.found for one in files.values() if now_s >= one.until_s]
