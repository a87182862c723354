"""How a consumer service takes streams in: as which group, from where on, and which part of their messages."""

from __future__ import annotations

from dataclasses import dataclass

from beamstream.consumer.feed import Start


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What all streams of a consumer service have in common.

    Attributes
    ----------
    group : str or None
        The consumer group. None: the handler's name.
    start : "start", "newest" or int
        Where a new group begins.
    follow : bool
        Wait for what is not there yet: the stream, or further streams of the data source.
    required : bool
        Whether the group holds data in memory until it has acknowledged it.
    part : int or None
        Of streams whose messages are datasets, give the handler only this part of each, from 1.
    """

    group: str | None = None
    start: Start = "start"
    follow: bool = False
    required: bool = False
    part: int | None = None


DEFAULT_INTAKE = Intake()
