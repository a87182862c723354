"""Sending messages: `Producer` and what its futures tell."""

from .producer import PATIENCE_S, QUEUE_BYTES, Producer, Sent
from .sender import ProducerCounts
from .storing import DEFAULT_TIER, Tier, check_tier

__all__ = [
    "DEFAULT_TIER",
    "PATIENCE_S",
    "QUEUE_BYTES",
    "Producer",
    "ProducerCounts",
    "Sent",
    "Tier",
    "check_tier",
]
