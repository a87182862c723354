"""Bin frames: sums over square blocks of pixels, published as a stream of their own."""

from .command import bin_frames
from .handler import BinHandler

__all__ = ["BinHandler", "bin_frames"]
