"""Bragg peaks and hits: each frame's peaks, and the frames that are hits, published as streams of their own."""

from .processor import PeakProcessor
from .reducer import PeakStatisticsReducer
from .settings import PeakSettings

__all__ = ["PeakProcessor", "PeakSettings", "PeakStatisticsReducer"]
