"""Whether a file is HDF5 at all, looked at without the library."""

from __future__ import annotations

from pathlib import Path

SIGNATURE = b"\x89HDF\r\n\x1a\n"
"""What the superblock of every version of the format begins with."""

MAX_USER_BLOCK_BYTES = 1 << 20
"""How far behind the beginning the superblock is looked for [bytes]; it is at 0, 512, 1024, 2048, …"""


def split_channel(path: Path) -> tuple[Path, str | None]:
    """Split ``run_master.h5#threshold_2`` into the file and the channel; a file that is called so stays whole."""
    if "#" not in path.name or path.exists():
        return path, None
    name, _, channel = path.name.rpartition("#")
    return path.with_name(name) if name else path, channel or None


def starts_like_hdf5(path: Path) -> bool:
    """Whether there is a regular file with a superblock where the format has it."""
    if not path.is_file():
        return False
    try:
        with path.open("rb") as file:
            offset = 0
            while offset <= MAX_USER_BLOCK_BYTES:
                file.seek(offset)
                start = file.read(len(SIGNATURE))
                if start == SIGNATURE:
                    return True
                if len(start) < len(SIGNATURE):
                    return False
                offset = 512 if offset == 0 else 2 * offset
    except OSError:
        return False
    return False
