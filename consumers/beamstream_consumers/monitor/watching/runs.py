"""A run as it is watched: one stream, its readers, and what the page is told of it."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from beamstream import Consumer
from beamstream.address import Address
from beamstream.errors import BeamstreamError
from beamstream_consumers.monitor.pictures.picture import Kind
from beamstream_consumers.monitor.pictures.powders import Powder
from beamstream_consumers.monitor.pictures.scene import Scene

PATIENCE_S = 1.0
"""How long one read may wait for a server or a disk that does not answer [s]; the next look tries again."""


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """One run of a data source.

    Attributes
    ----------
    source : str
        Name of the data source, as the page has it.
    address : Address
        The stream.
    created_ns : int
        When it was made; another stream of the same name has another one.
    reader : Consumer
        Reads it.
    metadata : mapping
        Of the stream.
    peaks, hits : Consumer or None
        Read what the peak finder makes of it; None as long as there is none.
    scene : Scene or None
        Of the frames that came last; None while there was none.
    dtype : str or None
        Theirs.
    powder, hits_powder : Powder
        Of the frames, and the hits, that were seen.
    """

    source: str
    address: Address
    created_ns: int
    reader: Consumer
    metadata: Mapping[str, Any]
    n_expected: int | None = None
    peaks: Consumer | None = None
    hits: Consumer | None = None
    scene: Scene | None = None
    dtype: str | None = None
    finished: bool = False
    powder: Powder = field(default_factory=Powder)
    hits_powder: Powder = field(default_factory=Powder)
    hit_ids: set[int] = field(default_factory=set)

    @property
    def stream(self) -> str:
        """Name of the stream."""
        return self.address.name

    def kinds(self) -> list[Kind]:
        """Return the kinds of pictures that there are of it."""
        found: list[Kind] = ["frame", "sum", "max"]
        return [*found, "hit", "hits-sum", "hits-max"] if self.hits is not None or self.peaks is not None else found

    def document(self, streams: list[str], first_id: int, last_id: int) -> dict[str, Any]:
        """Return the protocol's document."""
        scene = self.scene
        return {
            "t": "run",
            "source": self.source,
            "stream": self.stream,
            "streams": streams,
            "shape": None if scene is None else list(scene.shape),
            "dtype": self.dtype,
            "n_expected": self.n_expected,
            "created_s": self.created_ns / 1e9,
            "kinds": self.kinds(),
            "assembled": scene is not None and scene.assembly is not None,
            "geometry": None if scene is None else scene.document(),
            "n_masked": 0 if scene is None else scene.n_masked,
            "peaks": None if self.peaks is None else str(self.peaks.address.source_address),
            "first_id": first_id,
            "last_id": last_id,
        }

    def close(self) -> None:
        """Let its readers go."""
        for reader in (self.reader, self.peaks, self.hits):
            if reader is not None:
                with contextlib.suppress(BeamstreamError):
                    reader.close()


def open_reader(address: Address, broker: str | None) -> Consumer:
    """Return a reader that gives up soon; of datasets it reads the first part.

    Raises
    ------
    StreamNotFoundError, ServerError
        If there is no such stream, or the server cannot be asked.
    """
    reader = Consumer(address, broker=broker, retry_timeout_s=PATIENCE_S)
    if reader.state.n_parts == 1:
        return reader
    reader.close()
    return Consumer(address, broker=broker, retry_timeout_s=PATIENCE_S, part=1)


def waiting_document(source: str, streams: list[str]) -> dict[str, Any]:
    """Return the document of a data source without a run."""
    return {
        "t": "run",
        "source": source,
        "stream": None,
        "streams": streams,
        "shape": None,
        "dtype": None,
        "n_expected": None,
        "created_s": None,
        "kinds": ["frame", "sum", "max"],
        "assembled": False,
        "geometry": None,
        "n_masked": 0,
        "peaks": None,
        "first_id": 0,
        "last_id": 0,
    }
