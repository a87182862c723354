"""Stream metadata: what that of the frames says of their shape, and that of curves, the axis as NeXus data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from beamstream import Address
from beamstream_consumers.detector_metadata import detector_of
from beamstream_consumers.geometry import Geometry
from beamstream_consumers.geometry.metadata_values import node_at

from .axis import find_axis
from .engines import Engine
from .settings import IntegrationSettings


def announced_shape(metadata: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the shape that frames will have, by the mask or by SIMPLON 2's configuration; None if nothing says."""
    mask = detector_of(metadata).get("pixel_mask")
    if isinstance(mask, np.ndarray) and mask.ndim == 2:
        return int(mask.shape[0]), int(mask.shape[1])
    config = node_at(metadata, "simplon/config")
    sizes = [config.get(f"image_size_{axis}") for axis in "yx"] if isinstance(config, Mapping) else []
    n_slow, n_fast = (size if isinstance(size, int) and size > 0 else 0 for size in sizes or (0, 0))
    return (n_slow, n_fast) if n_slow and n_fast else None


def curve_metadata(
    settings: IntegrationSettings, source: Address, engine: Engine | None, geometry: Geometry | None
) -> dict[str, Any]:
    """Return the metadata of the stream of curves.

    Parameters
    ----------
    settings : IntegrationSettings
        How they are made to begin with.
    source : Address
        The stream that is integrated.
    engine, geometry : Engine, Geometry or None
        None where they are not known before the first frame; the axis then stands with each message only.

    Returns
    -------
    dict
        ``entry/integrated``: an NXdata with the axis, (n_bins,) float64; ``integration``: source, settings, geometry.
    """
    axis = find_axis(settings.unit)
    told = {name: value for name, value in asdict(settings).items() if name not in ("geometry", "mask")}
    integration = {"source": str(source), **told, "masked": settings.mask is not None, "rows": ["intensity", "sigma"]}
    if geometry is not None:
        integration |= {
            "geometry": geometry.origin,
            "distance_m": geometry.distance_m,
            "wavelength_a": geometry.wavelength_a,
        }
    metadata: dict[str, Any] = {"integration": integration}
    if engine is not None:
        data = {
            "@NX_class": "NXdata",
            "@signal": "intensity",
            "@axes": axis.quantity,
            axis.quantity: engine.centers,
            f"{axis.quantity}@units": axis.unit,
        }
        metadata["entry"] = {"@NX_class": "NXentry", "integrated": data}
    return metadata
