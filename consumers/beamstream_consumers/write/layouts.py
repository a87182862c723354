"""The layouts that a stream can be written in, and which one is chosen.

| layout    | files                                        | when                                       |
|-----------|----------------------------------------------|--------------------------------------------|
| `OneFile` | everything in one                            | by default                                 |
| `Blocks`  | a master that links to data files of N ids   | ``--images-per-file N``                    |
| `Rolling` | a master over data files of any ids          | several members, or N with packed messages |
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from beamstream import Frame, Gap
from beamstream.errors import UsageError
from beamstream.service import StreamEnd, StreamStart

from .blocks import Blocks
from .one_file import OneFile
from .paths import OutputPath, output_path, series_paths
from .rolling import Rolling

SELECTION = "selection"
"""Stream metadata: true of streams that hold only some of the ids of another stream, as hits."""

HITS = "-hits"
"""What the names of data sources of hits end with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was asked for; see `WriteHandler`."""

    directory: Path
    template: str
    images_per_file: int | None
    shared: bool
    packed: bool | None
    overwrite: bool
    verify: bool

    def __post_init__(self) -> None:
        if self.images_per_file is not None and self.images_per_file < 1:
            raise UsageError(f"--images-per-file {self.images_per_file}: a data file holds at least one message")
        if self.shared and self.overwrite:
            raise UsageError(
                "--overwrite is for one writer: of several, one could take what another has just written for what "
                "is to be replaced; delete the old files, or choose another --directory or --file"
            )


class Layout(Protocol):
    """The files of one stream, while it is written."""

    output: OutputPath
    """The file that readers open in the end."""

    def write(self, frame: Frame) -> bool:
        """Write one message; return whether it was new."""
        ...

    def pass_over(self, gap: Gap) -> None:
        """Take note of ids without a message."""
        ...

    def commit(self, *, to_disk: bool) -> None:
        """Make what was written safe."""
        ...

    def close(self, end: StreamEnd | None) -> dict[str, Any] | None:
        """Finish, or with `end` None leave all to be continued; return the report if there is one."""
        ...


def choose_layout(options: Options, stream: StreamStart) -> Layout:
    """Return the layout for a stream, opened.

    Raises
    ------
    OutputExistsError
        If a file that holds something else is in the way.
    OutputError
        If files cannot be written, or another process writes them.
    """
    output = output_path(stream.address, options.directory, options.template)
    packed = options.packed
    if packed is None and (stream.metadata.get(SELECTION) is True or stream.address.source.endswith(HITS)):
        packed = True
    if options.shared or (options.images_per_file and packed):
        return Rolling(
            series_paths(output),
            stream,
            images_per_file=options.images_per_file,
            packed=bool(packed),
            shared=options.shared,
            overwrite=options.overwrite,
            verify=options.verify,
        )
    if options.images_per_file:
        return Blocks(
            series_paths(output),
            stream,
            images_per_file=options.images_per_file,
            overwrite=options.overwrite,
            verify=options.verify,
        )
    return OneFile(output, stream, packed=packed, overwrite=options.overwrite, verify=options.verify)
