"""Watching: the threads that follow data sources and put what is new on the board, and what answers viewers."""

from .session import Watching

__all__ = ["Watching"]
