"""The monitor's loop: the newest frame of a stream now and then, until the stream has ended.

Best effort: it takes the newest frame, decodes it if it is to be shown, and lets all others pass. Nothing is held back
for it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from beamstream import Address, Consumer, Frame, SourceAddress
from beamstream.errors import (
    ChecksumError,
    CodecError,
    DatasetStreamError,
    NothingNewError,
    PayloadGoneError,
    StreamFinishedError,
    StreamNotFoundError,
    UsageError,
)
from beamstream.presence import read_presence
from beamstream.protocol.client import Server
from beamstream.stop import StopFlag
from beamstream.streams import list_streams
from beamstream_consumers.detector_metadata import pixel_mask
from beamstream_consumers.kernels.statistics import image_statistics
from beamstream_consumers.kernels.sum_blocks import flag_value

from .view import ShownFrame, View, Watcher

SHOW_EVERY_S = 0.25
"""How often something is shown [s], and so how many frames are decoded: four a second, whatever the detector does."""

WAIT_POLL_S = 0.2
"""How often a stream that is not there yet is looked for [s]."""

Show = Callable[[View], None]


def watch(
    address: Address,
    broker: str | None,
    group: str,
    show: Show,
    stop: StopFlag,
    *,
    follow: bool = False,
    superseded: Callable[[], bool] = lambda: False,
    show_every_s: float = SHOW_EVERY_S,
) -> None:
    """Show a stream until it has ended, another one takes its place, or `stop` is set.

    Parameters
    ----------
    address : Address
        The stream.
    broker : str, optional
        The broker's URL.
    group : str
        Which group's newest frames; each is given once per group.
    show : callable
        Shows one view.
    stop : StopFlag
        Ends the loop.
    follow : bool
        Wait for a stream that is not there yet.
    superseded : callable
        Tells whether there is another stream to be shown instead.
    show_every_s : float
        How often something is shown [s].

    Raises
    ------
    StreamNotFoundError
        If there is no such stream and it is not to be waited for, or it was deleted.
    DatasetStreamError
        If the stream's messages are datasets.
    ServerUnavailableError, ServerRefusedError
        If the broker cannot be used.
    """
    watcher = Watcher(address)
    consumer = _connect(watcher, address, broker, show, stop, follow=follow)
    if consumer is None:
        return
    with consumer, contextlib.closing(Server(broker)) as server:
        if (n_parts := consumer.state.n_parts) > 1:
            raise DatasetStreamError(str(address), n_parts, "monitor")
        metadata = consumer.metadata
        ended = False
        while not (ended or stop.is_set() or superseded()):
            due_s = time.monotonic() + show_every_s
            try:
                watcher.frame = measure(consumer.newest(show_every_s, group=group), metadata)
            except StreamFinishedError:
                ended = True
            except (NothingNewError, PayloadGoneError, ChecksumError):
                pass  # nothing to show but the time that passes
            presence = read_presence(server)
            flaw = presence.flaw if presence is not None else ""
            show(watcher.view(consumer.state, time.monotonic(), time.time_ns(), flaw))
            stop.wait(0.0 if ended else max(0.0, due_s - time.monotonic()))


def newest_streams(
    where: Address | SourceAddress, server: Server, stop: StopFlag, *, follow: bool
) -> Iterator[Address]:
    """Yield the stream that is to be watched: the one named, or the newest of a data source, then each newer one.

    Raises
    ------
    StreamNotFoundError
        If the data source has no stream and is not to be waited for.
    """
    if isinstance(where, Address):
        yield where
        return
    last: Address | None = None
    while not stop.is_set():
        newest = newest_stream(server, where)
        if newest is not None and newest != last:
            last = newest
            yield newest
        elif not follow:
            if last is None:
                raise StreamNotFoundError(str(where))
            return
        else:
            stop.wait(WAIT_POLL_S)


def newest_stream(server: Server, source: SourceAddress) -> Address | None:
    """Return the stream of a data source that was opened last."""
    return next(reversed(list_streams(server, source)), None)


def measure(frame: Frame, metadata: Mapping[str, Any]) -> ShownFrame:
    """Decode a frame and measure it; what is no image is shown without numbers."""
    statistics, note = None, ""
    try:
        image = frame.array()
        mask = pixel_mask(metadata, image.shape)
        statistics = image_statistics(image, mask, masked_value=flag_value(image.dtype))
    except (UsageError, CodecError) as error:
        note = str(error)
    return ShownFrame(
        message_id=frame.message_id, timestamp_ns=frame.header.timestamp_ns, statistics=statistics, note=note
    )


def _connect(
    watcher: Watcher,
    address: Address,
    broker: str | None,
    show: Show,
    stop: StopFlag,
    *,
    follow: bool,
) -> Consumer | None:
    """Return a consumer of the stream, waiting for it if `follow` says so; None if `stop` was set meanwhile."""
    while not stop.is_set():
        try:
            return Consumer(address, broker=broker)
        except StreamNotFoundError:
            if not follow:
                raise
            show(watcher.waiting())
            stop.wait(WAIT_POLL_S)
    return None
