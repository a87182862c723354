"""The `statistics` reducer: what `PeakStatistics` adds up of a stream of peaks, as a small stream of its own.

Each result has the whole state: the virtual powder of the hits as its array, everything else as metadata.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from beamstream import Frame, SourceAddress
from beamstream.service import Output, Result, StreamStart, derived_address

from .errors import PeakMessageError
from .processor import PEAKS
from .statistics import PeakStatistics

STATISTICS = "statistics"
"""What stands behind the name of the detector's data source."""


class PeakStatisticsReducer:
    """Adds up what `stream consume peaks` finds.

    Parameters
    ----------
    to : SourceAddress, optional
        The data source that is written; default: the detector's, with ``-statistics`` behind its name.
    """

    name = STATISTICS

    def __init__(self, to: SourceAddress | None = None) -> None:
        self._to = to
        self.statistics = PeakStatistics()

    def open(self, stream: StreamStart) -> Output:
        """Begin with nothing, and say where the results go.

        Raises
        ------
        UsageError
            If that would be the source itself.
        """
        self.reset()
        address = stream.address
        detector = address.source.removesuffix(f"-{PEAKS}")
        to = self._to or SourceAddress(address.beamtime, f"{detector}-{STATISTICS}")
        about = {"source": str(address), "powder": ["peaks per bin", "intensity per bin"]}
        return Output(address=derived_address(address, STATISTICS, to), metadata={"peak_statistics": about})

    def restore(self, result: Frame) -> None:
        """Take over what another process had added up.

        Raises
        ------
        PeakMessageError
            If that is no result of this reducer.
        """
        try:
            self.statistics = PeakStatistics.restored(result.metadata, result.array())
        except (KeyError, TypeError, ValueError) as error:
            raise PeakMessageError(result.message_id, f"{type(error).__name__}: {error}") from error

    def add(self, frame: Frame) -> None:
        """Add the peaks of one frame.

        Raises
        ------
        PeakMessageError
            If the message does not say them.
        """
        self.statistics.add(frame.message_id, frame.header.timestamp_ns, frame.metadata)

    def result(self) -> Result:
        """Return what was added up so far."""
        return Result(array=np.ascontiguousarray(self.statistics.powder), metadata=self.statistics.summary())

    def reset(self) -> None:
        """Begin anew."""
        self.statistics = PeakStatistics()

    def status(self) -> Mapping[str, int | float | str]:
        """Return hits and their rate."""
        summary = self.statistics.summary()
        return {
            "hits": self.statistics.n_hits,
            "hit_rate": round(summary["hit_rate"], 4),
            "hit_rate_of_late": round(summary["hit_rate_of_late"], 4),
        }
