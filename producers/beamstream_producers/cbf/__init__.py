"""`stream produce cbf`: folders of CBF files, full ones and those that fill; and the same folders as recordings."""

from .files import Folders
from .options import CbfOptions
from .source import CbfSource

__all__ = ["CbfOptions", "CbfSource", "Folders"]
