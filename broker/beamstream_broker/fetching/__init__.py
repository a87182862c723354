"""The fetch service: what was spilled, for readers that do not see the files. docs/reference/fetch-protocol.md."""

from .service import FetchService, fetch_service

__all__ = ["FetchService", "fetch_service"]
