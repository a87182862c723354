"""Stream metadata of curves: the axis as NeXus data, and how the curves were made."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from beamstream import Address
from beamstream_consumers.geometry import Geometry

from .axis import find_axis
from .engines import Engine
from .settings import IntegrationSettings


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
    integration = {"source": str(source), **asdict(settings), "rows": ["intensity", "sigma"]}
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
