"""DECTRIS detectors: their ZeroMQ stream becomes streams of ours, one per series."""

from .naming import StreamTemplate
from .series import SeriesMachine
from .source import EigerSource

__all__ = ["EigerSource", "SeriesMachine", "StreamTemplate"]
