"""What can go wrong with the bench; all of it stands under `beamstream.errors`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from beamstream.errors import BeamstreamError, ServerError, UsageError
from beamstream_broker.errors import quote_log


class NothingToMeasureError(UsageError):
    """Options that leave no case."""

    def __init__(self, tiers: Sequence[str], sizes: Sequence[int], inline_bytes: int) -> None:
        self.tiers = tuple(tiers)
        self.sizes = tuple(sizes)
        self.inline_bytes = inline_bytes
        super().__init__(
            f"nothing is left to measure: frames of {', '.join(map(str, sizes))} bytes do not go through "
            f"{', '.join(tiers)}; up to {inline_bytes} bytes they travel inline, larger ones never do"
        )


class OutputFileError(UsageError):
    """A file that cannot be written; found before anything is measured."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"{path} cannot be written: {reason}; nothing was measured")


class TooLittleMemoryError(UsageError):
    """A server too small for the frames that are to go through it."""

    def __init__(self, memory_bytes: int, needed_bytes: int, message_bytes: int) -> None:
        self.memory_bytes = memory_bytes
        self.needed_bytes = needed_bytes
        self.message_bytes = message_bytes
        super().__init__(
            f"frames of {message_bytes} bytes need a server with at least {needed_bytes} bytes of memory, this one is "
            f"to have {memory_bytes}; give it more with --memory, or take smaller frames with --size"
        )


class TierNotHadError(UsageError):
    """A tier that was asked for by name, and cannot be had here."""

    def __init__(self, tier: str, reason: str) -> None:
        self.tier = tier
        self.reason = reason
        super().__init__(f"--tier {tier} cannot be measured: {reason}")


class BrokerNotIdleError(ServerError):
    """A server on which measuring would disturb others, or tell nothing because of them."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(
            f"nothing is measured against {url}: {reason}; come back when it is idle, or leave out --broker to measure "
            "with a server of its own"
        )


class WorkerFailedError(BeamstreamError):
    """A process of the bench ended, or could not do its part."""

    def __init__(self, worker: str, reason: str, kind: str = "", log_lines: Sequence[str] = ()) -> None:
        self.worker = worker
        self.reason = reason
        self.kind = kind
        self.log_lines = tuple(log_lines)
        super().__init__(f"the bench's {worker} failed: {reason}{quote_log(log_lines)}")


class IncompleteRunError(BeamstreamError):
    """Not every message that was sent was delivered: there is no figure then."""

    def __init__(self, what: str, n_sent: int, n_delivered: Sequence[int], n_failed: int, failure: str) -> None:
        self.what = what
        self.n_sent = n_sent
        self.n_delivered = tuple(n_delivered)
        self.n_failed = n_failed
        self.failure = failure
        why = f" ({failure})" if failure else ""
        given = f"; the groups were given {', '.join(map(str, n_delivered))}" if n_delivered else ""
        super().__init__(
            f"{what}: {n_sent} messages were sent, {n_failed} more failed{why}{given}; that is no measurement"
        )
