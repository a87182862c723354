"""Shared memory: the broker keeps the segments, lends them to producers of its host, and shows them to readers."""

from .ability import why_none
from .budget import Budget
from .collecting import Collecting
from .pool import Pool
from .service import SharingService, sharing_service

__all__ = ["Budget", "Collecting", "Pool", "SharingService", "sharing_service", "why_none"]
