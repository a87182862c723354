"""Where a stream is written to: names of files, their names while they are being written, and the space around them.

A file is called `<name>.partial` until its stream has ended and every byte of it is on the disk; it gets its name by
an atomic rename. Whoever sees `<name>` therefore sees all of it.
"""

from __future__ import annotations

import os
import re
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
        return self.final.with_name(self.final.name + PARTIAL)


MASTER = "_master.h5"
"""What the name of a master ends with; programs of the field look for it."""

PARTIAL = ".partial"
"""What the name of a file ends with while it is being written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesPaths:
    """Names of a master, its data files, and the claims on them.

    Attributes
    ----------
    stem : Path
        What all of them begin with.
    """

    stem: Path

    @property
    def master(self) -> OutputPath:
        """The master."""
        return OutputPath(final=self.stem.with_name(self.stem.name + MASTER))

    @property
    def claims(self) -> Path:
        """The file of claims."""
        return self.stem.with_name(f"{self.stem.name}{MASTER}.claims")

    def data(self, number: int) -> OutputPath:
        """Return data file `number`, from 1."""
        return OutputPath(final=self.stem.with_name(f"{self.stem.name}_data_{number:06d}.h5"))

    def numbers(self) -> list[int]:
        """Return the numbers of the data files that are there, finished or not."""
        pattern = re.compile(rf"{re.escape(self.stem.name)}_data_(\d{{6,9}})\.h5(?:{re.escape(PARTIAL)})?")
        if not self.stem.parent.is_dir():
            return []
        matches = (pattern.fullmatch(path.name) for path in self.stem.parent.iterdir())
        return sorted({int(match[1]) for match in matches if match})


def series_paths(output: OutputPath) -> SeriesPaths:
    """Return the names of a series, from what one file would be called."""
    name = output.final.name
    for ending in (MASTER, ".nxs", ".h5", ".hdf5", ".hdf", ".cxi"):
        if name.endswith(ending) and len(name) > len(ending):
            name = name.removesuffix(ending)
            break
    return SeriesPaths(stem=output.final.with_name(name))


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
