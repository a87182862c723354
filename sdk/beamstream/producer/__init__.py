"""Sending messages: `Producer` and what its futures tell."""

from .producer import PATIENCE_S, QUEUE_BYTES, Producer, Sent
from .sender import ProducerCounts

__all__ = ["PATIENCE_S", "QUEUE_BYTES", "Producer", "ProducerCounts", "Sent"]
