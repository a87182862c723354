"""Delete a finished recording of several files, so that it can be written anew."""

from __future__ import annotations

import logging

from beamstream import Address

from .errors import OutputExistsError, output_errors
from .finished import stream_of
from .paths import SeriesPaths, sync_directory

log = logging.getLogger(__name__)


def remove_series(paths: SeriesPaths, address: Address) -> None:
    """Delete a master and its data files, the master first: without it nobody takes them for a whole recording.

    Raises
    ------
    OutputExistsError
        If a data file is of another stream.
    """
    finals = [paths.data(number).final for number in paths.numbers() if paths.data(number).final.exists()]
    for path in finals:
        if stream_of(path) != str(address):
            raise OutputExistsError(path, "is not of the recording that --overwrite replaces")
    with output_errors(paths.master.final):
        paths.master.final.unlink(missing_ok=True)
        for path in finals:
            path.unlink(missing_ok=True)
        sync_directory(paths.master.final.parent)
    log.info("%s and its %d data files are deleted, to be written anew", paths.master.final, len(finals))
