"""Sending messages: `Producer` and what its futures tell."""

from .producer import QUEUE_BYTES, Producer, Sent
from .sender import ProducerCounts

__all__ = ["QUEUE_BYTES", "Producer", "ProducerCounts", "Sent"]
