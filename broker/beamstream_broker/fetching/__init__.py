"""The fetch service: what a broker has, for readers that see neither its files nor its shared memory.

docs/reference/fetch-protocol.md.
"""

from .service import FetchService, fetch_service

__all__ = ["FetchService", "fetch_service"]
