"""The handler that runs a `Processor`: a derived stream for each output, frames acknowledged when results are there.

A frame whose result is not in its stream is not acknowledged: a crash has it made again, and what is there is answered
as a duplicate. A small thread looks after ids that others wait for and nobody will bring (dead letters, what was
skipped, gaps whose reader was killed), whatever the frames do meanwhile.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator, Mapping
from typing import Any, cast

from beamstream.errors import BeamstreamError
from beamstream.frame import Frame, Gap
from beamstream.protocol.client import Server
from beamstream.service.consuming.handler import Handler, StreamEnd, StreamStart
from beamstream.service.producing.upkeep import DEFAULT_UPKEEP, Upkeep

from .derived import DerivedStream
from .processor import Processor, Results, declined

log = logging.getLogger(__name__)

SETTLE_EVERY_S = 0.5
"""How often is looked whether somebody waits for what will not come [s]."""


class ProcessorHandler:
    """Gives frames to a processor, and its results to derived streams; a `Handler`.

    Parameters
    ----------
    processor : Processor
        What is done with frames; its parameters are tuned while it runs, if it has some (see `beamstream.parameters`).
    upkeep : Upkeep
        How its derived streams are treated.
    """

    def __init__(self, processor: Processor, upkeep: Upkeep = DEFAULT_UPKEEP) -> None:
        self.name = processor.name
        self.processor = processor
        self._upkeep = upkeep
        self._streams: dict[str, DerivedStream] = {}
        self._server: Server | None = None
        self._made: tuple[Frame, Results] | None = None
        self._settling = contextlib.ExitStack()
        self._past = {"results": 0, "no_result": 0, "duplicate": 0, "conflict": 0}

    def open(self, stream: StreamStart) -> None:
        """Let the processor prepare, and open its derived streams.

        Raises
        ------
        DatasetStreamError
            If the source's messages are datasets, and no part of them was chosen.
        UsageError
            If a derived stream would be the source itself.
        """
        stream.refuse_datasets(self.name)
        self._made = None
        outputs = self.processor.open(stream)
        with contextlib.ExitStack() as undo:
            for name, output in outputs.items():
                self._streams[name] = DerivedStream(output, stream, self._upkeep)
                undo.callback(self._forget, name)
            undo.pop_all()
        self._server = Server(stream.broker)
        if stream.group:
            self._settling.enter_context(self._looking_after(self._server, list(self._streams.values())))
        for name, derived in self._streams.items():
            log.info("%s: %s of %s go to %s", self.name, name, stream.address, derived.producer.address)

    def _forget(self, name: str) -> None:
        self._streams.pop(name).close(0)

    def next_id(self) -> int:
        """Return the first id that one of the derived streams waits for."""
        return min((derived.state().next_id for derived in self._streams.values()), default=1)

    def handle(self, frame: Frame) -> None:
        """Process one frame, and queue its results.

        Raises
        ------
        RetryLaterError
            If too much waits for the server.
        BeamstreamError, Exception
            What the processor raises, or what keeps a result from being sent.
        """
        if self._made is None or self._made[0] is not frame:  # asked again for one that could not be sent
            self._made = None
            self._made = frame, self.processor.process(frame)
        results = self._made[1]
        without = declined(list(self._streams), results)
        for name, result in results.items():
            self._streams[name].send(frame, result)
        for name in without:
            self._streams[name].decline(frame.message_id)
        self._made = None

    def gap(self, gap: Gap) -> None:
        """State in the derived streams, too, what never came, without waiting for it."""
        for derived in self._streams.values():
            derived.pass_over(gap)

    def commit(self) -> None:
        """Wait until all results so far are in their streams; see `DerivedStream.commit`."""
        for derived in self._streams.values():
            derived.commit()

    def close(self, end: StreamEnd | None) -> Mapping[str, Any] | None:
        """End the derived streams as their source ended; with `end` None leave them open, for others or for later.

        Returns
        -------
        mapping or None
            What the streams hold at their end, by whomever it was made: ``outputs``, name → ``stream``, ``n_received``,
            ``n_declined``, ``n_missing``.

        Raises
        ------
        RetryLaterError, ServerUnavailableError, BufferFullError
            If that cannot be done now; to be called again.
        """
        report = None
        if end is not None and self._server is not None:
            for derived in self._streams.values():
                derived.finish(self._server, end)
            report = {"outputs": {name: _summary(derived) for name, derived in self._streams.items()}}
        self._settling.close()
        for derived in self._streams.values():
            derived.close()
        self._past = self._counts()
        self._streams = {}
        if self._server is not None:
            self._server.close()
            self._server = None
        return report

    def status(self) -> Mapping[str, int | float | str]:
        """Return what went to derived streams, and what the processor says."""
        always = ("results", "no_result")
        counts = {name: number for name, number in self._counts().items() if number or name in always}
        return {**counts, **self.processor.status()}

    def _counts(self) -> dict[str, int]:
        streams = list(self._streams.values())
        now = {
            "results": sum(one.n_results for one in streams),
            "no_result": sum(one.n_declined for one in streams),
            "duplicate": sum(one.n_duplicate for one in streams),
            "conflict": sum(one.n_conflict for one in streams),
        }
        return {name: number + self._past[name] for name, number in now.items()}

    @contextlib.contextmanager
    def _looking_after(self, server: Server, streams: list[DerivedStream]) -> Iterator[None]:
        """State what will not come, in a thread of its own, as long as the context lasts."""
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(SETTLE_EVERY_S):
                for derived in streams:
                    try:
                        while not stop.is_set() and derived.settle(server):
                            pass
                    except BeamstreamError as error:
                        log.debug("%s cannot be settled now: %s", derived.producer.address, error)

        thread = threading.Thread(target=look, name=f"settle {self.name}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


def _summary(derived: DerivedStream) -> dict[str, Any]:
    state = derived.state()
    return {
        "stream": str(derived.producer.address),
        "n_received": state.n_received,
        "n_declined": state.n_declined,
        "n_missing": state.n_missing,
    }


def as_handler(made: Processor | Handler, upkeep: Upkeep = DEFAULT_UPKEEP) -> Handler:
    """Return what the loop gives frames to: a handler as it is, a processor behind one."""
    return cast("Handler", made) if hasattr(made, "handle") else ProcessorHandler(made, upkeep)
