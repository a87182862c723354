"""What a monitor knows of a stream at one moment, and how it comes to know it; pure, clocks are passed in.

Rates are of the stream, not of what the monitor reads: it reads a few frames a second and counts all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from beamstream import Address
from beamstream.state import StreamState
from beamstream_consumers.kernels.statistics import ImageStatistics
from beamstream_consumers.monitor.rates import RateMeter, life_of


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownFrame:
    """The newest frame that was read.

    Attributes
    ----------
    message_id : int
        Its id.
    timestamp_ns : int
        When its producer got it [ns since 1970, UTC].
    statistics : ImageStatistics or None
        What is in it; None where it is no image, or damaged.
    note : str
        Why there are no statistics.
    """

    message_id: int
    timestamp_ns: int
    statistics: ImageStatistics | None
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """A stream as it is shown.

    Attributes
    ----------
    state : str
        ``waiting`` (there is no stream yet), ``open``, or how it ended: ``complete``, ``incomplete``, ``aborted``.
    life : str
        ``waiting``, ``live``, ``delayed``, ``silent`` or ``finished``.
    n_received, n_expected : int, int or None
        Messages taken, and promised.
    n_missing, n_dropped : int
        Ids that never came; payloads that left memory unread.
    newest_id : int
        Highest id that is settled.
    rate_hz, rate_mb_s : float
        Messages and payload megabytes per second.
    age_s : float or None
        Age of the newest frame that was read [s].
    frame : ShownFrame or None
        That frame.
    flaw : str
        Why the broker cannot write to disk, where it cannot.
    """

    address: Address
    state: str
    life: str
    n_received: int = 0
    n_expected: int | None = None
    n_missing: int = 0
    n_dropped: int = 0
    newest_id: int = 0
    rate_hz: float = 0.0
    rate_mb_s: float = 0.0
    age_s: float | None = None
    frame: ShownFrame | None = None
    flaw: str = ""

    @property
    def lag(self) -> int:
        """How many ids the frame that is shown is behind the newest one."""
        return max(0, self.newest_id - self.frame.message_id) if self.frame else self.newest_id


class Watcher:
    """Makes views of one stream."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._rates = RateMeter()
        self.frame: ShownFrame | None = None

    def waiting(self) -> View:
        """Return the view of a stream that is not there yet."""
        return View(address=self._address, state="waiting", life="waiting")

    def view(self, state: StreamState, now_s: float, now_ns: int, flaw: str = "") -> View:
        """Return the view of a stream.

        Parameters
        ----------
        state : StreamState
            Where it stands.
        now_s, now_ns : float, int
            A steady clock [s], for rates, and the time of day [ns since 1970, UTC], for ages.
        flaw : str
            Why the broker cannot write to disk.
        """
        rate_hz, rate_bytes = self._rates.measure(now_s, state.n_received, state.total_bytes)
        since_ns = self.frame.timestamp_ns if self.frame else state.created_ns
        age_s = max(0.0, (now_ns - since_ns) / 1e9)
        return View(
            address=self._address,
            state=state.word,
            life="finished" if state.finished else life_of(age_s),
            n_received=state.n_received,
            n_expected=state.n_expected,
            n_missing=state.n_missing,
            n_dropped=state.n_dropped,
            newest_id=state.next_id - 1,
            rate_hz=rate_hz,
            rate_mb_s=rate_bytes / 1e6,
            age_s=age_s if self.frame else None,
            frame=self.frame,
            flaw=flaw,
        )
