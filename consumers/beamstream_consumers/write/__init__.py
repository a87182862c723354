"""Write streams to NeXus files: the bytes that were received, chunk by chunk, with what is known about them."""

from .handler import WriteHandler

__all__ = ["WriteHandler"]
