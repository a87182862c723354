"""What CrystFEL is sent."""

from __future__ import annotations

import io
import itertools
from typing import Any

import h5py
import msgpack
import numpy as np
import pytest

from beamstream_consumers.crystfel.messages import MAX_PEAKS, Event, Peaks, encode_event, encode_msgpack, peaks_of
from beamstream_consumers.crystfel.protocol import AT_END, MAX_SHORT_BYTES, NOT_UNDERSTOOD, NOT_YET

EVENT = Event(
    pixels=np.array([[1.5, np.nan]], dtype=np.float32),
    peaks=Peaks(fs=(1.0,), ss=(0.0,), intensity=(7.0,)),
    photon_energy_ev=12_000.0,
    distance_mm=100.0,
    event_id="bt/det/run//7",
    message_id=7,
    timestamp_s=3.5,
    source="bt/det/run",
)


def maps(value: Any) -> list[list[str]]:
    """Return the keys of a map and of all maps in it."""
    if not isinstance(value, dict):
        return []
    return [list(value), *(keys for inner in value.values() for keys in maps(inner))]


def test_no_key_is_the_beginning_of_another_one() -> None:
    for keys in maps(msgpack.unpackb(encode_msgpack(EVENT), raw=False)):
        assert not [(one, other) for one, other in itertools.permutations(keys, 2) if other.startswith(one)]


def test_peaks_are_floats_whatever_they_were() -> None:
    peaks = peaks_of({"peaks": {"fs": [1, 2], "ss": np.array([3, 4]), "intensity": (5, 6.5)}})
    assert peaks is not None
    assert all(type(value) is float for value in (*peaks.fs, *peaks.ss, *peaks.intensity))


@pytest.mark.parametrize(
    "said",
    [
        None,
        [],
        {},
        {"fs": [1.0], "ss": [1.0]},
        {"fs": [1.0], "ss": [1.0, 2.0], "intensity": [1.0]},
        {"fs": [1.0], "ss": ["here"], "intensity": [1.0]},
        {"fs": [float("nan")], "ss": [1.0], "intensity": [1.0]},
        {"fs": [10**400], "ss": [1.0], "intensity": [1.0]},
        {"fs": [True], "ss": [1.0], "intensity": [1.0]},
        {name: [1.0] * (MAX_PEAKS + 1) for name in ("fs", "ss", "intensity")},
    ],
)
def test_peaks_that_cannot_be_meant_are_none(said: Any) -> None:
    assert peaks_of({"peaks": said}) is None


def test_pixels_are_little_endian_float32_in_the_order_of_the_frame() -> None:
    fortran = np.asfortranarray(np.arange(6, dtype=">f4").reshape(2, 3))
    packed = encode_msgpack(Event(**{name: getattr(EVENT, name) for name in EVENT.__slots__} | {"pixels": fortran}))
    data = msgpack.unpackb(packed, raw=False)["detector_data"]
    assert (data["type"], data["shape"]) == ("<f4", [2, 3])
    assert np.frombuffer(data["data"], "<f4").tolist() == [0, 1, 2, 3, 4, 5]


def test_hdf5_needs_no_plug_in() -> None:
    with h5py.File(io.BytesIO(encode_event(EVENT, "hdf5")), "r") as file:
        assert file["data/data"].compression is None
        assert file["data/data"].dtype == np.dtype("<f4")


def test_what_is_no_frame_is_shorter_than_any_frame() -> None:
    assert max(map(len, (AT_END, NOT_YET, NOT_UNDERSTOOD))) <= MAX_SHORT_BYTES
    smallest = Event(
        pixels=np.zeros((1, 1), np.float32), peaks=Peaks(), photon_energy_ev=0.0, distance_mm=0.0,
        event_id="", message_id=1, timestamp_s=0.0, source="",
    )  # fmt: skip
    assert len(encode_msgpack(smallest)) > MAX_SHORT_BYTES
