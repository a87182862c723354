"""Watch a stream: what comes, how fast, how old it is, and what is in the newest frame."""

from .command import monitor

__all__ = ["monitor"]
