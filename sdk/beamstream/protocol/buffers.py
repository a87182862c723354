"""Memory that payloads are received into, used again once nobody looks at what was in it.

The kernel clears every page of new memory before it hands it out, which takes longer than a payload's way through a
socket. So a buffer is filled again as soon as the views of it are gone: the payload itself, parts of it, arrays on it,
whoever holds them. Python keeps count of these: a bytearray with views refuses to change its length, and that is what
is asked here, not anybody's word. What is still looked at is never written to, and what is not found free in a few
looks is replaced by new memory. All readers of a process share it: the consumer of the next series finds the memory of
the last one warm.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict, deque

KEPT_BYTES = 256 << 20
"""Most memory that is known here, in use or free [bytes]: four times what a consumer fetches ahead by default, so that
two frames of 36 MB that are fetched, one that waits and one that is worked on go round."""

MAX_LOOKS = 16
"""How many buffers are looked at before a new one is made. They come in the order in which they were filled, which is
that in which they are done with."""

STEPS_PER_DOUBLING = 8
"""Sizes of buffers between one power of two and the next: frames that compress a little more or less share them, and at
most an eighth of a buffer is not used."""

PAGE_BYTES = 4096

TAIL_BYTES = 64
"""Room behind a payload for what the protocol puts there [bytes], so that a payload of 1 MiB does not need the next
larger buffer."""

_OWN_REFERENCES = 3
"""References to a buffer while it is looked at: the deque's, the name's in the function, the counting call's."""


class ReceiveBuffers:
    """Buffers for any number of readers; safe to share between threads.

    Parameters
    ----------
    kept_bytes : int
        Most memory that is known here, in use or free [bytes]. Larger buffers are made, and forgotten.

    Examples
    --------
    >>> buffers = ReceiveBuffers()
    >>> view = buffers.take(100_000)
    >>> view.nbytes
    100000
    """

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._by_size: OrderedDict[int, deque[bytearray]] = OrderedDict()
        self._lock = threading.Lock()
        self.known_bytes = 0

    def forget(self) -> None:
        """Forget all buffers; views of them stay what they are."""
        self._lock = threading.Lock()  # of a process that was forked, nobody may be there any more to release it
        self._by_size = OrderedDict()
        self.known_bytes = 0

    def take(self, n_bytes: int) -> memoryview:
        """Return a writable view of `n_bytes` that nobody else has a view of; what is in it is not defined."""
        size = buffer_size(n_bytes)
        with self._lock:
            return memoryview(self._find_free(size) or self._make(size))[:n_bytes]

    def _find_free(self, size: int) -> bytearray | None:
        known = self._by_size.get(size)
        if known is None:
            return None
        self._by_size.move_to_end(size)
        for _ in range(min(len(known), MAX_LOOKS)):
            known.rotate(-1)
            if _is_free(known[-1]):
                return known[-1]
        return None

    def _make(self, size: int) -> bytearray:
        buffer = bytearray(size)
        if size <= self._kept_bytes:
            self.known_bytes += size
            while self.known_bytes > self._kept_bytes:
                self._forget_oldest()
            self._by_size.setdefault(size, deque()).append(buffer)
            self._by_size.move_to_end(size)
        return buffer

    def _forget_oldest(self) -> None:
        """Forget the oldest buffer of the size that was asked for longest ago; views of it stay what they are."""
        size, known = next(iter(self._by_size.items()))
        known.popleft()
        self.known_bytes -= size
        if not known:
            del self._by_size[size]


def buffer_size(n_bytes: int) -> int:
    """Return the size of the buffers for so many bytes [bytes].

    Examples
    --------
    >>> buffer_size(1_000_000), buffer_size((1 << 20) + 2), buffer_size(9_000_000)
    (1048640, 1048640, 9437248)
    """
    payload_bytes = max(1, n_bytes - TAIL_BYTES)
    step = max(PAGE_BYTES, (1 << payload_bytes.bit_length() - 1) // STEPS_PER_DOUBLING)
    return -(-payload_bytes // step) * step + TAIL_BYTES


def _is_free(buffer: bytearray) -> bool:
    """Whether nobody has a view of a buffer, nor the buffer itself through the ``obj`` of one."""
    if sys.getrefcount(buffer) > _OWN_REFERENCES:
        return False
    try:
        buffer.pop()
    except BufferError:
        return False
    buffer.append(0)  # in the place that was given up: nothing is moved
    return True


SHARED = ReceiveBuffers()
"""Those of this process."""

os.register_at_fork(after_in_child=SHARED.forget)
