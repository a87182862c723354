"""Sending messages: `Producer` and what its futures tell."""

from .producer import Producer, Sent
from .sender import ProducerCounts

__all__ = ["Producer", "ProducerCounts", "Sent"]
