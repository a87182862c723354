"""Detectors to practise on: real sockets and real bytes, only the photons are made up."""

from .eiger import SimulatedEiger
from .images.detectors import MODELS, DetectorModel
from .images.frames import Truth
from .images.peaks import Peak
from .options import SimulatedEigerOptions

__all__ = ["MODELS", "DetectorModel", "Peak", "SimulatedEiger", "SimulatedEigerOptions", "Truth"]
