"""`stream produce cbf`: folders of CBF files, full ones and those that fill; and the same folders as recordings."""

from .files import Folders
from .source import CbfOptions, CbfSource

__all__ = ["CbfOptions", "CbfSource", "Folders"]
