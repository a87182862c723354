"""One run of the demo: start the processes in their order, watch them, and draw up the receipt."""

from __future__ import annotations

import time
from pathlib import Path

from beamstream.groups import list_groups
from beamstream.metrics import Snapshot
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.receipt import Receipt, make_receipt
from beamstream.service.shell import Shell
from beamstream.state import read_state
from beamstream_broker.errors import StageStalledError

from .crew import Crew
from .stages import (
    BIN,
    CONNECTOR,
    DETECTOR,
    ENDING,
    HITS,
    MONITOR,
    PEAKS,
    SERVER,
    STREAM,
    WRITE,
    DemoOptions,
    connector_arguments,
    consumer_arguments,
    detector_arguments,
    server_arguments,
)

LOOK_EVERY_S = 0.2
"""How often the processes are looked at and the frames counted [s]."""

STALL_TIMEOUT_S = 60.0
"""After how long without any change the demo gives up [s]; compiling the kernels for the first time takes 20 s."""

STALL_FRAMES = 10
"""Frame times without a frame that are always waited for: one every minute is slow, not stuck."""


class DemoSession:
    """Processes, counts and receipt of one run.

    Parameters
    ----------
    options : DemoOptions
        What is demonstrated.
    directory : Path
        The run's own directory, for data and logs.
    """

    def __init__(self, options: DemoOptions, directory: Path) -> None:
        self._options = options
        self._directory = directory
        self._counts = {"produced": 0, BIN: 0, PEAKS: 0, WRITE: 0}
        self._n_bytes = 0
        self._moved_at = time.monotonic()
        self._server: Server | None = None
        self.crew = Crew(directory / "logs")

    @property
    def broker(self) -> str | None:
        """URL of the demo's server; None until it is there."""
        return self._server.url if self._server else None

    def start(self) -> None:
        """Start all processes; server and detector first, because the others have to be told where they are.

        The connector comes last: with it the frames begin.

        Raises
        ------
        StageFailedError
            If one of them fails.
        """
        self.crew.start(SERVER, server_arguments())
        self.crew.start(DETECTOR, detector_arguments(self._options))
        broker = str(self.crew.await_json(SERVER)["url"])
        self._server = Server(broker)
        for name, arguments in consumer_arguments(self._directory).items():
            self.crew.start(name, arguments, broker)
        endpoint = str(self.crew.await_json(DETECTOR)["stream"])
        self.crew.start(CONNECTOR, connector_arguments(endpoint), broker)

    def await_page(self) -> str:
        """Wait until the monitor serves its page, and return the page's address.

        Raises
        ------
        StageFailedError
            If it does not, or another process fails.
        """
        return str(self.crew.await_json(MONITOR)["urls"]["viewer"])

    def watch(self, shell: Shell) -> bool:
        """Watch until the series is over and everybody is done with it; False if that was interrupted.

        Raises
        ------
        StageFailedError
            If a process fails.
        StageStalledError
            If nothing moves any more.
        """
        while not shell.stop.wait(LOOK_EVERY_S):
            self.crew.check()
            self._count()
            shell.progress.tick()
            waiting = [name for name in ENDING if not self.crew.has_ended(name)]
            if not waiting:
                return True
            self._check_stall(waiting)
        return False

    def stay(self, shell: Shell) -> None:
        """Leave server and monitor running until a signal comes.

        Raises
        ------
        StageFailedError
            If it fails.
        """
        while not shell.stop.wait(LOOK_EVERY_S):
            self.crew.check()

    def draw_receipt(self) -> Receipt | None:
        """Return the receipt; None if not even the stream is there."""
        if self._server is None or read_state(self._server, StreamKeys(STREAM)) is None:
            return None
        return make_receipt(self._server, STREAM)

    def count_hits(self) -> int:
        """Return how many frames show Bragg peaks, as far as they were looked at."""
        state = read_state(self._server, StreamKeys(HITS)) if self._server else None
        return 0 if state is None else state.n_received

    def snapshot(self) -> Snapshot:
        """Return what was last counted, for the progress display."""
        events = {
            "produced": self._counts["produced"],
            "written": self._counts[WRITE],
            "binned": self._counts[BIN],
            "searched": self._counts[PEAKS],
        }
        return Snapshot(events=events, payload_bytes=self._n_bytes)

    def _count(self) -> None:
        """Ask the server how far everybody is."""
        state = read_state(self._server, StreamKeys(STREAM)) if self._server else None
        if self._server is None or state is None:
            return
        counts = {"produced": state.n_received, BIN: 0, PEAKS: 0, WRITE: 0}
        for group in list_groups(self._server, STREAM):
            if group.name in counts:
                counts[group.name] = max(0, min(group.position, state.n_received) - group.n_pending)
        if counts != self._counts:
            self._moved_at = time.monotonic()
        self._counts, self._n_bytes = counts, state.total_bytes

    def _check_stall(self, waiting: list[str]) -> None:
        patience_s = STALL_TIMEOUT_S + (STALL_FRAMES / self._options.rate_hz if self._options.rate_hz else 0.0)
        waited_s = time.monotonic() - self._moved_at
        if waited_s > patience_s:
            raise StageStalledError(waiting, waited_s, self.crew.log_directory)
