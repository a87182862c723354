"""Datasets without a server: golden bytes of version 1, headers that contradict themselves, frames and their arrays."""

from __future__ import annotations

import pickle
from dataclasses import replace

import msgpack
import numpy as np
import pytest
import xxhash

from beamstream import Address, Frame, Header
from beamstream.dataset import Dataset, combine_checksums, dataset_header, make_frame, merge, payload_ids, split_payload
from beamstream.errors import ChecksumError, EntryError, IncompleteDatasetError, NotAnImageError, ShapeError
from beamstream.protocol import decode_header, encode_header

ADDRESS = Address("bt", "det", "run")

FIRST = Header(payload_bytes=3, checksum=0x0102030405060708, timestamp_ns=1_700_000_000_000_000_001, part=1)
THIRD = Header(
    payload_bytes=17445,
    checksum=0xFFFFFFFFFFFFFFFF,
    timestamp_ns=1_700_000_000_000_000_000,
    codec="bslz4",
    shape=(512, 1024),
    dtype="<u2",
    metadata={"bias_v": -120},
    part=3,
)
DATASET = dataset_header(4, [THIRD, FIRST])
DATASET_BYTES = bytes.fromhex(
    "01 8fad875a e9a72886 0000000000004428 17979cfe362a0000"  # version, checksum, bytes, time
    "82 a16e 04 a170 92"  # n: 4, p: two pairs
    "92 01 c41a 01 0102030405060708 0000000000000003 17979cfe362a0001 80"
    "92 03 c43d 01 ffffffffffffffff 0000000000004425 17979cfe362a0000"
    "84 a163 a562736c7a34 a173 92cd0200cd0400 a164 a33c7532 a16d 81a6626961735f76d088"
)
ADDITION_BYTES = DATASET_BYTES.replace(bytes.fromhex("82a16e04"), bytes.fromhex("83a16e04"), 1) + b"\xa1a\xc3"


def test_the_header_of_a_dataset_reads_and_writes_for_ever() -> None:
    assert encode_header(DATASET).hex() == DATASET_BYTES.hex()
    assert decode_header(DATASET_BYTES) == DATASET


def test_the_header_of_an_addition_reads_and_writes_for_ever() -> None:
    addition = replace(DATASET, is_addition=True)
    assert encode_header(addition) == ADDITION_BYTES
    assert decode_header(ADDITION_BYTES) == addition


def test_a_dataset_is_what_its_parts_make_it() -> None:
    assert (DATASET.payload_bytes, DATASET.timestamp_ns) == (17448, 1_700_000_000_000_000_000)
    assert [part.part for part in DATASET.parts] == [1, 3]
    assert DATASET.missing_parts == (2, 4)
    assert payload_ids(7, DATASET) == [(7, FIRST.checksum, 1), (7, THIRD.checksum, 3)]


def test_the_checksum_knows_equal_parts_from_none_and_one_order_from_another() -> None:
    one, two = 0x1111, 0x2222
    seen = {
        combine_checksums(parts)
        for parts in (
            [(1, one), (2, two)],
            [(1, two), (2, one)],
            [(1, one)],
            [(2, one)],
            [(1, one), (2, one)],
            [(1, two), (2, two)],
            [(1, one), (33, one)],
        )
    }
    assert len(seen) == 7


def packed(fields: object, fixed: bytes = DATASET_BYTES[:25]) -> bytes:
    return fixed + bytes(msgpack.packb(fields))


PART_BYTES = encode_header(FIRST)


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        (packed({"n": 4, "p": []}), r"parts \[\] of 4"),
        (packed({"n": 4, "p": 1}), "'p' is a int"),
        (packed({"n": "4", "p": []}), "'n' is a str"),
        (packed({"n": 4, "p": [[1]]}), "its number and its header"),
        (packed({"n": 4, "p": [[True, PART_BYTES]]}), "its number and its header"),
        (packed({"n": 4, "p": [[1, PART_BYTES.hex()]]}), "its number and its header"),
        (packed({"n": 4, "p": [[5, PART_BYTES]]}), "part 5 of 4"),
        (packed({"n": 4, "p": [[0, PART_BYTES]]}), "part 0 of 4"),
        (packed({"n": 2000, "p": [[1999, PART_BYTES]]}), "part 1999 of 2000"),
        (packed({"n": 2000, "p": [[1, PART_BYTES]]}), "of 2000"),
        (packed({"n": 4, "p": [[2, PART_BYTES], [1, PART_BYTES]]}), r"parts \[2, 1\] of 4"),
        (packed({"n": 4, "p": [[1, PART_BYTES], [1, PART_BYTES]]}), r"parts \[1, 1\] of 4"),
        (packed({"n": 4, "p": [[1, DATASET_BYTES]]}), "has parts itself"),
        (packed({"n": 4, "p": [[1, PART_BYTES[:20]]]}), "20 bytes"),
        (packed({"n": 4, "p": [[1, PART_BYTES]]}), "not what its parts make them"),
        (DATASET_BYTES[:9] + b"\xff" + DATASET_BYTES[10:], "not what its parts make them"),
    ],
)
def test_a_header_that_contradicts_itself_is_refused_with_the_reason(header: bytes, reason: str) -> None:
    with pytest.raises(EntryError, match=reason):
        decode_header(header)


def test_datasets_within_datasets_are_refused_however_deep() -> None:
    header = PART_BYTES
    for _ in range(5000):
        header = packed({"n": 2, "p": [[1, header]]})
    with pytest.raises(EntryError, match="has parts itself"):
        decode_header(header)


def module(part: int, value: int, *, dtype: str = "<u2", shape: tuple[int, ...] = (2, 3)) -> tuple[Header, bytes]:
    payload = np.full(shape, value, dtype).tobytes()
    header = Header(
        payload_bytes=len(payload),
        checksum=xxhash.xxh3_64_intdigest(payload),
        timestamp_ns=part,
        shape=shape,
        dtype=dtype,
        metadata={"module": part},
        part=part,
    )
    return header, payload


def frame_of(*modules: tuple[Header, bytes], n_parts: int = 2) -> Frame:
    return make_frame(ADDRESS, 7, dataset_header(n_parts, [one for one, _ in modules]), [two for _, two in modules])


def test_a_complete_dataset_is_one_array() -> None:
    frame = frame_of(module(1, 10), module(2, 20))
    assert isinstance(frame, Dataset)
    assert frame.array().tolist() == [[[10] * 3] * 2, [[20] * 3] * 2]
    out = np.zeros((2, 2, 3), "<u2")
    assert frame.array(out=out) is out
    assert out[1, 1, 2] == 20


def test_each_part_is_like_a_frame() -> None:
    frame = frame_of(module(1, 10), module(3, 20), n_parts=3)
    assert [part.part for part in frame.parts] == [1, 3]
    assert frame.parts[1].array().tolist() == [[20] * 3] * 2
    assert frame.parts[1].metadata == {"module": 3}
    assert (frame.n_parts, frame.missing_parts, frame.metadata) == (3, (2,), {})
    assert (frame.parts[0].n_parts, frame.parts[0].parts) == (1, ())


def test_the_payload_of_a_dataset_is_that_of_its_parts() -> None:
    first, second = module(1, 10), module(2, 20)
    frame = frame_of(first, second)
    assert frame.payload == first[1] + second[1]
    assert [bytes(part) for part in split_payload(frame.header, frame.payload)] == [first[1], second[1]]
    assert frame.parts[0].payload is first[1], "not copied"


def test_datasets_are_equal_where_all_of_them_is() -> None:
    first, second = module(1, 10), module(2, 20)
    assert frame_of(first, second) == frame_of(first, (second[0], memoryview(second[1])))  # type: ignore[arg-type]
    assert frame_of(first, second) != frame_of(first, module(2, 21))


def test_a_dataset_travels_to_another_process() -> None:
    first, second = module(1, 10), module(2, 20)
    both = first[1] + second[1]
    frame = make_frame(
        ADDRESS, 7, dataset_header(2, [first[0], second[0]]), [both[:12], memoryview(both)[12:]], late=True
    )
    assert pickle.loads(pickle.dumps(frame)) == frame  # noqa: S301 (our own bytes)


def test_an_incomplete_dataset_is_no_array() -> None:
    with pytest.raises(IncompleteDatasetError, match=r"lacks 1, 3 of its 3 parts") as caught:
        frame_of(module(2, 10), n_parts=3).array()
    assert caught.value.missing_parts == (1, 3)


@pytest.mark.parametrize("other", [module(2, 1, dtype="<u4"), module(2, 1, shape=(3, 2))])
def test_parts_that_are_not_alike_are_no_array(other: tuple[Header, bytes]) -> None:
    with pytest.raises(ShapeError, match="part 2 of message 7"):
        frame_of(module(1, 1), other).array()


def test_an_array_of_another_shape_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"\(2, 2, 3\)"):
        frame_of(module(1, 1), module(2, 2)).array(out=np.zeros((2, 3), "<u2"))


def test_parts_without_a_shape_are_no_array() -> None:
    bare = [(replace(one, shape=None, dtype=None), two) for one, two in (module(1, 1), module(2, 2))]
    with pytest.raises(NotAnImageError):
        frame_of(*bare).array()


def test_a_damaged_part_is_not_delivered() -> None:
    first, second = module(1, 10), module(2, 20)
    with pytest.raises(ChecksumError):
        frame_of(first, (second[0], first[1]))


def test_parts_that_came_later_are_put_to_the_others() -> None:
    first, second, third = (module(part, part)[0] for part in (1, 2, 3))
    merged = merge(dataset_header(3, [first, third]), [dataset_header(3, [second], is_addition=True)])
    assert merged == dataset_header(3, [first, second, third])


def test_an_ordinary_frame_has_no_parts() -> None:
    frame = Frame(address=ADDRESS, message_id=1, header=replace(module(1, 1)[0], part=0), payload=b"")
    assert (frame.parts, frame.part, frame.n_parts, frame.missing_parts) == ((), 0, 1, ())
