"""What averages images: our own kernels, or pyFAI's engine; made once for a stream, used for every frame.

Both take the same maps and give the same numbers; our own is faster and always there, pyFAI's is for whoever wants
exactly the program that they publish with. Differences are listed in decision 0024.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from beamstream.errors import ShapeError
from beamstream_consumers.kernels.azimuthal_average import AzimuthalAverage, azimuthal_average, valid_values
from beamstream_consumers.kernels.radial_bins import RadialBins, make_bins

from .errors import PyFaiMissingError

FloatMap = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelMaps:
    """What an engine is made from; all maps are (n_slow, n_fast).

    Attributes
    ----------
    position : float
        Where each pixel is on the axis; NaN where there is none.
    normalization : float
        What each pixel's signal is divided by.
    bad : bool
        True where a pixel does not count.
    half_width : float or None
        How far a pixel reaches to both sides of its position; None: pixels are not split.
    """

    position: FloatMap
    normalization: FloatMap
    bad: npt.NDArray[np.bool_]
    half_width: FloatMap | None = None


class Engine(Protocol):
    """Averages images of one shape over one axis."""

    name: str
    """``numba`` or ``pyfai``."""

    centers: npt.NDArray[np.float64]
    """(n_bins,): middle of each bin, in the unit of the positions."""

    def average(
        self, image: npt.NDArray[Any], error_model: str, valid: tuple[float, float] | None, factor: float
    ) -> AzimuthalAverage:
        """Average one image; arguments and errors as of `kernels.azimuthal_average`."""
        ...


class NumbaEngine:
    """Our own kernels."""

    name = "numba"

    def __init__(self, maps: PixelMaps, n_bins: int, limits: tuple[float, float] | None) -> None:
        self._bins = _bins_of(maps, n_bins, limits)
        self.centers = self._bins.centers

    def average(
        self, image: npt.NDArray[Any], error_model: str, valid: tuple[float, float] | None, factor: float
    ) -> AzimuthalAverage:
        """Average one image."""
        return azimuthal_average(image, self._bins, error_model=error_model, valid=valid, factor=factor)


class PyFaiEngine:
    """pyFAI's CSR engine, in Cython; it uses as many threads as OMP_NUM_THREADS says, all by default.

    Raises
    ------
    PyFaiMissingError
        If pyFAI is not installed.
    """

    name = "pyfai"

    def __init__(self, maps: PixelMaps, n_bins: int, limits: tuple[float, float] | None) -> None:
        try:
            csr = importlib.import_module("pyFAI.ext.splitBBoxCSR")
            containers = importlib.import_module("pyFAI.containers")
        except ImportError as error:
            raise PyFaiMissingError from error
        # Which pixels count, and what cannot be, is for our bins to say.
        bins = _bins_of(maps, n_bins, limits)
        self._models = {name: containers.ErrorModel.parse(None if name == "none" else name) for name in _MODELS}
        self._shape = bins.shape
        self._normalization = bins.normalization.reshape(self._shape)
        self._counting = bins.counting
        self._engine = csr.HistoBBox1d(
            np.ascontiguousarray(np.nan_to_num(maps.position), np.float64),
            maps.half_width if maps.half_width is None else np.nan_to_num(maps.half_width.astype(np.float64)),
            bins=n_bins,
            pos0_range=limits,
            # pyFAI would take pixels into the first bin that lie before it by less than its width
            mask=np.logical_not(self._counting).astype(np.int8),
            unit="beamstream",
            empty=np.nan,
        )
        self.centers = np.asarray(self._engine.bin_centers, np.float64)

    def average(
        self, image: npt.NDArray[Any], error_model: str, valid: tuple[float, float] | None, factor: float
    ) -> AzimuthalAverage:
        """Average one image."""
        if image.shape != self._shape:
            raise ShapeError(f"the image is {image.shape}, the engine is made for {self._shape} (n_slow, n_fast)")
        low, high = valid_values(image.dtype) if valid is None else valid
        pixels = image.astype(np.float32)
        left_out = ~((image >= low) & (image <= high))
        pixels[left_out] = np.nan  # what is not a number is left out, whatever else it is
        found = self._engine.integrate_ng(
            pixels, error_model=self._models[error_model], solidangle=self._normalization, normalization_factor=factor
        )
        intensity = np.asarray(found.intensity, np.float32)
        none = np.where(np.isnan(intensity), np.float32(np.nan), np.float32(0))
        return AzimuthalAverage(
            intensity=intensity,
            sigma=none if error_model == "none" else np.asarray(found.sigma, np.float32),
            n_pixels=np.asarray(found.count, np.float64),
            n_left_out=int(np.count_nonzero(left_out & self._counting)),
        )


_MODELS = ("poisson", "azimuthal", "none")

ENGINES: Mapping[str, Callable[[PixelMaps, int, tuple[float, float] | None], Engine]] = MappingProxyType(
    {"numba": NumbaEngine, "pyfai": PyFaiEngine}
)
"""Every engine by its name."""


def check_engine(name: str) -> None:
    """Look whether what the engine needs is there, before anything is read for it.

    Raises
    ------
    PyFaiMissingError
        If it is pyFAI's, and that is not installed.
    """
    if name == PyFaiEngine.name and importlib.util.find_spec("pyFAI") is None:
        raise PyFaiMissingError


def _bins_of(maps: PixelMaps, n_bins: int, limits: tuple[float, float] | None) -> RadialBins:
    return make_bins(
        maps.position,
        n_bins,
        normalization=maps.normalization,
        bad=maps.bad,
        limits=limits,
        half_width=maps.half_width,
    )
