"""A derived stream as one member of a group sees it: results in, ids without a result declined, the end written once.

Any number of members, in any number of processes, write one derived stream together: each under the ids of the
frames that it was given, in whatever order; the publish script puts them into theirs. Who makes the same result again,
because a frame was delivered again, is answered that it is there. The end may be asked for by all of them: it is
written once.

Nobody waits for what will not come: ids that the group has done with (see `settled`) are stated as missing, or
declined where they were declined in the source. So a derived stream needs no patience as long as a member lives.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from beamstream.errors import IdConflictError, QueueFullError, RetryLaterError, UsageError
from beamstream.frame import Frame, Gap
from beamstream.producer import Producer
from beamstream.protocol.client import Server
from beamstream.service.consuming.handler import StreamEnd, StreamStart
from beamstream.service.producing.upkeep import DEFAULT_UPKEEP, Upkeep
from beamstream.state import StreamState

from .processor import Output, Result
from .settled import Settled, settled, waited_for

log = logging.getLogger(__name__)

PATIENCE_S = 600.0
"""How long a derived stream waits for an id that no member of the group looks after any more [s]. Members state what
will not come, and what a killed one held is another one's after 10 s; this is for a group that was killed as a whole,
and long enough for somebody to start it again. A member that needs longer for one frame has its result marked late."""

WAIT_S = 1.0
"""How long a lost or full server is waited for before the loop is asked to come again [s]: it has signals to see to."""

GATHER_S = 0.04
"""How long results are gathered for one call to the server [s], while they come one behind the other: no longer than
somebody who watches notices, and a call for each would cost a twentieth of what finding its peaks does."""

CLOSE_TIMEOUT_S = 30.0
"""How long an interrupted service tries to send its results [s]; the rest is made again by its successor."""


class DerivedStream:
    """One output of a processor.

    Parameters
    ----------
    output : Output
        Where its messages go.
    stream : StreamStart
        What it is made of.
    upkeep : Upkeep
        What is kept of it, for how long, where it lies, and how much is held here.

    Attributes
    ----------
    n_results, n_declined, n_duplicate, n_conflict : int
        Messages sent; ids declined; those of both that were there already, and that were there otherwise.
    """

    def __init__(self, output: Output, stream: StreamStart, upkeep: Upkeep = DEFAULT_UPKEEP) -> None:
        self._source = stream.address
        self._group = stream.group
        self._tuning = stream.tuning
        self._sent: list[Future[str]] = []
        self._without: deque[int] = deque()
        self.n_results = self.n_declined = self.n_duplicate = self.n_conflict = 0
        self.producer = Producer(
            output.address,
            broker=stream.broker,
            metadata=output.metadata if stream.tuning is None else stream.tuning.describe(output.metadata),
            n_expected=stream.n_expected,
            patience_s=PATIENCE_S,
            block_timeout_s=WAIT_S,
            gather_s=GATHER_S,
            retry_timeout_s=None,
            keep=upkeep.keep,
            retain_s=upkeep.retain_s,
            queue_bytes=upkeep.queue_bytes,
            tier=upkeep.tier,
        )

    def send(self, frame: Frame, result: Result) -> None:
        """Queue the result for a frame, behind what was declined before it.

        Raises
        ------
        UsageError
            If it is both an array and a frame.
        RetryLaterError
            If too much waits for the server.
        EntryError, SendError
            If it cannot be sent.
        """
        self._send_declined()
        message_id, timestamp_ns = frame.message_id, frame.header.timestamp_ns
        if result.array is not None and result.frame is not None:
            raise UsageError(
                f"the result for message {message_id} has an array and a frame; only one of them can be sent"
            )
        metadata = self._stamped(result.metadata)
        try:
            if result.array is not None:
                future = self.producer.send_array(
                    message_id, result.array, codec=result.codec, timestamp_ns=timestamp_ns, metadata=metadata
                )
            elif result.frame is not None:
                header = result.frame.header
                future = self.producer.send(
                    message_id,
                    result.frame.payload,
                    shape=header.shape,
                    dtype=header.dtype,
                    codec=header.codec,
                    timestamp_ns=timestamp_ns,
                    metadata=metadata,
                )
            else:
                future = self.producer.send(message_id, b"", timestamp_ns=timestamp_ns, metadata=metadata)
        except QueueFullError as error:
            if self._tuning is not None:
                self._tuning.take_back(str(self.producer.address))
            raise RetryLaterError(str(error)) from error
        self._sent.append(future)
        self.n_results += 1

    def _stamped(self, metadata: Mapping[str, Any]) -> Mapping[str, Any]:
        return metadata if self._tuning is None else self._tuning.stamp(metadata, str(self.producer.address))

    def decline(self, message_id: int) -> None:
        """Take note that a frame has no result here; sent with its neighbours, so that they become one entry."""
        self._without.append(message_id)
        self.n_declined += 1

    def _send_declined(self) -> None:
        try:
            while self._without:
                self._sent.append(self.producer.decline(self._without[0]))
                self._without.popleft()
        except QueueFullError as error:
            raise RetryLaterError(str(error)) from error

    def pass_over(self, gap: Gap) -> None:
        """State at once what is missing in the source, and decline what was declined there; as far as there is room."""
        self._state(gap.first_id, gap.last_id, is_declined=gap.is_declined)

    def _state(self, first_id: int, last_id: int, *, is_declined: bool) -> Future[str] | None:
        say = self.producer.decline if is_declined else self.producer.pass_over
        future = None
        try:
            for message_id in range(first_id, last_id + 1):
                future = say(message_id)
        except QueueFullError as error:
            log.debug("%s; it is stated later", error)  # `settle` looks again at what others wait for
        return future

    def commit(self) -> None:
        """Wait until everything that was given is in the stream.

        Raises
        ------
        RetryLaterError
            If the server is lost or full.
        SendError, ServerError
            If something could not be sent; its frame is then delivered again.
        """
        self._send_declined()
        if not self.producer.flush(WAIT_S):
            raise RetryLaterError(f"{self.producer.queued_bytes} bytes for {self.producer.address} cannot be sent")
        sent, self._sent = self._sent, []
        for future in sent:
            try:
                self.n_duplicate += future.result() == "duplicate"
            except IdConflictError as error:
                # This frame had another result before, of other parameters or another program; the first one stays.
                log.log(logging.DEBUG if self.n_conflict else logging.WARNING, "%s; the first one stays", error)
                self.n_conflict += 1

    def settle(self, server: Server, last_id: int | None = None) -> bool:
        """State what will not come, as the group has done with it, if something waits for it; whether there was any.

        Parameters
        ----------
        server : Server
            Where the streams are.
        last_id : int, optional
            The source's last id, once it has ended: then its end waits, too.

        Raises
        ------
        ServerError
            If the server cannot be asked.
        """
        waiting = waited_for(server, self.producer.address, last_id)
        if self._group:
            done = settled(server, self._source, self._group, waiting)
        else:  # nobody else knows of it: what is not there will not come
            done = Settled(declined=[], missing=list(waiting) if last_id is not None else [])
        last: Future[str] | None = None
        for ids, is_declined in ((done.declined, True), (done.missing, False)):
            for message_id in ids:
                last = self._state(message_id, message_id, is_declined=is_declined) or last
        return last is not None and self.producer.flush(WAIT_S)

    def finish(self, server: Server, end: StreamEnd) -> None:
        """End the stream as its source ended; whoever else does so finds it done.

        Raises
        ------
        RetryLaterError, ServerUnavailableError, BufferFullError
            If that cannot be done now; to be called again.
        """
        while self.settle(server, end.last_id):
            pass
        if waiting := waited_for(server, self.producer.address, end.last_id):
            raise RetryLaterError(
                f"{self.producer.address} cannot end: message {waiting[0]} of {self._source} is not settled"
            )
        self.producer.finish(end.last_id, reason=end.reason, next_stream=end.next_stream, retry_timeout_s=WAIT_S)

    def state(self) -> StreamState:
        """Return where the stream stands, by whomever it was written."""
        return self.producer.state()

    def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Send what is queued, and let the stream go."""
        self.producer.close(timeout_s)
