"""How a stream comes to be on a server, and comes back to one that was started anew without it.

A server without persistence that dies takes its streams with it. Where that is wanted, what a producer still holds then
goes into the stream made again, under its ids: the ids before are missing there, and readers are told so. A stream that
was deleted while its server ran on stays deleted.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from beamstream.address import Address
from beamstream.errors import (
    BeamstreamError,
    NotKeptError,
    PartsMismatchError,
    ServerRefusedError,
    StreamExistsError,
    StreamNotFoundError,
)
from beamstream.keep import DEFAULT_KEEP, Keep, check_keep
from beamstream.presence import read_presence, why_nobody_keeps
from beamstream.protocol import StreamKeys, encode_metadata
from beamstream.protocol.client import Server
from beamstream.protocol.keys import SOURCES, streams_of
from beamstream.put_back import put_back

log = logging.getLogger(__name__)


class NewLifeError(Exception):
    """The stream was made anew, or put back from disk, since payloads were stored: they have to be stored again."""


class Opening:
    """Makes one stream, or finds it made.

    Parameters
    ----------
    server : Server
        Where.
    address : Address
        The stream.
    patience_s : float
        How long a gap may stay open [s].
    n_expected : int or None
        How many messages are promised.
    session : str or None
        Whose stream it is; see `Producer`.
    remake : bool
        Whether it is made again on a server that was started anew without it.
    keep : str or None
        What is kept of it; None: as whoever made it said.
    n_parts, min_parts : int
        How many parts a message has, and how many are enough when the patience is over.
    retain_s : float or None
        How long its messages are kept [s]; None: as whoever said it last.

    Attributes
    ----------
    keep : str
        What is kept of it, once it is open.
    life : str
        What tells this life of the stream from another one, as the scripts say it.
    """

    def __init__(
        self,
        server: Server,
        address: Address,
        *,
        patience_s: float,
        n_expected: int | None,
        session: str | None,
        remake: bool,
        keep: Keep | None = None,
        n_parts: int = 1,
        min_parts: int = 1,
        retain_s: float | None = None,
    ) -> None:
        self._server = server
        self._address = address
        self._keys = StreamKeys(address)
        self._patience_s = patience_s
        self._n_expected = n_expected
        self._session = session
        self._remake = remake
        self._wanted_keep = keep
        self._retain_s = retain_s
        self.keep: Keep = keep or DEFAULT_KEEP
        self._n_parts, self._min_parts = n_parts, min_parts
        self.life = ""
        self._metadata: bytes | None = None
        self._run_id = ""
        self._expects_broker = False

    def open(self) -> None:
        """Make the stream.

        Raises
        ------
        StreamExistsError
            If another session has made it.
        NotKeptError
            If all is to be kept and nobody does, or the stream keeps something else than is asked for.
        PartsMismatchError
            If its messages have another number of parts.
        ServerUnavailableError, ServerRefusedError
            If the broker cannot be used.
        """
        self._server.check()
        self._run_id = self._server.run_id()
        self._expects_broker = read_presence(self._server) is not None
        created_ns = time.time_ns()
        expected = "" if self._n_expected is None else self._n_expected
        if self._wanted_keep == "all" and (why := why_nobody_keeps(self._server)):
            raise NotKeptError(str(self._address), f"all of it is to be kept, but {why}")
        with self._same_parts():
            made, keep, life = self._server.script(
                "open",
                [self._keys.state],
                [
                    created_ns,
                    int(self._patience_s * 1000),
                    expected,
                    self._session or "",
                    self._wanted_keep or "",
                    self._n_parts,
                    self._min_parts,
                ],
            )
        if self._session and not made:
            raise StreamExistsError(str(self._address))
        self.keep = check_keep(keep.decode())
        self.life = life.decode()
        if self._wanted_keep not in (None, self.keep):
            raise NotKeptError(
                str(self._address),
                f"the stream keeps {self.keep!r}, as its first producer said, and not {self._wanted_keep!r}",
            )
        if self._retain_s is not None:
            self._server.script("note", [self._keys.state], ["set", "retain_ms", round(self._retain_s * 1000)])
        source = self._address.source_address
        self._server.call_all(
            [
                ("ZADD", streams_of(source), "NX", created_ns // 1_000_000, self._address.name),
                ("SADD", SOURCES, str(source)),
            ]
        )

    @contextmanager
    def _same_parts(self) -> Iterator[None]:
        """Turn what the script answers when another number of parts was said before into `PartsMismatchError`."""
        try:
            yield
        except ServerRefusedError as error:
            if found := re.search(r"PARTS (\d+) (\d+)", error.reason):
                known = int(found[1]), int(found[2])
                raise PartsMismatchError(str(self._address), *known, self._n_parts, self._min_parts) from error
            raise

    def set_metadata(self, tree: Mapping[str, Any]) -> None:
        """Keep the stream's metadata; see `Producer.set_metadata`."""
        packed = encode_metadata(tree)
        # A mask may have many MB; only who may need it again keeps it.
        self._metadata = packed if self._remake or self.keep == "all" else None
        self._server.call("SET", self._keys.meta, packed)

    @contextmanager
    def missing_stream(self) -> Iterator[None]:
        """Turn what the scripts answer when there is no stream into `StreamNotFoundError`."""
        try:
            yield
        except ServerRefusedError as error:
            if "NOSTREAM" in error.reason:
                raise StreamNotFoundError(str(self._address)) from error
            if "NEWLIFE" in error.reason:
                raise NewLifeError from error
            raise

    def read_life(self) -> None:
        """Take the stream as it is now: what was stored in its life before is gone."""
        created, restored = self._server.call("HMGET", self._keys.state, "created_ns", "restored_ns")
        self.life = f"{(created or b'').decode()}/{(restored or b'').decode()}"

    def reopen(self) -> bool:
        """Have a stream again that the server lost by being started anew; False where that is not wanted or so.

        What of it is on disk is put back by the broker. Of a stream that keeps all, nothing that is not there was ever
        reported as sent, so that it may be made again where nothing is.
        """
        try:
            run_id = self._server.run_id()
            if run_id == self._run_id:
                return False
            if put_back(self._server, self._address, expect_broker=self._expects_broker):
                self._run_id = run_id
                self.read_life()
                return True
            if not (self._remake or self.keep == "all"):
                return False
            self.open()
            if self._metadata is not None:
                self._server.call("SET", self._keys.meta, self._metadata)
        except BeamstreamError as error:
            log.error("%s cannot be made again: %s", self._address, error)
            return False
        log.error("%s: the server was started anew without it; what was in it is lost, the rest follows", self._address)
        return True
