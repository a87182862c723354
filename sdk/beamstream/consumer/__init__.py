"""Reading messages: `Consumer`."""

from .consumer import Consumer
from .delivery import ConsumerCounts

__all__ = ["Consumer", "ConsumerCounts"]
