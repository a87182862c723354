"""The scenes of the runs that are looked at: made once for a run, and anew when the peak finder's mask has changed.

A run whose geometry and mask are those of the one before has the same scene: maps of large detectors take hundreds of
megabytes, and a good part of a second.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.address import Address
from beamstream_consumers.monitor.pictures.scene import Scene

MAX_RUNS = 4
"""Runs of one source whose scenes are kept; one of 4M pixels has about 70 MB of maps, one of 16M 270 MB."""

_Key = tuple[int, Address, int, tuple[int, int]]


class Scenes:
    """Scenes by source, stream and shape.

    Parameters
    ----------
    mask : (n_slow, n_fast) array, optional
        More bad pixels, not 0 where bad.
    geometry : str, optional
        Text of a geometry, for all sources.
    """

    def __init__(self, mask: npt.NDArray[Any] | None = None, geometry: str | None = None) -> None:
        self._mask = mask
        self._geometry = geometry
        self._found: dict[str, tuple[npt.NDArray[Any] | None, str | None]] = {}
        self._lock = threading.Lock()
        self._generation: dict[str, int] = {}
        self._tuned: dict[str, object] = {}
        self._kept: dict[str, OrderedDict[_Key, Scene]] = {}

    def of(
        self, source: str, address: Address, created_ns: int, metadata: Mapping[str, Any], shape: tuple[int, int]
    ) -> Scene:
        """Return the scene of frames of a shape of a run."""
        with self._lock:
            key = (self._generation.get(source, 0), address, created_ns, shape)
            kept = self._kept.setdefault(source, OrderedDict())
            scene = kept.pop(key, None)
            if scene is None:
                made = self._make(source, metadata, shape)
                scene = next((one for one in reversed(kept.values()) if one.is_like(made)), made)
            kept[key] = scene
            while len(kept) > MAX_RUNS:
                kept.popitem(last=False)
            return scene

    def _make(self, source: str, metadata: Mapping[str, Any], shape: tuple[int, int]) -> Scene:
        found_mask, found_geometry = self._found.get(source, (None, None))
        return Scene(
            metadata,
            shape,
            mask=_joined(self._mask, found_mask, shape),
            geometry=self._geometry if self._geometry is not None else found_geometry,
        )

    def generation(self, source: str) -> int:
        """Return how often mask and geometry of a source were others."""
        return self._generation.get(source, 0)

    def tuned(self, source: str) -> object:
        """Return what names mask and geometry that were taken over last; None where none were."""
        return self._tuned.get(source)

    def tune(self, source: str, token: object, mask: npt.NDArray[Any] | None, geometry: str | None) -> None:
        """Take over mask and geometry of the peak finder of a source, named by `token`; later pictures have them."""
        with self._lock:
            if self._tuned.get(source) == token:
                return
            self._tuned[source] = token
            self._found[source] = (mask, geometry)
            self._generation[source] = self._generation.get(source, 0) + 1

    def seen(self, source: str, stream: str, shape: tuple[int, int]) -> Scene | None:
        """Return the newest scene of a run whose pictures have this shape; None where it is not kept any more."""
        with self._lock:
            for key, scene in reversed(self._kept.get(source, {}).items()):
                if (key[1].name, scene.shape) == (stream, shape):
                    return scene
        return None


def _joined(
    first: npt.NDArray[Any] | None, second: npt.NDArray[Any] | None, shape: tuple[int, int]
) -> npt.NDArray[Any] | None:
    """Return what either mask calls bad; the second one only where it fits."""
    if second is None or second.shape != shape:
        return first
    return second if first is None or first.shape != shape else np.asarray((first != 0) | (second != 0))
