"""Says what is wrong without saying it for every message: the first of each reason, then a count now and then."""

from __future__ import annotations

from dataclasses import dataclass

REPEAT_S = 10.0
"""How often the same reason is named again [s]."""


@dataclass(slots=True)
class _Reason:
    said_at_s: float
    n_since: int = 0


class Complaints:
    """Decides which complaints are worth a line in the log."""

    def __init__(self, repeat_s: float = REPEAT_S) -> None:
        self._repeat_s = repeat_s
        self._reasons: dict[str, _Reason] = {}

    def note(self, reason: str, detail: str, now_s: float) -> str | None:
        """Note one occurrence; returns the line to log, if it is time for one.

        Parameters
        ----------
        reason : str
            What is counted together.
        detail : str
            What is said about this one.
        now_s : float
            Time of any clock that only goes forward [s].
        """
        known = self._reasons.get(reason)
        if known is None:
            self._reasons[reason] = _Reason(now_s)
            return detail
        known.n_since += 1
        if now_s - known.said_at_s < self._repeat_s:
            return None
        n_since, known.n_since, known.said_at_s = known.n_since, 0, now_s
        return f"{detail} ({n_since} time(s) since this was last said)"
