"""Geometry: where the pixels of a detector are, read from CrystFEL, pyFAI and NeXus, and the maps that follow."""

from .assembly import Assembly, assemble_pixels
from .crystfel_writing import to_geom
from .description import BadArea, BadPixels, Geometry, MaskFile, Panel, ValueFlags
from .errors import GeometryFormatError, GeometryIncompleteError, GeometryShapeError
from .maps import GeometryMaps
from .reading import geometry_text, parse_text, read_geometry

__all__ = [
    "Assembly",
    "BadArea",
    "BadPixels",
    "Geometry",
    "GeometryFormatError",
    "GeometryIncompleteError",
    "GeometryMaps",
    "GeometryShapeError",
    "MaskFile",
    "Panel",
    "ValueFlags",
    "assemble_pixels",
    "geometry_text",
    "parse_text",
    "read_geometry",
    "to_geom",
]
