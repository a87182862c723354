"""`stream produce replay`: a past run through the same consumers."""

from .pace import Pace, parse_pace
from .source import ReplaySource

__all__ = ["Pace", "ReplaySource", "parse_pace"]
