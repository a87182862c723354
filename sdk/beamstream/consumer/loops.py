"""The loops over a consumer: frame by frame, or in batches; what a loop comes back from is acknowledged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, cast

from beamstream.errors import StreamFinishedError
from beamstream.frame import Frame

from .acknowledger import Acknowledger

if TYPE_CHECKING:
    from .batches import Batch
    from .consumer import Consumer

BATCH_BYTES = 1 << 30
"""Default limit of one batch, unpacked [bytes]: 28 frames of 16M pixels and 16 bits, 119 of 4M."""


class Loops:
    """The part of a `Consumer` that is looped over; whoever derives from it sets what it needs."""

    _acknowledger: Acknowledger | None
    _timeout_s: float | None

    _given_back: frozenset[str] = frozenset()
    """Entries that the loop has handed back since it was given them: it is not done with them."""

    def next(self, timeout_s: float | None = None) -> Frame:
        """Return the next message."""
        raise NotImplementedError

    def acknowledge(self, what: Frame | int | range) -> None:
        """Be done with a frame, a message id or a range of ids."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Frame]:
        """Yield messages until the stream is finished; each is acknowledged when the next one is asked for.

        One that the loop has given back is not. A loop that is left by an exception leaves its frame unacknowledged: it
        is given back when the consumer closes.

        Raises
        ------
        NothingNewError
            If nothing came within the consumer's `timeout_s`.
        """
        while True:
            try:
                frame = self.next(self._timeout_s)
            except StreamFinishedError:
                return
            self._given_back = frozenset()
            yield frame
            self._finish_with((frame,))

    def batches(self, n: int, timeout_s: float | None = None, *, limit_bytes: int = BATCH_BYTES) -> Iterator[Batch]:
        """Yield frames in batches: one contiguous array of `n` of them, unpacked straight into it.

        The first frame says what all are like. One that is damaged, or of another shape or dtype, is not in the batch:
        it is counted in ``counts.n_rejected``, named in the batch's ``rejected`` and given back to the group, and the
        others go on. The frames of a batch are acknowledged when the next batch is asked for; those that the loop has
        given back are not.

        Parameters
        ----------
        n : int
            Frames in a batch; the last one may have fewer.
        timeout_s : float, optional
            How long a batch may take to fill, from its first frame on [s]; then it is yielded as it is. None: until it
            is full. How long the first frame is waited for, the consumer's `timeout_s` says.
        limit_bytes : int
            Most bytes of one array [bytes]. A loop that keeps no array has two of them.

        Raises
        ------
        BatchTooLargeError
            If `n` frames are over the limit.
        NothingNewError
            If nothing came within the consumer's `timeout_s`.
        UsageError
            If `n` or `timeout_s` cannot be meant.

        Examples
        --------
        >>> with Consumer("11012345/eiger/lysozyme_run_042", group="mine") as frames:     # doctest: +SKIP
        ...     for batch in frames.batches(32):
        ...         tensor = torch.from_dlpack(batch)
        """
        from .batches import Batches  # and with it NumPy

        for batch in Batches(cast("Consumer", self), n, timeout_s=timeout_s, limit_bytes=limit_bytes):
            self._given_back = frozenset()
            yield batch
            self._finish_with(batch.frames)

    def _finish_with(self, frames: Sequence[Frame]) -> None:
        """Acknowledge what a loop was given, but for what it has handed back."""
        if self._acknowledger is not None:
            for frame in frames:
                if frame.entry_id not in self._given_back:
                    self.acknowledge(frame)

    @property
    def timeout_s(self) -> float | None:
        """How long iteration waits for the next message [s]; None: for ever."""
        return self._timeout_s
