"""What an operator may change: the peak finder's parameters and mask, and the powders.

A change is a new version of the parameters of the running group, like one of `stream parameters set`: recorded with who
made it, taken over by all workers between two frames, stamped on every result.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.address import Address, SourceAddress
from beamstream.errors import UsageError
from beamstream.parameters import Value
from beamstream.parameters.changes import change_parameters
from beamstream.parameters.errors import ParametersNotFoundError
from beamstream.parameters.parameter import shown
from beamstream.parameters.store import ParameterStore
from beamstream.parameters.versions import described
from beamstream.protocol.client import Server
from beamstream_consumers.kernels.peakfinder8 import find_peaks
from beamstream_consumers.monitor.errors import NoPictureError, UnknownSourceError
from beamstream_consumers.monitor.pictures.making import peaks_seen
from beamstream_consumers.monitor.pictures.picture import Kind
from beamstream_consumers.monitor.pictures.polygons import draw, read_shapes
from beamstream_consumers.monitor.pictures.said_peaks import SaidPeaks
from beamstream_consumers.peaks import PeakSettings
from beamstream_consumers.peaks.placement import Placement, place
from beamstream_consumers.peaks.settings import all_parameters

from .archive import StreamArchive
from .desk import Desk
from .source import SourceWatcher
from .tally import LARGE, PEAKS_GROUP, large_token

log = logging.getLogger(__name__)

MAX_PLACEMENTS = 2
"""Placements for previews that are kept; one of 4M pixels has about 100 MB."""


class PeakControl:
    """Changes the peak finders of the data sources that are watched.

    Parameters
    ----------
    desk : Desk
        What is shared.
    watchers : sequence of SourceWatcher
        Of all data sources.
    archive : StreamArchive
        Finds the frames of previews.
    """

    def __init__(self, desk: Desk, watchers: Sequence[SourceWatcher], archive: StreamArchive) -> None:
        self._desk = desk
        self._watchers = {watcher.name: watcher for watcher in watchers}
        self._archive = archive
        self._server = Server(desk.broker)
        self._drawing = threading.Lock()
        self._placing = threading.Lock()
        self._placements: OrderedDict[object, Placement] = OrderedDict()

    def close(self) -> None:
        """Let the connections go."""
        self._server.close()

    # --- parameters ----------------------------------------------------------------------------------------------

    def parameters(self, source: str) -> Mapping[str, Any]:
        """Return the peak finder's parameters; see `Control.parameters`.

        Raises
        ------
        UnknownSourceError
            If the source is not watched.
        ParametersNotFoundError
            If no peak finder has declared any.
        ServerError
            If the server cannot be asked.
        """
        store = self._store(source)
        declared = store.declared()
        version = store.current()
        values: Mapping[str, Any] = declared.initial if version is None else {**declared.initial, **version.values}
        return {
            "group": store.group,
            "version": 0 if version is None else version.number,
            "parameters": [
                {
                    "name": name,
                    "kind": parameter.kind,
                    "value": _plain(name, values[name]),
                    "default": _plain(name, parameter.default),
                    "minimum": parameter.bounds.minimum,
                    "maximum": parameter.bounds.maximum,
                    "unit": parameter.bounds.unit,
                    "help": parameter.bounds.help,
                }
                for name, parameter in declared.items()
            ],
        }

    def preview(
        self, source: str, kind: Kind, stream: str, message_id: int, values: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the peaks of one message with other parameters; see `Control.preview`.

        Raises
        ------
        ParameterError, UsageError
            If a parameter is not known, or a value cannot be its.
        BeamstreamError
            If the message is gone, or its geometry or mask cannot be used.
        """
        _check_names(values)
        store = self._store(source)
        settings, token = self._settings(store, values)
        frame = self._archive.message(source, kind, stream, message_id).frame
        if len(frame.shape) != 2:
            raise NoPictureError(f"message {message_id} of {frame.address}", "it is no image")
        image = frame.array()
        reader = self._archive.reader(source, stream)
        key = (frame.address.beamtime, source, stream, reader.created_ns, image.shape, token)
        placement = self._placed(key, lambda: place(settings, reader.metadata, (image.shape[0], image.shape[1])))
        plan = placement.plan.with_parameters(settings.finder)
        found = find_peaks(image, plan, valid=settings.valid(image.dtype))
        hit = settings.is_hit(found.n_found)
        said = SaidPeaks(n_peaks=found.n_found, hit=hit, fs=found.fs, ss=found.ss, intensity=found.intensity)
        peaks = peaks_seen(said, self._archive.scene(source, stream, frame))
        return {"n_peaks": found.n_found, "hit": bool(hit), "peaks": peaks.astype(np.float64).round(3).tolist()}

    def apply(self, source: str, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Change parameters of the running group; see `Control.apply`.

        Raises
        ------
        ParameterError, UsageError
            If a parameter is not known, or a value cannot be its.
        ParametersNotFoundError
            If no peak finder has declared any.
        """
        _check_names(values)
        store = self._store(source)
        self._settings(store, values)  # refuses limits that contradict one another
        version = change_parameters(store, values)
        said = ", ".join(f"{name} = {shown(value)}" for name, value in values.items())
        self._desk.board.note("info", f"the peak finder of {source} uses {said} (version {version.number})")
        log.info("%s: %s, version %d by %s", source, said, version.number, version.who)
        return {"version": version.number}

    def _settings(self, store: ParameterStore, values: Mapping[str, Any]) -> tuple[PeakSettings, object]:
        """Return the present settings with other values, and what names their mask and geometry."""
        try:
            version = store.current()
        except ParametersNotFoundError:
            version = None
        if version is None:
            return PeakSettings.of({**all_parameters().initial, **values}), None
        known = all_parameters()
        present: dict[str, Value] = {name: value for name, value in store.load(version).items() if name in known}
        return PeakSettings.of({**present, **values}), large_token(version.values)

    def _placed(self, key: object, make: Callable[[], Placement]) -> Placement:
        """Return where pixels are; working it out takes a good part of a second."""
        with self._placing:
            placement = self._placements.pop(key, None) or make()
            self._placements[key] = placement
            while len(self._placements) > MAX_PLACEMENTS:
                self._placements.popitem(last=False)
            return placement

    # --- mask, powder --------------------------------------------------------------------------------------------

    def draw_mask(self, source: str, shapes: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Add polygons to the peak finder's mask, or take them from it; see `Control.draw_mask`.

        Raises
        ------
        UsageError
            If these are no shapes.
        NoPictureError
            If nothing was shown yet on which they could have been drawn.
        ParametersNotFoundError
            If no peak finder has declared any parameters.
        """
        polygons = read_shapes(shapes)
        run = self._watcher(source).run
        if run is None or run.scene is None:
            raise NoPictureError(source, "no frame was shown yet, so no mask can be drawn")
        store = self._store(source)
        with self._drawing:
            present = self._present_mask(store)
            mask = draw(polygons, run.scene, present)
            version = change_parameters(store, {"mask": mask})
            geometry: Any = store.load_values(version.number, {"geometry": version.values.get("geometry")})["geometry"]
            self._desk.scenes.tune(source, large_token(version.values), mask, geometry)
        scene = self._desk.scenes.of(source, run.address, run.created_ns, run.metadata, run.scene.frame_shape)
        self._desk.board.note("info", f"the mask of the peak finder of {source} has changed (version {version.number})")
        return {"n_masked": scene.n_masked, "version": version.number}

    @staticmethod
    def _present_mask(store: ParameterStore) -> npt.NDArray[Any] | None:
        version = store.current()
        if version is None:
            mask: Any = store.declared().initial.get("mask")
            return None if mask is None else np.asarray(mask)
        value: Any = store.load_values(version.number, {"mask": version.values.get("mask")})["mask"]
        return None if value is None else np.asarray(value)

    def reset_powder(self, source: str) -> None:
        """Begin the powders of a source anew."""
        self._watcher(source).reset_powders()
        self._desk.board.note("info", f"the powders of {source} begin anew")

    # --- which ---------------------------------------------------------------------------------------------------

    def _watcher(self, source: str) -> SourceWatcher:
        if source not in self._watchers:
            raise UnknownSourceError(source, list(self._watchers))
        return self._watchers[source]

    def _store(self, source: str) -> ParameterStore:
        where: Address | SourceAddress = self._watcher(source).where
        address = where.source_address if isinstance(where, Address) else where
        return ParameterStore(self._server, address, PEAKS_GROUP)


def _check_names(values: Mapping[str, Any]) -> None:
    if not isinstance(values, Mapping):
        raise UsageError("values are an object: names of parameters and their values")
    if wrong := [name for name in LARGE if name in values]:
        raise UsageError(f"{wrong[0]} cannot be set here; draw the mask, or use: stream parameters set --file")


def _plain(name: str, value: Any) -> Any:
    """Return a value for JSON: of a mask or a geometry, what it is."""
    if isinstance(value, str) and name in LARGE:
        return shown(value)
    return described(value)
