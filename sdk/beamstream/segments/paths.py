"""Where segments lie: `<root>/<beamtime>/<source>/<stream>/NNNNNN.seg`, numbered from 1."""

from __future__ import annotations

import errno
import re
from pathlib import Path

from beamstream.address import Address
from beamstream.errors import AddressError

from .errors import SegmentReadError
from .layout import MAX_NUMBER

SUFFIX = ".seg"

_NAME = re.compile(r"(\d{6,10})\.seg")


def stream_folder(root: Path, address: Address) -> Path:
    """Return the folder of a stream's segments."""
    return root / address.beamtime / address.source / address.name


def segment_path(folder: Path, number: int) -> Path:
    """Return the path of a segment.

    Examples
    --------
    >>> segment_path(Path("run"), 7).name
    '000007.seg'
    """
    return folder / f"{number:06d}{SUFFIX}"


def segment_number(path: Path) -> int | None:
    """Return the number in a segment's name; None where it is no name of a segment."""
    match = _NAME.fullmatch(path.name)
    number = int(match[1]) if match else 0
    return number if 0 < number <= MAX_NUMBER and segment_path(path.parent, number) == path else None


def list_segments(folder: Path) -> dict[int, Path]:
    """Return the segments in a folder by number, in rising order; empty where there is no such folder.

    Raises
    ------
    SegmentReadError
        If the operating system refuses.
    """
    try:
        numbered = {segment_number(path): path for path in folder.iterdir()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise SegmentReadError(folder, error.errno or errno.EIO, "list") from error
    return {number: numbered[number] for number in sorted(n for n in numbered if n is not None)}


def address_of_folder(folder: Path) -> Address | None:
    """Return the address that a folder's last three names make; None where they make none."""
    try:
        return Address(*folder.absolute().parts[-3:])
    except (AddressError, TypeError):
        return None
