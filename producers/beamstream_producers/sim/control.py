"""What the detector's control unit does: configuration, states, frames and sender under one lock.

Commands come from the REST interface, from the command line or from a test; all of them end in these methods.
The lock is held while the detector changes, never while it waits.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from .acquisition import Acquisition, Command, CommandRefusedError, Event, State
from .faults.journal import Journal
from .images.detectors import pixel_mask
from .images.frames import Truth
from .images.pool import FramePool
from .images.recorded import RecordedPool
from .options import SimulatedEigerOptions
from .parameters import (
    Configuration,
    UnknownKeyError,
    absent_configuration,
    detector_configuration,
    stream_configuration,
)
from .sending.garbage import make_plan
from .sending.messages import VERSIONS
from .sending.sender import Begin, Expose, Finish, Sender
from .sending.sockets import StreamSockets
from .series import SeriesMaker

QUEUE_BYTES = 256 << 20
"""What may lie in a socket's own queue [bytes], estimated with frames compressed to a quarter."""

MIN_QUEUE, MAX_QUEUE = 4, 1000
"""Least and most messages in a socket's queue; the latter is ZeroMQ's default."""

PATIENCE_S = 1.0
"""How much longer than the sender itself a command waits for the sender [s]."""

_CONFIGURABLE = (State.NA, State.IDLE, State.ERROR)


class DetectorControl:
    """A detector without its web interface; `idle` and with its stream enabled once it is made.

    Raises
    ------
    UsageError
        If an option cannot be meant, or a port is taken.
    """

    def __init__(self, options: SimulatedEigerOptions) -> None:
        self.options = options
        self._maker = SeriesMaker(options)
        self.model = self._maker.model
        self._lock = threading.RLock()
        self._acquisition = Acquisition(last_series_id=options.first_series_id - 1)
        self._configurations = self._fresh_configurations()
        self._ended = threading.Event()
        self._ended.set()
        self._sockets = StreamSockets(
            options.host, {1: options.legacy_port, 2: options.cbor_port}, self._queue_length()
        )
        self._sender = Sender(
            self._sockets,
            buffer_images=options.buffer_images,
            wait=options.wait,
            drain_s=options.drain_s,
            linger_s=options.linger_s,
            plan=make_plan(options.faults, options.seed),
            on_restart=self._restarted,
        )
        self.initialize()
        self.change("stream", {"mode": "enabled"})

    def _queue_length(self) -> int:
        n_slow, n_fast = self.model.shape
        compressed_bytes = n_slow * n_fast * self.options.bit_depth // 8 // 4
        return min(MAX_QUEUE, max(MIN_QUEUE, QUEUE_BYTES // compressed_bytes))

    # --- what it is and has done

    @property
    def state(self) -> State:
        """The state of the detector."""
        return self._acquisition.state

    @property
    def series_id(self) -> int:
        """Number of the current series, or of the last one."""
        return self._acquisition.last_series_id

    @property
    def endpoint(self) -> str:
        """Where to connect for the stream in the format that is configured."""
        return self._sockets.endpoints[VERSIONS[self.configuration("stream")["format"]]]

    @property
    def endpoints(self) -> dict[str, str]:
        """Where to connect, by format."""
        return {name: self._sockets.endpoints[version] for name, version in VERSIONS.items()}

    @property
    def stream_state(self) -> str:
        """State of the stream: disabled, ready or acquire."""
        if self.configuration("stream")["mode"] == "disabled":
            return "disabled"
        return "ready" if self._acquisition.series is None else "acquire"

    @property
    def n_sent(self) -> int:
        """Images of the current or last series that were handed to the network."""
        return self._sender.outbox.n_sent

    @property
    def n_dropped(self) -> int:
        """Images of the current or last series that nobody took; back to 0 with the next arm."""
        return self._sender.outbox.n_dropped

    @property
    def n_lost(self) -> int:
        """Starts and ends of all series that nobody took."""
        return self._sender.outbox.n_lost

    @property
    def journal(self) -> Journal:
        """What was done to the messages of each series; see `sim.faults`."""
        return self._sender.journal

    @property
    def mask(self) -> npt.NDArray[np.uint32]:
        """The pixel mask, (n_slow, n_fast) uint32, by the bits of SIMPLON."""
        if self.options.recorded is not None:
            return self._frames().mask
        return pixel_mask(self.model, self.options.seed)

    def truth(self, image_id: int) -> Truth:
        """Return what is in image `image_id` (from 0) of every series with the present configuration."""
        return self._frames().truth(image_id)

    def frame(self, image_id: int) -> npt.NDArray[Any]:
        """Make the pixels of image `image_id` again, (n_slow, n_fast)."""
        return self._frames().frame(image_id)

    def payload(self, image_id: int) -> bytes:
        """Return the packed pixels of an image, as they are sent."""
        return self._frames().payload(image_id)

    def _frames(self) -> FramePool | RecordedPool:
        return self._maker.pool(self.configuration("detector"), self.configuration("stream"))

    # --- configuration

    def configuration(self, module: str) -> Configuration:
        """Return the configuration of a module; `UnknownKeyError` if there is no such module."""
        if module not in self._configurations:
            raise UnknownKeyError(module)
        return self._configurations[module]

    def change(self, module: str, values: Mapping[str, object]) -> list[str]:
        """Set keys of a module, all of them or none.

        Returns
        -------
        list of str
            The keys that changed, those included that follow from the ones given.

        Raises
        ------
        CommandRefusedError
            If a series is under way.
        UnknownKeyError, ValueRefusedError
            If there is no such key, or it cannot have this value.
        """
        with self._lock:
            if self.state not in _CONFIGURABLE:
                raise CommandRefusedError("a change of configuration", self.state)
            configuration = self.configuration(module)
            changed: list[str] = []
            for key, value in values.items():
                configuration, keys = configuration.change(key, value)
                changed += [name for name in keys if name not in changed]
            self._configurations[module] = configuration
            return changed

    def reset(self, module: str) -> None:
        """Set the configuration of a module back, as its own `initialize` does."""
        with self._lock:
            if self.state not in _CONFIGURABLE:
                raise CommandRefusedError(Command.INITIALIZE.value, self.state)
            self._configurations[module] = self._fresh_configurations()[module]

    def _fresh_configurations(self) -> dict[str, Configuration]:
        fresh = {
            "detector": detector_configuration(self.model),
            "stream": stream_configuration(),
            "filewriter": absent_configuration(),
            "monitor": absent_configuration(),
        }
        for module, values in self.options.values().items():
            for key, value in values.items():
                fresh[module], _ = fresh[module].change(key, value)
        return fresh

    # --- commands

    def initialize(self) -> None:
        """Set everything back; the stream is disabled afterwards, as on the real one."""
        with self._lock:
            self._leave_series(Command.INITIALIZE)
            self._configurations = self._fresh_configurations()
            self._acquisition = self._acquisition.step(Event.INITIALIZED)

    def arm(self) -> int:
        """Begin a series: make its frames, and send its start.

        Returns
        -------
        int
            Number of the series.

        Raises
        ------
        CommandRefusedError
            If the detector is not idle.
        UsageError
            If the frames cannot be made.
        """
        with self._lock:
            detector, stream = self.configuration("detector"), self.configuration("stream")
            self._maker.recipe(detector)  # refused while the detector is still idle
            self._acquisition = self._acquisition.arm(
                detector["nimages"], detector["ntrigger"], external=detector["trigger_mode"] == "exts"
            )
            series_id = self.series_id
        self._begin(series_id, detector, stream).wait()
        with self._lock:
            self._acquisition = self._acquisition.step(Event.CONFIGURED)
            if self._acquisition.series is not None and self._acquisition.series.external:
                self._expose(by_command=False)
        return series_id

    def trigger(self) -> None:
        """Take the images of one trigger; returns when the last one is taken, as the real command does.

        Raises
        ------
        CommandRefusedError
            If the detector is not ready, or its triggers come from outside.
        """
        self.begin_trigger().wait()

    def begin_trigger(self) -> threading.Event:
        """Begin to take the images of one trigger; returns at once what is set after the last one.

        Raises
        ------
        CommandRefusedError
            If the detector is not ready, or its triggers come from outside.
        """
        with self._lock:
            return self._expose(by_command=True)

    def disarm(self) -> int:
        """End the series after the image that is being taken; return its number."""
        return self._end(Command.DISARM)

    def cancel(self) -> int:
        """End the series after the image that is being taken; return its number."""
        return self._end(Command.CANCEL)

    def abort(self) -> int:
        """End the series now and drop what was not sent yet; return its number."""
        return self._end(Command.ABORT)

    def wait_for_receiver(self, timeout_s: float | None = None) -> bool:
        """Wait until somebody is connected for the configured format; False if nobody came in time."""
        return self._sender.wait_for_receiver(VERSIONS[self.configuration("stream")["format"]], timeout_s)

    def wait_for_end(self, timeout_s: float | None = None) -> bool:
        """Wait until the end of the last series is sent or given up; False if that takes longer."""
        return self._ended.wait(timeout_s)

    def shut_down(self) -> None:
        """Abort what is under way and give the sockets back."""
        with self._lock:
            if self._acquisition.series is not None:
                self._sender.interrupt()
                self._post_finish(aborted=True)
            self._acquisition = Acquisition(last_series_id=self.series_id)
        self._sender.close(self.options.linger_s)

    # --- steps of a series

    def _begin(self, series_id: int, detector: Configuration, stream: Configuration) -> threading.Event:
        """Make the frames, which takes a while and blocks nobody, and have the start sent."""
        try:
            messages = self._maker.messages(series_id, detector, stream)
        except BaseException:
            with self._lock:
                self._acquisition = self._acquisition.step(Event.FAILED)
            raise
        with self._lock:
            if self.state is not State.CONFIGURE:
                raise CommandRefusedError(Command.ARM.value, self.state, "the detector was shut down")
            return self._sender.post(Begin(messages=messages))

    def _expose(self, *, by_command: bool) -> threading.Event:
        self._acquisition, image_ids = self._acquisition.trigger(by_command=by_command)
        series_id = self.series_id
        job = Expose(
            image_ids=image_ids,
            frame_time_s=self.configuration("detector")["frame_time"],
            paced=self.options.rate_hz > 0,
            finished=lambda: self._exposed(series_id),
        )
        return self._sender.post(job)

    def _exposed(self, series_id: int) -> None:
        """Go on after the images of a trigger; called by the sender."""
        with self._lock:
            series = self._acquisition.series
            if series is None or series.series_id != series_id:
                return  # it was ended meanwhile
            self._acquisition = self._acquisition.trigger_done()
            if self._acquisition.series is None:
                self._post_finish(aborted=False)
            elif series.external:
                self._expose(by_command=False)

    def _restarted(self) -> None:
        """Be as after switching on, but with the configuration kept; called by the sender."""
        with self._lock:
            self._acquisition = Acquisition(state=State.IDLE, last_series_id=self.options.first_series_id - 1)

    def _end(self, command: Command) -> int:
        with self._lock:
            self._leave_series(command)
        self._ended.wait(self.options.drain_s + PATIENCE_S)
        return self.series_id

    def _leave_series(self, command: Command) -> None:
        was_in_series = self._acquisition.series is not None
        self._acquisition = self._acquisition.step(command)
        if was_in_series:
            self._sender.interrupt()
            self._post_finish(aborted=command in {Command.ABORT, Command.INITIALIZE})

    def _post_finish(self, *, aborted: bool) -> None:
        self._ended = self._sender.post(Finish(aborted=aborted))
