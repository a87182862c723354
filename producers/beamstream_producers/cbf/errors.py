"""What can be wrong with files and folders of CBFs, beside what is wrong inside of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from beamstream.errors import BeamstreamError, UsageError


class FolderError(UsageError):
    """A folder that there is not, or without any image to send."""

    def __init__(self, folder: Path, reason: str) -> None:
        self.folder = folder
        self.reason = reason
        super().__init__(f"{folder}: {reason}")


class SeveralScansError(UsageError):
    """Files of several scans where one stream is wanted."""

    def __init__(self, where: str, scans: Sequence[str], advice: str) -> None:
        self.where = where
        self.scans = tuple(scans)
        named = ", ".join(self.scans[:10]) + (f" and {len(self.scans) - 10} more" if len(self.scans) > 10 else "")
        super().__init__(f"{where} holds several scans, {named}; {advice}")


class TimezoneError(UsageError):
    """A name that no time zone has."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"{name!r} is no time zone; write e.g. Europe/Berlin or UTC")


class FileReadError(BeamstreamError):
    """A file that cannot be read as one image: gone, not allowed, no file at all, or too large."""

    kind: ClassVar[str] = "unreadable"

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path}: {reason}")


class FileVanishedError(FileReadError):
    """A file that was there a moment ago; somebody moved or deleted it."""

    kind = "vanished"


class FileTooLargeError(FileReadError):
    """A file larger than any image; nothing of it was read."""

    kind = "too_large"
