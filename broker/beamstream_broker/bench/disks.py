"""Where a disk is measured: which folder lies on one, and how much room it has."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from beamstream.errors import UsageError
from beamstream.sizes import format_bytes

MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")
"""Kinds of file systems that are no disk."""


def choose_folder(wanted: Path | None) -> tuple[Path, str]:
    """Return where segments are written, and why that says nothing of a disk; empty where it does.

    Raises
    ------
    UsageError
        If nothing can be written in the folder that is wanted.
    """
    if wanted is not None and not (wanted.is_dir() and os.access(wanted, os.W_OK)):
        raise UsageError(f"--spill {wanted} is no folder that can be written in; make it first, or name another one")
    candidates = [wanted] if wanted is not None else [Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd()]  # noqa: S108 (a new directory is made in it)
    for folder in candidates:
        if folder.is_dir() and os.access(folder, os.W_OK) and file_system(folder) not in MEMORY_FILE_SYSTEMS:
            return folder, ""
    folder = candidates[0]
    return folder, f"{folder} lies in memory ({file_system(folder)}), not on a disk; name a folder on one with --spill"


def disk_room(folder: Path, needed_bytes: int) -> str:
    """Return in words how much room a disk lacks; empty where there is enough."""
    free_bytes = shutil.disk_usage(folder).free
    if free_bytes >= needed_bytes:
        return ""
    return (
        f"{folder} has {format_bytes(free_bytes)} left and {format_bytes(needed_bytes)} are needed; "
        "name a folder on another disk with --spill"
    )


def file_system(folder: Path) -> str:
    """Return the kind of file system that a folder lies on, e.g. ``ext4``; empty where the kernel does not say."""
    wanted, found, kind = folder.resolve(), Path(), ""
    try:
        lines = Path("/proc/self/mountinfo").read_text("utf-8").splitlines()
    except OSError:
        return ""
    for line in lines:
        before, _, after = line.partition(" - ")
        mounted = Path(before.split()[4].replace("\\040", " "))
        # Of two on one place the later one counts.
        if wanted.is_relative_to(mounted) and len(mounted.parts) >= len(found.parts):
            found, kind = mounted, after.split()[0]
    return kind
