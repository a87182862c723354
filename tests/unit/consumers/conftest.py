"""Frames and streams as the service loop hands them to a handler."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import xxhash

from beamstream import Address, Frame, Header, codecs
from beamstream.service import StreamEnd, StreamStart

ADDRESS = Address("11012345", "eiger", "series_00042")
FIRST_NS = 1_763_700_000_000_000_000
FRAME_NS = 10_000_000

MakeFrame = Callable[..., Frame]
MakeStart = Callable[..., StreamStart]
MakeEnd = Callable[..., StreamEnd]


def image_of(message_id: int, shape: tuple[int, int] = (31, 43), dtype: str = "<u2") -> npt.NDArray[Any]:
    """Return an image that no other message has."""
    return np.random.default_rng(message_id).poisson(2.0, shape).astype(dtype)


@pytest.fixture
def make_image() -> Callable[..., npt.NDArray[Any]]:
    return image_of


@pytest.fixture
def make_frame() -> MakeFrame:
    def make(
        message_id: int,
        array: npt.NDArray[Any] | None = None,
        codec: str = "bslz4",
        metadata: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> Frame:
        image = image_of(message_id) if array is None else array
        payload = bytes(codecs.encode(image, codec))
        header = {
            "payload_bytes": len(payload),
            "checksum": xxhash.xxh3_64_intdigest(payload),
            "timestamp_ns": FIRST_NS + message_id * FRAME_NS,
            "codec": codec,
            "shape": image.shape,
            "dtype": image.dtype.str,
            "metadata": metadata or {},
        }
        return Frame(address=ADDRESS, message_id=message_id, header=Header(**{**header, **changes}), payload=payload)

    return make


@pytest.fixture
def make_start() -> MakeStart:
    def make(metadata: Mapping[str, Any] | None = None, n_expected: int | None = None, **changes: Any) -> StreamStart:
        fields = {"address": ADDRESS, "metadata": metadata or {}, "n_expected": n_expected, "broker": ""}
        return StreamStart(**{**fields, **changes})

    return make


@pytest.fixture
def make_end() -> MakeEnd:
    def make(last_id: int, n_expected: int | None = None, reason: str = "complete") -> StreamEnd:
        return StreamEnd(last_id=last_id, n_expected=n_expected, reason=reason, next_stream=None)

    return make
