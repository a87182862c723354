"""Bin frames: sums over square blocks of pixels, published as a stream of their own."""

from .command import bin_frames
from .processor import BinProcessor

__all__ = ["BinProcessor", "bin_frames"]
