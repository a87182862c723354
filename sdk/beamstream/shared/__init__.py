"""The shared-memory tier: payloads in segments that all processes of a host see, written once, read where they lie."""

from .tier import SharedTier

__all__ = ["SharedTier"]
