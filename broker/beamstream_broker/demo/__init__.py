"""`stream demo`: everything at once, all of it real, ending with the receipt."""

from .command import demo

__all__ = ["demo"]
