"""Where a stream is written to: the file's name, its name while it is being written, and the space around it.

A file is called `<name>.partial` until its stream has ended and every byte of it is on the disk; it gets its name by
an atomic rename. Whoever sees `<name>` therefore sees all of it.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from beamstream import Address
from beamstream.errors import UsageError

from .errors import output_errors

DEFAULT_TEMPLATE = "{beamtime}_{source}_{stream}.nxs"

_FIELDS = ("beamtime", "source", "stream")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputPath:
    """The two names of one file.

    Attributes
    ----------
    final : Path
        What it is called once it is finished.
    """

    final: Path

    @property
    def partial(self) -> Path:
        """What it is called while it is being written."""
        return self.final.with_name(self.final.name + ".partial")


def output_path(address: Address, directory: Path, template: str = DEFAULT_TEMPLATE) -> OutputPath:
    """Return where the stream at `address` is written to.

    Raises
    ------
    UsageError
        If the template names a field other than ``{beamtime}``, ``{source}`` and ``{stream}``.
    """
    names = (address.beamtime, address.source, address.name)
    try:
        name = template.format(**dict(zip(_FIELDS, names, strict=True)))
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        fields = ", ".join(f"{{{field}}}" for field in _FIELDS)
        raise UsageError(f"file name template {template!r}: {error}; it may hold {fields}") from error
    if not name or name.endswith("/"):
        raise UsageError(f"file name template {template!r} names no file")
    return OutputPath(final=directory / name)


def publish(output: OutputPath) -> None:
    """Give a finished file its name, so that it survives a crash of the machine."""
    with output_errors(output.partial):
        output.partial.replace(output.final)
        sync_directory(output.final.parent)


def unpublish(output: OutputPath) -> None:
    """Take the name back from a finished file that has to be continued."""
    with output_errors(output.final):
        output.final.replace(output.partial)
        sync_directory(output.final.parent)


def sync_directory(directory: Path) -> None:
    """Make names in `directory` last: a rename is only safe once its directory is on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def free_bytes(path: Path) -> int:
    """Return how many bytes can still be written where `path` is."""
    with output_errors(path):
        return shutil.disk_usage(path.parent).free
