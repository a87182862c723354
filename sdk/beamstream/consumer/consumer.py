"""`Consumer`: reads the messages of one stream, alone or as a member of a group.

Reading modes: next in group (iteration, `next`), newest (each message once to a group), by id, a range, and everything
without a group. Messages of a group are delivered at least once: iteration acknowledges a frame when the loop comes
back for the next one; what a dead member held goes to a live one.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from beamstream.address import Address, is_path, locate_stream
from beamstream.errors import (
    BeamstreamError,
    GroupNotFoundError,
    NothingNewError,
    StreamFinishedError,
    StreamNotFoundError,
    UsageError,
)
from beamstream.frame import Frame, Gap
from beamstream.groups import MEMBER_TIMEOUT_S, Redelivery
from beamstream.groups.redelivery import DELAYS_S, MAX_ATTEMPTS, MAX_DELAY_S
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.put_back import put_back
from beamstream.state import read_state
from beamstream.tiers import TieredPayloads

from .acknowledger import Acknowledger
from .ahead import Ahead
from .delivery import ConsumerCounts, Delivery
from .direct import DirectReads
from .feed import Feed, GroupFeed, Start, WholeFeed, check_start, entry_before
from .fetcher import Fetcher
from .group import GroupMember
from .loops import Loops
from .parts import check_part
from .sign import Sign

log = logging.getLogger(__name__)

T = TypeVar("T")

WAIT_FOR_STREAM_S = 0.1
"""How often a stream that is not there yet is looked for [s]."""


class Consumer(Loops, DirectReads):
    """Reads one stream.

    Parameters
    ----------
    where : str, Address or path
        ``beamtime/source/stream``, with the broker's URL in front of it if wanted; or a folder with segments, which is
        read without any broker by an `beamstream.offline.OfflineReader`.
    broker : str, optional
        The broker's URL; default: `STREAM_BROKER`, else the local one.
    group : str, optional
        The consumer group; made on first use. Without one, every message is read and nothing is remembered.
    start : "start", "newest" or int
        Where a new group, or a reader without one, begins; an int is a message id.
    required : bool
        Whether the group holds data: what it has not acknowledged does not leave memory.
    timeout_s : float, optional
        How long iteration waits for the next message before it raises `NothingNewError` [s]; None: for ever.
    wait_for_stream : bool
        Wait for a stream that is not there yet, in place of raising `StreamNotFoundError`.
    member : str, optional
        This member's name in the group; default: host, process and a random part.
    member_timeout_s : float
        After which silence this member's messages go to another one [s].
    max_attempts : int
        How often a message is delivered before the group gives it up, to its dead letters. This and the delays are
        properties of the group: they count where this consumer makes it (`stream group set` changes them).
    redelivery_delays_s : sequence of float
        How long a message that was given back waits after its first, second, … delivery [s]; the last one stands for
        all further ones.
    prefetch_bytes, prefetch_messages : int, optional
        How much may be fetched ahead [bytes, messages]; default: what is read in 50 ms, between 64 and 256 MiB, 64 and
        1024 messages. One message larger than that is still fetched.
    retry_timeout_s : float or None
        How long a lost server, or a broker that does not give what it has on disk, is tried again [s]; None: for ever.
    part : int, optional
        Of datasets, give only this part, from 1; the bytes of the others are not fetched. A dataset without it is
        counted as missing. Default: datasets whole.

    Raises
    ------
    StreamNotFoundError
        If there is no such stream, and `wait_for_stream` is off.
    UsageError
        If the messages of this stream have no such part.
    ServerUnavailableError, ServerRefusedError
        If the broker cannot be used.

    Examples
    --------
    >>> with Consumer("11012345/eiger/lysozyme_run_042", group="mine") as frames:     # doctest: +SKIP
    ...     for frame in frames:
    ...         image = frame.array()
    """

    def __new__(cls, where: str | Address | os.PathLike[str], **_options: Any) -> Consumer:
        """Make the reader that `where` needs: this one, or one of files."""
        if cls is not Consumer or not is_path(where):
            return super().__new__(cls)
        from beamstream.offline import OfflineReader  # it stands on this class

        return super().__new__(OfflineReader)

    def __init__(
        self,
        where: str | Address | os.PathLike[str],
        *,
        broker: str | None = None,
        group: str | None = None,
        start: Start = "start",
        required: bool = False,
        timeout_s: float | None = None,
        wait_for_stream: bool = False,
        member: str | None = None,
        member_timeout_s: float = MEMBER_TIMEOUT_S,
        max_attempts: int = MAX_ATTEMPTS,
        redelivery_delays_s: Sequence[float] = DELAYS_S,
        prefetch_bytes: int | None = None,
        prefetch_messages: int | None = None,
        retry_timeout_s: float | None = 60.0,
        part: int | None = None,
    ) -> None:
        self.address, url = locate_stream(where if isinstance(where, Address) else str(where), broker)
        self.group = group
        self.member = member or f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.counts = ConsumerCounts()
        self._timeout_s = timeout_s
        redelivery = Redelivery(max_attempts=max_attempts, delays_s=tuple(redelivery_delays_s))
        self._keys = StreamKeys(self.address)
        self._server = Server(url)
        self._server.check()
        self._tier = TieredPayloads(self._server, self._keys)
        self._ahead = Ahead(self.counts, prefetch_bytes, prefetch_messages)
        self._delivery = Delivery(self._ahead.limit_bytes, self._ahead.limit_messages)
        self._closed = threading.Event()
        self._seen_newest = "0-0"
        self._gave_back = False
        self._wait_for_stream(wait_for_stream, timeout_s)
        self.part = check_part(str(self.address), 1 if part is None else self.state.n_parts, part)
        self._sign = Sign(self._server, self._keys)
        self._sign.tick()
        self._member: GroupMember | None = None
        self._acknowledger: Acknowledger | None = None
        if group is not None:
            self._member = GroupMember(self._server, self._keys, group, self.member, member_timeout_s=member_timeout_s)
            position = entry_before(self._server, self._keys, check_start(start))
            self._member.join(position, redelivery, required=required)
            self._acknowledger = Acknowledger(self._member, self.counts, retry_timeout_s)
        self._retry_timeout_s = retry_timeout_s
        self._start = check_start(start)
        self._fetcher: Fetcher | None = None

    def _wait_for_stream(self, wait: bool, timeout_s: float | None) -> None:
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        while read_state(self._server, self._keys) is None:
            if put_back(self._server, self.address):
                return
            if not wait or (ends_at is not None and time.monotonic() >= ends_at):
                raise StreamNotFoundError(str(self.address))
            time.sleep(WAIT_FOR_STREAM_S)

    def _begin_to_fetch(self) -> None:
        """Begin to fetch when somebody first asks for the next message."""
        feed: Feed = (
            WholeFeed(self._server, self._keys, self._start)
            if self._member is None
            else GroupFeed(self._member, self.counts)
        )
        self._fetcher = Fetcher(
            self._server,
            self._keys,
            feed,
            self._tier,
            self._delivery,
            self.counts,
            member=self._member,
            sign=self._sign,
            ahead=self._ahead,
            retry_timeout_s=self._retry_timeout_s,
            part=self.part,
        )
        self._fetcher.start()

    def take_gaps(self) -> list[Gap]:
        """Return the gaps that were passed since the last call, the newest 100,000 at most."""
        return self._delivery.take_gaps()

    # --- next --------------------------------------------------------------------------------------------------

    def next(self, timeout_s: float | None = None) -> Frame:
        """Return the next message; in a group it stays this member's until it is acknowledged.

        Raises
        ------
        NothingNewError
            If nothing came within `timeout_s` [s] (None: wait for ever).
        StreamFinishedError
            If the stream has ended and this was all; `next_stream` names the one after it.
        StreamNotFoundError
            If the stream was deleted.
        ServerUnavailableError
            If the server was lost and did not come back in time; as `FetchUnavailableError`, if the broker's fetch
            service was, and payloads lie where only that can read them.
        """
        if self._fetcher is None:
            self._begin_to_fetch()
        ends_at = None if timeout_s is None else time.monotonic() + timeout_s
        left_s = timeout_s
        while (frame := self._delivery.take(left_s)) is not None:
            if self._is_ours(frame):
                self.counts.add_delivered(frame.header)
                return frame
            left_s = None if ends_at is None else max(0.0, ends_at - time.monotonic())
        if not self._delivery.finished:
            raise NothingNewError(str(self.address), timeout_s or 0.0)
        if self._gave_back:
            self._look_again()
            return self.next(timeout_s)
        state = self._with_retries(lambda: self.state)
        raise StreamFinishedError(str(self.address), state.last_id, state.next_stream)

    def _look_again(self) -> None:
        """Go on at what seemed to be the end: what this member gave back after the last look may come to it again."""
        self._gave_back = False
        if self._fetcher is not None:
            self._fetcher.stop()
            self._fetcher = None
        self._delivery.reopen()

    def _is_ours(self, frame: Frame) -> bool:
        """Count a delivery with the group; False where the message has gone to another member meanwhile."""
        member = self._member
        if member is None or member.hand_out_new(frame.entry_id):
            return True
        try:
            return self._with_retries(lambda: member.hand_out(frame.entry_id))
        except BeamstreamError:
            self._delivery.put(frame)
            raise

    # --- acknowledging -----------------------------------------------------------------------------------------

    def acknowledge(self, what: Frame | int | range) -> None:
        """Be done with a frame, a message id or a range of ids; sent in batches, at the latest after 0.1 s.

        Raises
        ------
        UsageError
            If this consumer has no group.
        """
        acknowledger = self._with_group()
        if isinstance(what, Frame):
            acknowledger.add([what.entry_id])
        else:
            acknowledger.add(acknowledger.member.entry_ids([what] if isinstance(what, int) else what))

    def negative_acknowledge(self, frame: Frame, delay_s: float | None = None, why: str = "given back") -> None:
        """Hand a frame to somebody again, after a delay; after the last attempt it goes to the dead letters.

        One that has gone to another member meanwhile, because this one was silent for too long, stays there.

        Parameters
        ----------
        frame : Frame
            One that this consumer was given.
        delay_s : float, optional
            How long it waits [s]; by default as the group says for this attempt.
        why : str
            What went wrong, e.g. a traceback; kept with the dead letter.

        Raises
        ------
        UsageError
            If this consumer has no group, or `delay_s` is no delay.
        """
        member = self._with_group().member
        if delay_s is not None and not 0 <= delay_s <= MAX_DELAY_S:
            raise UsageError(f"a delay of {delay_s} s cannot be; it lies between 0 and {MAX_DELAY_S:g} s")
        self._given_back |= {frame.entry_id}
        buried = self._with_retries(lambda: member.give_back(frame.message_id, frame.entry_id, delay_s, why))
        self.counts.n_dead += buried
        self._gave_back = self._gave_back or not buried

    def hand_back(self, frame: Frame) -> None:
        """Leave a frame to others, untried: when this consumer closes they get it, and it counts as no attempt."""
        self._given_back |= {frame.entry_id}
        self._with_group().member.hand_back(frame.entry_id)

    def flush(self) -> None:
        """Send the acknowledgements that wait."""
        if self._acknowledger is not None:
            self._acknowledger.flush()

    def _with_group(self) -> Acknowledger:
        if self._acknowledger is None:
            raise UsageError(f"{self.address} is read without a group: there is nothing to acknowledge")
        return self._acknowledger

    # --- ending ------------------------------------------------------------------------------------------------

    def last_report(self) -> str | None:
        """Return the text that this group has kept with the stream, if any."""
        kept = self._server.call("HGET", self._keys.group(str(self.group)), "report")
        return None if kept is None else str(kept, "utf-8", "replace")

    def report(self, text: str) -> None:
        """Keep a text with the group: what it made of the stream, for the receipt."""
        self._with_group()
        self._server.script("note", [self._keys.group(str(self.group))], ["set", "report", text])

    def close(self) -> None:
        """Send waiting acknowledgements, give back what is still held, leave the group."""
        if self._closed.is_set():
            return
        self._closed.set()
        self._tier.interrupt()
        if self._fetcher is not None:
            self._fetcher.stop()
        try:
            if self._acknowledger is not None:
                self._acknowledger.close()
            if self._member is not None:
                self._member.leave()
        except (StreamNotFoundError, GroupNotFoundError) as error:
            log.debug("nothing to leave: %s", error)
        except BeamstreamError as error:
            log.warning(
                "%s: leaving the group failed, its messages come back after the timeout: %s", self.address, error
            )
        finally:
            self._tier.close()
            self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
