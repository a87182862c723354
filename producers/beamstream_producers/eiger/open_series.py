"""A series whose header has come: which messages are its own, the events they become, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from beamstream.address import Address
from beamstream.service import Event, Produced, StreamClosed, StreamOpened
from beamstream.state import StreamState
from beamstream_producers.arrivals import ImageIds
from beamstream_producers.formats.simplon import Image, Message, Start, image_times, stream_metadata, tick_rate_hz

MAX_APPENDIX_CHARACTERS = 4096
"""Longest image appendix that goes into the message's metadata [characters as Python writes it]."""


class OpenSeries:
    """A series whose header has come: its streams, and what is here of it."""

    def __init__(self, start: Start, streams: Mapping[str, str], *, joins: bool = False) -> None:
        self.start = start
        self.streams = streams
        self.joins = joins
        self.names: dict[str, str] = {}  # of the streams that are open, by channel: what they are called on the broker
        self.ids = ImageIds()
        self.last_ids = dict.fromkeys(streams, 0)
        self.n_frames = dict.fromkeys(streams, 0)
        self.tick_rate_hz = tick_rate_hz(start)
        self.ended = False

    def owns(self, message: Message) -> bool:
        """Whether a message belongs to this series."""
        ours, theirs = self.start.series_unique_id, message.series_unique_id
        return message.series_id == self.start.series_id and (ours is None or theirs is None or ours == theirs)

    def opened(self) -> list[Event]:
        """Return the events that open its streams; the tables are theirs from then on, and not kept here."""
        events: list[Event] = [
            StreamOpened(
                stream=stream,
                metadata=stream_metadata(self.start, channel),
                n_expected=self.start.n_images,
                new=not self.joins,
                joins=self.joins,
                on_open=partial(self._note_name, channel),
            )
            for channel, stream in self.streams.items()
        ]
        self.start = replace(self.start, arrays={})
        return events

    def _note_name(self, channel: str, address: Address, state: StreamState) -> None:
        self.names[channel] = address.name

    def produced(self, image: Image, timestamp_ns: int | None) -> list[Event]:
        """Return the frames of an image and note that it is here."""
        self.ids.add(image.image_id)
        message_id = image.image_id + 1
        metadata = self._metadata(image)
        events: list[Event] = []
        for channel, stream in self.streams.items():
            pixels = image.channels.get(channel)
            if pixels is None:
                continue
            self.n_frames[channel] += 1
            self.last_ids[channel] = max(self.last_ids[channel], message_id)
            events.append(
                Produced(
                    stream=stream,
                    message_id=message_id,
                    payload=pixels.payload,
                    shape=pixels.shape,
                    dtype=pixels.dtype,
                    codec=pixels.codec,
                    timestamp_ns=timestamp_ns,
                    metadata={**metadata, "channel": channel},
                )
            )
        return events

    def closed(self, *, stopping: bool, quiet_s: float) -> list[Event]:
        """Return the events that close its streams; other connectors may have what is missing here."""
        reason = self._reason(stopping=stopping)
        closed: list[Event] = []
        for channel, stream in self.streams.items():
            lacks_some = self.n_frames[channel] < len(self.ids)
            closed.append(
                StreamClosed(
                    stream=stream,
                    last_id=self.last_ids[channel],
                    reason="incomplete" if reason == "complete" and lacks_some else reason,
                    quiet_s=0.0 if reason == "complete" and self.start.n_images is not None else quiet_s,
                )
            )
        return closed

    def _reason(self, *, stopping: bool) -> str:
        """Aborted: the detector stopped early; incomplete: images in between, or all after we stopped, are missing."""
        n_images = self.start.n_images
        if self.ids.has_all(n_images) and (n_images is not None or self.ended):
            return "complete"
        if (stopping and not self.ended) or n_images is None or self.ids.highest_id + 1 >= n_images:
            return "incomplete"
        return "aborted"

    def _metadata(self, image: Image) -> dict[str, Any]:
        times = image_times(image, self.tick_rate_hz)
        known = {
            "series_id": image.series_id,
            "image_id": image.image_id,
            "start_ns": times.start_ns,
            "stop_ns": times.stop_ns,
            "real_ns": times.real_ns,
            "series_date": image.series_date,
            "appendix": _small(image.appendix),
        }
        return {key: value for key, value in known.items() if value is not None}


def _small(appendix: Any) -> Any:
    """Return an appendix if it is small enough for metadata, bytes as text where they are text."""
    if appendix is None or len(repr(appendix)) > MAX_APPENDIX_CHARACTERS:
        return None
    if not isinstance(appendix, bytes):
        return appendix
    try:
        return appendix.decode()
    except UnicodeDecodeError:
        return appendix
