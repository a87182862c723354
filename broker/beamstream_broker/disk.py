"""Everything that the broker does with the disk: spilling, keeping all, snapshots of groups, putting streams back."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

from beamstream.protocol.client import Server

from .fetching.announcing import Announcing
from .forgetting import Forgetting
from .keeping import LOOK_EVERY_S, Keeping
from .restoring import Restoring
from .sharing import Pool
from .snapshots import Snapshots
from .spilling import Spilling

log = logging.getLogger(__name__)

DISK_EVERY_S = LOOK_EVERY_S
"""How often the disk has its turn while there is something to be kept [s]."""


class Disk:
    """The segments below one folder, and the streams of one server in them.

    Parameters
    ----------
    server : Server
        The server.
    root : Path
        The folder.
    endpoint : str
        Who serves it to readers that do not see it; empty: nobody.
    forget_after_s : float or None
        After what time without readers the index of a finished stream leaves the server [s]; None: never.
    pool : Pool, optional
        The segments of shared memory.
    """

    def __init__(
        self,
        server: Server,
        root: Path,
        endpoint: str = "",
        forget_after_s: float | None = None,
        pool: Pool | None = None,
    ) -> None:
        self.root = root.absolute()
        self.spilling = Spilling(server, root, endpoint, pool)
        self._announcing = Announcing(server, root, endpoint)
        self._server = server
        self._keeping = Keeping(server, self.spilling)
        self._snapshots = Snapshots(server, root)
        self._restoring = Restoring(server, root)
        self._forgetting = Forgetting(server, forget_after_s, self.spilling, self._snapshots, root)
        self._run_id = ""

    @property
    def flaw(self) -> str:
        """Why nothing goes to disk now; empty where nothing keeps it from it."""
        return self.spilling.flaw or self._snapshots.flaw

    def free_bytes(self) -> int | None:
        """Return how much room there is for segments [bytes]; None where the disk does not say."""
        try:
            return shutil.disk_usage(self.root).free
        except OSError:
            return None

    @property
    def busy(self) -> bool:
        """Whether there is a stream whose messages are not sent before they are on disk."""
        return self._keeping.busy

    def look(self) -> None:
        """Have one turn.

        Raises
        ------
        ServerError
            If the server cannot be asked.
        """
        self.begin()
        self._restoring.answer()
        self._announcing.tick()
        self._keeping.look()
        self._snapshots.look()
        self._forgetting.tick()

    def begin(self) -> None:
        """Put streams back where the server is one that was started anew; does nothing where it is the known one.

        Raises
        ------
        ServerError
            If the server cannot be asked.
        """
        run_id = self._server.run_id()
        if run_id != self._run_id:
            self.spilling.close()
            self._restoring.put_back_live()
            self._run_id = run_id

    def events(self) -> dict[str, int]:
        """Return what was counted."""
        spilled, restored = self.spilling.counts, self._restoring.counts
        return {
            "spilled": spilled.n_spilled,
            "gone_before_spilling": spilled.n_gone,
            "streams_put_back": restored.n_streams,
            "messages_put_back": restored.n_messages,
            "not_put_back": restored.n_failed,
            "streams_forgotten": self._forgetting.n_forgotten,
        }

    def close(self, *, everything: bool) -> None:
        """Keep what is to be kept, write the last snapshots, let all files go.

        Parameters
        ----------
        everything : bool
            The server ends with us: what streams that overflow have in memory goes to disk, too.
        """
        self._keeping.keep(("overflow", "all") if everything else ("all",))
        self._snapshots.look(now=True)
        self.spilling.close()
