"""What the broker does now and then so that nothing stays for ever that nobody can use."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from beamstream.protocol.client import Server

from .expiring import Expiring
from .orphans import Orphans


@dataclass(frozen=True, slots=True, kw_only=True)
class Ages:
    """How old things may become.

    Attributes
    ----------
    retain_s : float or None
        Messages of open streams that do not say it themselves [s]; None: for ever.
    forget_after_s : float or None
        Indexes of finished streams that are on disk, since somebody read them last [s]; None: for ever.
    """

    retain_s: float | None = None
    forget_after_s: float | None = None


class Upkeep:
    """All of it for one server.

    Parameters
    ----------
    server : Server
        The server.
    root : Path or None
        Where the broker spills to.
    ages : Ages
        How old things may become.
    """

    def __init__(self, server: Server, root: Path | None, ages: Ages) -> None:
        self._expiring = Expiring(server, ages.retain_s, root)
        self._orphans = Orphans(server)

    def tick(self) -> None:
        """Do what it is time for.

        Raises
        ------
        ServerError
            If the server cannot be asked.
        """
        self._expiring.tick()
        self._orphans.tick()

    def events(self) -> dict[str, int]:
        """Return what was counted."""
        expired = self._expiring.counts
        return {
            "expired": expired.n_expired,
            "expired_unread": expired.n_missed,
            "segments_deleted": expired.n_files,
            "orphans_freed": self._orphans.n_freed,
        }
