"""The EIGER2 models that can be simulated: geometry, mask and what the sensor is made of.

Geometry is that of the real family: modules of 512 x 1028 pixels of 75 µm, 38 rows and 12 columns apart. So
the 500K, one module, is (512, 1028); the (514, 1030) of its EIGER1 predecessor counts pixels that EIGER2 does
not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import UsageError

MODULE_SHAPE = (512, 1028)
"""Pixels of one EIGER2 module, (n_slow, n_fast)."""

GAP_SHAPE = (38, 12)
"""Rows and columns between two modules [pixels]."""

GAP_BIT, DEAD_BIT, NOISY_BIT = 1 << 0, 1 << 1, 1 << 4
"""Bits of the SIMPLON pixel mask that are used here; 2 and 3 (under- and over-responding) are not."""

DEFECTS_PER_PIXEL = 1 / 20_000
"""Share of dead and of noisy pixels each; the order of magnitude of a good sensor."""


class UnknownModelError(UsageError):
    """A detector size that is not in the table."""

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f"no detector of size {name!r}; there are {', '.join(MODELS)}")


def assembled_shape(
    n_modules: tuple[int, int], module_shape: tuple[int, int], gap_shape: tuple[int, int]
) -> tuple[int, int]:
    """Return (n_slow, n_fast) of modules side by side with gaps between them [pixels]."""
    n_slow, n_fast = (n * size + (n - 1) * gap for n, size, gap in zip(n_modules, module_shape, gap_shape, strict=True))
    return n_slow, n_fast


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorModel:
    """One model of the family.

    Attributes
    ----------
    name : str
        What it is called on the command line, e.g. ``1M``.
    serial : str
        A number no real detector has, so that nobody mistakes practice for data.
    n_modules : (int, int)
        Modules along the slow and the fast axis.
    max_frame_rate_hz : float
        What the real one reaches with 16 bits; the simulator does not stop there.
    distance_m : float
        Default distance from the sample: the one that puts the water ring well inside.
    """

    name: str
    serial: str
    n_modules: tuple[int, int]
    max_frame_rate_hz: float
    distance_m: float
    pixel_size_m: float = 75e-6
    sensor_material: str = "Si"
    sensor_thickness_m: float = 450e-6
    photon_energy_ev: float = 12_398.42
    readout_time_s: float = 1e-7

    @property
    def description(self) -> str:
        """What the detector calls itself."""
        return f"Dectris EIGER2 {self.sensor_material} {self.name.upper()}"

    @property
    def shape(self) -> tuple[int, int]:
        """(n_slow, n_fast) of the whole image, gaps included [pixels]."""
        return assembled_shape(self.n_modules, MODULE_SHAPE, GAP_SHAPE)

    @property
    def beam_center(self) -> tuple[float, float]:
        """(slow, fast) of the direct beam: a little off the middle, as it is in life [pixels]."""
        n_slow, n_fast = self.shape
        return n_slow * 0.5 + 3.5, n_fast * 0.5 - 2.5


_FAMILY = (
    DetectorModel(name="500k", serial="E-02-SIM0", n_modules=(1, 1), max_frame_rate_hz=2000, distance_m=0.06),
    DetectorModel(name="1M", serial="E-02-SIM1", n_modules=(2, 1), max_frame_rate_hz=2000, distance_m=0.10),
    DetectorModel(name="4M", serial="E-08-SIM4", n_modules=(4, 2), max_frame_rate_hz=560, distance_m=0.15),
    DetectorModel(name="9M", serial="E-18-SIM9", n_modules=(6, 3), max_frame_rate_hz=230, distance_m=0.20),
    DetectorModel(name="16M", serial="E-32-SIM16", n_modules=(8, 4), max_frame_rate_hz=133, distance_m=0.25),
)

MODELS: Mapping[str, DetectorModel] = MappingProxyType({model.name: model for model in _FAMILY})
"""The models by their name."""


def find_model(name: str) -> DetectorModel:
    """Return the model of this name, upper or lower case.

    Raises
    ------
    UnknownModelError
        If there is none.
    """
    for model in _FAMILY:
        if model.name.lower() == name.lower():
            return model
    raise UnknownModelError(name)


def gap_mask(model: DetectorModel) -> npt.NDArray[np.bool_]:
    """Return where there is no sensor: (n_slow, n_fast) bool, True between modules."""
    return np.logical_or.outer(*(_gaps_along(model, axis) for axis in (0, 1)))


def pixel_mask(model: DetectorModel, seed: int) -> npt.NDArray[np.uint32]:
    """Return the SIMPLON pixel mask.

    Returns
    -------
    (n_slow, n_fast) uint32
        0 for a good pixel, else `GAP_BIT`, `DEAD_BIT` or `NOISY_BIT`; the same for the same seed.
    """
    mask = np.where(gap_mask(model), np.uint32(GAP_BIT), np.uint32(0))
    good = np.flatnonzero(mask == 0)
    n_each = max(1, round(good.size * DEFECTS_PER_PIXEL))
    # drawing positions within `good` costs nothing; drawing from `good` itself would shuffle all of it
    chosen = good[np.random.default_rng((seed, 1)).choice(good.size, 2 * n_each, replace=False)]
    flat: npt.NDArray[Any] = mask.reshape(-1)
    flat[chosen[:n_each]] = DEAD_BIT
    flat[chosen[n_each:]] = NOISY_BIT
    return mask


def _gaps_along(model: DetectorModel, axis: int) -> npt.NDArray[np.bool_]:
    """Return which rows (0) or columns (1) of the image lie between modules."""
    period = MODULE_SHAPE[axis] + GAP_SHAPE[axis]
    return np.arange(model.shape[axis]) % period >= MODULE_SHAPE[axis]
