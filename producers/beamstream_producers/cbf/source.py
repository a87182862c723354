"""Folders of CBF files as a `Source`: each scan becomes a stream.

Truth is what lies in the folder when it is looked at; events only say when. A file is taken when it is whole: sizes and
MD5 of the file itself decide, neither an event nor a time. One bad file costs itself: it is counted by reason, named in
the log now and then, and the scan goes on. Files are read one at a time, up to a limit.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import xxhash

from beamstream import codecs
from beamstream.errors import BeamstreamError, CodecError
from beamstream.service import Event, Produced
from beamstream.stop import StopFlag
from beamstream_producers.complaints import Complaints
from beamstream_producers.formats import cbf

from .errors import FileReadError, FileVanishedError, FolderError, SeveralScansError
from .file_table import FileTable
from .files import Folders, FoundFile, read_file
from .known_streams import KnownStreams
from .messages import make_message
from .naming import ScanKey
from .opening import Opening
from .options import NOT_SENT_BECAUSE, CbfOptions
from .removal import Remover
from .scan import Scan
from .watching import FolderWatch
from .zones import zone_name

log = logging.getLogger(__name__)

POLL_S = 0.1
"""How long an event is waited for [s]; the loop wants to hear something every 0.2 s."""

LOOK_EVERY_S = 1.0
"""How often the folders are looked at [s], events or none."""

LOOK_SHARE = 5
"""Looking may take one part in so many of the time: a folder of 100,000 files takes half a second."""

QUIET_S = 10.0
"""After how long without any file the log says what to check [s]."""

TELL_EVERY = 2000
"""After how many names the loop is told that nothing has come."""


class CbfSource:
    """Brings in files; a `beamstream.service.Source`.

    Parameters
    ----------
    folders : Folders
        Where files are, or will be.
    options : CbfOptions, optional
        What is done with them.
    known : KnownStreams, optional
        Tells which streams are on the broker; without it every scan begins with the lowest number that is there.
    remover : Remover, optional
        Deletes files whose message is safe.
    """

    name = "cbf"

    def __init__(
        self,
        folders: Folders,
        options: CbfOptions | None = None,
        *,
        known: KnownStreams | None = None,
        remover: Remover | None = None,
    ) -> None:
        self._folders = folders
        self._options = options or CbfOptions()
        self._remover = remover
        self._table = FileTable(self._options.patience_s, self._options.settle_s, trusts_times=not self._options.follow)
        self._opening = Opening(self._options, known, sends_all=remover is not None)
        self._scans: dict[ScanKey, Scan] = {}
        self._given_up_early: defaultdict[ScanKey, set[int]] = defaultdict(set)
        self._counts: Counter[str] = Counter()
        self._complaints = Complaints()
        self._look_at_s = 0.0
        self._quiet_until_s = math.inf
        self._n_closed = 0

    def events(self, stop: StopFlag) -> Iterator[Event | None]:
        """Yield the events of the streams that scans become, until `stop` is set or there is nothing more to come.

        Streams that have not ended when `stop` is set are left open: the next run goes on with them.

        Raises
        ------
        FolderError
            If there is no file, and none is waited for.
        SeveralScansError
            If one stream is named, and there are several scans.
        StreamExistsError
            If the stream that is named is something else's.
        ServerError, EntryError
            If the broker cannot be asked what is there.
        """
        watched = self._folders.paths if self._options.follow else ()
        watch = FolderWatch(watched, recursive=self._folders.recursive, stop=stop, timeout_s=POLL_S)
        log.info("time stamps of files are local times of %s", zone_name(self._options.zone))
        yield from _prepare(stop)
        yield from self._look()
        self._check_scans()
        self._quiet_until_s = time.monotonic() + QUIET_S
        while True:
            for key in self._table.scans_to_try():
                yield from self._take_scan(key, stop)
            yield from self._end_scans()
            if stop.is_set() or self._is_done():
                break
            yield None
            self._say_if_quiet()
            yield from self._look_again(watch.wait())
        for scan in self._scans.values():
            if scan.is_open:
                yield scan.leave()

    def counters(self) -> Mapping[str, int]:
        """Return what was counted: files seen, images taken, scans, and what was not sent, by reason."""
        counts = dict(self._counts)
        n_rejected = sum(count for name, count in counts.items() if name.startswith("rejected_"))
        removed = {"removed": self._remover.n_removed, "not_removed": self._remover.n_kept} if self._remover else {}
        return {
            "files": self._table.n_files,
            "images": 0,
            "scans": len(self._scans),
            "scans_closed": self._n_closed,
            "rejected": n_rejected,
            "unnumbered": len(self._folders.unnumbered),
            "folder_unreadable": self._folders.n_unreadable,
            **removed,
            **counts,
        }

    def close(self) -> None:
        """Let the broker's connections go."""
        self._opening.close()

    # --- looking -----------------------------------------------------------------------------------------------

    def _look(self) -> Iterator[None]:
        """Note every file that is there."""
        begin_s = time.monotonic()
        for n_seen, found in enumerate(self._folders.look()):
            if found is not None:
                self._note(found)
            if n_seen % TELL_EVERY == TELL_EVERY - 1:
                yield None
        lasted_s = time.monotonic() - begin_s
        self._look_at_s = time.monotonic() + max(LOOK_EVERY_S, LOOK_SHARE * lasted_s)
        if self._folders.trouble is not None:
            self._complain("folder_unreadable", f"a folder cannot be read: {self._folders.trouble}")
        for path in sorted(self._folders.unnumbered)[:1]:
            self._complain("unnumbered", f"{path.name} has no _NUMBER at the end of its name, and is not sent")

    def _look_again(self, hints: Sequence[Path]) -> Iterator[None]:
        """Note what events name, what waits and is due, and now and then everything."""
        found = [one for path in hints if (one := self._folders.find(path)) is not None]
        if time.monotonic() >= self._look_at_s or any(one.scan not in self._table for one in found):
            yield from self._look()  # of a new scan, its lowest number is asked for
        for one in found:
            self._note(one)
        for waiting in list(self._table.waiting()):
            now = self._folders.find(waiting.path)
            if now is None:
                self._counts["vanished"] += 1
                self._table.forget(waiting)
            else:
                self._note(now)
        for overdue in list(self._table.overdue(time.monotonic())):
            self._table.put_back([overdue])

    def _say_if_quiet(self) -> None:
        """Say, once, that nothing has come at all."""
        if time.monotonic() < self._quiet_until_s:
            return
        self._quiet_until_s = math.inf
        if not self._table.n_files:
            folders = ", ".join(map(str, self._folders.paths))
            log.warning(
                "no file NAME_NUMBER.cbf that %r takes is in %s: is it the folder that the detector writes to, as seen "
                "from this machine? Are the files in sub-folders (--recursive)?",
                *(self._folders.pattern, folders),
            )

    def _note(self, found: FoundFile) -> None:
        if found.signature.mtime_ns < self._options.newer_than_ns:
            if self._table.settled(found) is None:
                self._leave(found, "stale")
        elif self._table.note(found) and found.scan in self._scans:
            self._scans[found.scan].news_s = time.monotonic()

    def _check_scans(self) -> None:
        if not self._table.scans and not self._options.follow:
            reason = f"no file NAME_NUMBER.cbf that {self._folders.pattern!r} takes; say --follow to wait for some"
            raise FolderError(self._folders.paths[0], reason)
        if self._options.stream is not None and len(self._table.scans) > 1:
            names = [str(scan) for scan in self._table.scans]
            advice = "choose one with --pattern 'NAME_*.cbf', or name no stream: each gets one of its own"
            raise SeveralScansError(", ".join(map(str, self._folders.paths)), names, advice)

    # --- taking ------------------------------------------------------------------------------------------------

    def _take_scan(self, key: ScanKey, stop: StopFlag) -> Iterator[Event | None]:
        files = self._table.take_all_to_try(key)
        for n_taken, found in enumerate(files):
            if stop.is_set():
                self._table.put_back(files[n_taken:])
                return
            yield from self._take(found, stop)
            yield None
        scan = self._scans.get(key)
        if scan is not None and not self._options.follow:
            yield from self._end_if_over(scan)

    def _take(self, found: FoundFile, stop: StopFlag) -> Iterator[Event]:
        """Yield the events of one file; a bad one has none."""
        scan = self._scans.get(found.scan)
        try:
            if scan is not None and (reason := self._why_not(scan, found)):
                self._leave(found, reason)
                return
            data, signature = read_file(found.path)
            found = replace(found, signature=signature)
            image = cbf.decode(data)
            if scan is None:
                scan, events = self._opening.open(found, image, self._table.lowest_number(found.scan), stop)
                self._scans[found.scan] = scan
                yield from events
                for number in self._given_up_early.pop(found.scan, ()):
                    scan.note_given_up(scan.message_id(number))
                if reason := self._why_not(scan, found):
                    self._leave(found, reason)
                    return
            yield from self._produced(scan, found, image)
        except FileVanishedError as error:
            self._counts["vanished"] += 1
            self._complain("vanished", str(error))
            self._table.forget(found)
        except (FileReadError, cbf.CbfError, CodecError) as error:
            if not self._table.wait(found, error, time.monotonic()):
                self._give_up(found, error)

    def _why_not(self, scan: Scan, found: FoundFile) -> str:
        """Return under which name a file is counted as not sent; empty where it is."""
        message_id = scan.message_id(found.number)
        if reason := scan.why_not(message_id):
            return reason
        if self._table.settled(found) is None and scan.is_there(message_id):
            return "already_there"
        return "" if scan.is_open else "after_end"

    def _produced(self, scan: Scan, found: FoundFile, image: cbf.CbfImage) -> Iterator[Event]:
        checksum = xxhash.xxh3_64_intdigest(image.payload)
        before = self._table.settled(found)
        if before is not None and before.checksum is not None:
            if before.checksum != checksum:
                self._counts["overwritten"] += 1
                self._complain("overwritten", f"{found.path} was sent, and has been overwritten with another image")
            elif self._remover is None:
                self._table.settle(found, checksum)
                return
        message = make_message(image, found, self._options.zone, convert=self._options.convert)
        message_id = scan.message_id(found.number)
        self._table.settle(found, checksum)
        scan.note_taken(message_id)
        self._counts["images"] += 1
        yield Produced(
            stream=scan.stream,
            message_id=message_id,
            payload=message.payload,
            shape=message.shape,
            dtype=message.dtype,
            codec=message.codec,
            timestamp_ns=message.timestamp_ns,
            metadata=message.metadata,
            on_sent=partial(self._remover.remove, found.path, found.signature) if self._remover else None,
        )
        if scan.has_promised:
            yield from self._end_if_over(scan)

    def _leave(self, found: FoundFile, reason: str) -> None:
        self._counts[reason] += 1
        self._table.settle(found)
        if reason != "already_there":
            self._complain(reason, f"{found.path} is not sent: {NOT_SENT_BECAUSE[reason]}")

    def _give_up(self, found: FoundFile, error: BeamstreamError) -> None:
        kind = getattr(error, "kind", "codec")
        self._counts[f"rejected_{kind}"] += 1
        self._table.settle(found)
        said = str(error) if isinstance(error, FileReadError) else f"{found.path}: {error}"
        self._complain(f"rejected_{kind}", f"{said}; it is not sent unless it changes")
        if (scan := self._scans.get(found.scan)) is not None:
            scan.note_given_up(scan.message_id(found.number))
        else:
            self._given_up_early[found.scan].add(found.number)

    def _complain(self, reason: str, detail: str) -> None:
        line = self._complaints.note(reason, detail, time.monotonic())
        if line is not None:
            log.warning("%s", line)

    # --- ending ------------------------------------------------------------------------------------------------

    def _end_scans(self) -> Iterator[Event]:
        for scan in [scan for scan in self._scans.values() if scan.is_open]:
            yield from self._end_if_over(scan)

    def _end_if_over(self, scan: Scan) -> Iterator[Event]:
        """End a scan if nothing more of it is to come."""
        if scan.is_open and not self._table.is_waiting(scan.key) and (why := self._why_over(scan)):
            log.info("%s has ended: %s", scan.key, why)
            yield from self._end(scan)

    def _why_over(self, scan: Scan) -> str:
        if scan.has_promised:
            return "all images that were promised are there"
        if not self._options.follow:
            return "all of its files are sent"
        later = list(self._scans)[list(self._scans).index(scan.key) + 1 :]
        if any(key.folder == scan.key.folder for key in later):
            return "the next scan of its folder has begun"
        idle_s = self._options.idle_timeout_s
        if idle_s is not None and time.monotonic() - scan.news_s >= idle_s:
            return f"no file came for {idle_s:g} s"
        return ""

    def _end(self, scan: Scan) -> Iterator[Event]:
        self._n_closed += 1
        yield scan.end()

    def _is_done(self) -> bool:
        """Whether there is nothing more to wait for."""
        if self._options.n_scans is not None and self._n_closed >= self._options.n_scans:
            return True
        if self._options.stream is not None and self._n_closed:
            return True
        return not self._options.follow and not self._table.is_waiting() and not self._table.scans_to_try()


def _prepare(stop: StopFlag) -> Iterator[None]:
    """Have compiled what unpacks pixels: that takes seconds, once on a machine, and the mask of a scan is unpacked."""
    pixel = (b"\0", "byte-offset", (1, 1), np.dtype("<i4"))
    work = threading.Thread(target=codecs.decode, args=pixel, name="compile", daemon=True)
    work.start()
    while work.is_alive() and not stop.is_set():
        work.join(POLL_S)
        yield None
