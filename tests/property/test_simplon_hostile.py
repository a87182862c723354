"""Hostile bytes that know the protocol: captured messages damaged, fields that are well formed and make no sense.

Whatever comes, it decodes or is refused with an error of ours; the memory that takes is bounded by what arrived, never
by what was claimed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import random
import tracemalloc
from collections.abc import Sequence
from typing import Any

import cbor2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beamstream.errors import EntryError
from beamstream.protocol.metadata import encode_metadata
from beamstream_producers.formats.simplon import Image, SimplonError, Start, decode, image_times, stream_metadata
from beamstream_producers.testing import damaged, hostile_messages

BASE_BYTES = 4 << 20
"""What decoding may take whatever arrives [bytes]; most of it are caches that the first call fills."""

LZ4_RATIO = 256
"""How many bytes one byte may become [bytes]: a packed table of a start, unpacked."""

SLACK = 4
"""Copies of a message that decoding may hold beside what it returns."""

PARTS_OF_A_SERIES = [8] + [4] * 10 + [1]


def take(parts: Sequence[bytes]) -> None:
    """Do what the connector does with a message, up to what goes to the broker."""
    with contextlib.suppress(SimplonError):
        message = decode(parts)
        if isinstance(message, Start):
            for channel in message.channels:
                with contextlib.suppress(EntryError):  # a table of more than the broker takes
                    encode_metadata(stream_metadata(message, channel))
        if isinstance(message, Image):
            image_times(message, 1)


def peak_bytes(parts: Sequence[bytes]) -> int:
    """Return how much memory decoding a message takes at most [bytes]."""
    tracemalloc.start()
    try:
        with contextlib.suppress(SimplonError):
            decode(parts)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(scope="module")
def captured() -> list[list[bytes]]:
    """Header, image and end of either version, as detectors sent them."""
    import os
    from pathlib import Path

    folder = os.environ.get("BEAMSTREAM_TEST_DATA")
    if not folder:
        pytest.skip("BEAMSTREAM_TEST_DATA names no folder of captured data")
    files = sorted((Path(folder) / "stream_v1_eigerstreamreceiver/parts").iterdir())
    parts = (path.read_bytes() for path in files)
    v1 = [list(itertools.islice(parts, n_parts)) for n_parts in PARTS_OF_A_SERIES]
    v2 = [
        [(Path(folder) / f"stream_v2_tickit_eiger16m/{kind}.cbor").read_bytes()] for kind in ("start", "image", "end")
    ]
    return [v1[0], v1[1], v1[-1], *v2]


captured_only = settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])


@captured_only
@given(which=st.integers(0, 5), seed=st.integers(0, 2**32), n_wrong=st.integers(1, 3))
def test_damaged_captured_messages_decode_or_are_refused(captured, which, seed, n_wrong):
    dice = random.Random(seed)
    parts = captured[which]
    for _ in range(n_wrong):
        parts = damaged(parts, dice)
    take(parts)


@captured_only
@given(which=st.integers(0, 5), seed=st.integers(0, 2**32))
def test_what_a_damaged_captured_message_costs_is_bounded_by_what_arrived(captured, which, seed):
    parts = damaged(captured[which], random.Random(seed))
    assert peak_bytes(parts) < BASE_BYTES + (SLACK + LZ4_RATIO) * sum(map(len, parts))


# --- fields that are well formed ------------------------------------------------------------------------------------

nasty_numbers = st.sampled_from(
    [0, 1, -1, 2, 3, 2**16, 2**31, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 2**70, -(2**63), 1.5, 1e308, 0.0]
) | st.integers(-10, 70_000)
nasty_texts = st.sampled_from(
    ["", "all", "none", "bs16-lz4<", "bs32-lz4<", "lz4<", "<", ">", "uint16", "uint32", "x" * 999]
)
nasty = st.recursive(
    st.none() | st.booleans() | nasty_numbers | nasty_texts | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(nasty_texts | st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
HEADS_V1: list[list[dict[str, Any]]] = [
    [
        {"htype": "dheader-1.0", "series": 1, "header_detail": "all"},
        {"nimages": 3, "ntrigger": 2, "software_version": "1"},
    ],
    [
        {"htype": "dheader-1.0", "series": 1, "header_detail": "all"},
        {"x_pixels_in_detector": 4, "y_pixels_in_detector": 2, "bit_depth_image": 16, "omega_start": 1.0},
        {"htype": "dpixelmask-1.0", "shape": [4, 2], "type": "uint32"},
    ],
    [
        {"htype": "dimage-1.0", "series": 1, "frame": 0, "hash": ""},
        {"htype": "dimage_d-1.0", "shape": [4, 2], "type": "uint16", "encoding": "bs16-lz4<", "size": 28},
        {"htype": "dconfig-1.0", "start_time": 0, "stop_time": 1, "real_time": 1},
    ],
    [{"htype": "dseries_end-1.0", "series": 1}],
]
BLOB = (16).to_bytes(8, "big") + bytes([0, 0, 32, 0]) + bytes(16)
FIELDS_V2: list[dict[str, Any]] = [
    {
        "type": "start",
        "series_id": 1,
        "series_unique_id": "01H",
        "channels": ["threshold_1"],
        "number_of_images": 3,
        "image_size_x": 4,
        "image_size_y": 2,
        "image_dtype": "uint16",
        "threshold_energy": {"threshold_1": 1.0},
        "detector_translation": [0, 0, -1],
        "goniometer": {"omega": {"start": 1.0, "increment": 1.0}},
        "pixel_mask": {"threshold_1": cbor2.CBORTag(40, [[2, 4], cbor2.CBORTag(70, bytes(32))])},
        "countrate_correction_lookup_table": cbor2.CBORTag(85, bytes(8)),
        "user_data": {"a": [1]},
    },
    {
        "type": "image",
        "series_id": 1,
        "image_id": 0,
        "series_date": "x",
        "start_time": [1, 2],
        "real_time": [1, 50_000_000],
        "data": {
            "threshold_1": cbor2.CBORTag(40, [[2, 4], cbor2.CBORTag(69, cbor2.CBORTag(56500, ["bslz4", 2, BLOB]))])
        },
    },
    {"type": "end", "series_id": 1},
]
tagged = st.builds(
    cbor2.CBORTag,
    st.sampled_from([0, 2, 25, 28, 29, 40, 64, 69, 70, 85, 256, 258, 55799, 56500]),
    nasty | st.binary(max_size=40) | st.lists(nasty | st.binary(max_size=40), max_size=3),
)
paths = st.sampled_from([("bslz4", 2), ("lz4", 0), ("bslz4", 4), ("bszstd", 2), ("trpx", 2)])
arrays = st.builds(
    lambda axes, tag, packing, data: cbor2.CBORTag(
        40, [axes, cbor2.CBORTag(tag, cbor2.CBORTag(56500, [*packing, data]))]
    ),
    st.lists(nasty_numbers, max_size=3) | nasty,
    st.sampled_from([64, 69, 70, 85, 86, 76, 84]),
    paths,
    st.binary(max_size=64) | st.just(BLOB) | nasty,
)


@settings(max_examples=300)
@given(st.data())
def test_v1_fields_that_make_no_sense_are_read_or_refused(data):
    heads = [dict(head) for head in data.draw(st.sampled_from(HEADS_V1))]
    for _ in range(data.draw(st.integers(1, 3))):
        head = data.draw(st.sampled_from(heads))
        head[data.draw(st.sampled_from([*head, "nimages", "ntrigger", "shape"]))] = data.draw(nasty)
    parts = [json.dumps(head).encode() for head in heads]
    blob = data.draw(st.just(BLOB) | st.binary(max_size=64))
    parts[2:2] = [blob] if len(parts) == 3 and b"dimage" in parts[1] else []
    parts += [blob] if len(parts) == 3 else []
    take(parts)
    take(parts * 2)


@settings(max_examples=300)
@given(st.data())
def test_v2_fields_that_make_no_sense_are_read_or_refused(data):
    fields = dict(data.draw(st.sampled_from(FIELDS_V2)))
    values = nasty | tagged | arrays | st.dictionaries(nasty_texts, arrays | tagged, max_size=3)
    for _ in range(data.draw(st.integers(1, 3))):
        fields[data.draw(st.sampled_from([*fields, "data", "channels"]))] = data.draw(values)
    message = cbor2.dumps(fields)
    take([message])
    assert peak_bytes([message]) < BASE_BYTES + (SLACK + LZ4_RATIO) * len(message)


@pytest.mark.parametrize("name", hostile_messages())
def test_what_a_hostile_message_costs_is_bounded_by_what_arrived(name):
    parts = hostile_messages()[name]
    assert peak_bytes(parts) < BASE_BYTES + SLACK * sum(map(len, parts))
