"""Index entries: golden bytes of version 1, and entries that are none of ours."""

from __future__ import annotations

import msgpack
import pytest

from beamstream import Gap, Header
from beamstream.errors import EntryError
from beamstream.protocol import EntryKind, decode_entry, decode_header, encode_header
from beamstream.protocol.entry import MAX_HEADER_BYTES

PLAIN = Header(payload_bytes=3, checksum=0x0102030405060708, timestamp_ns=1_700_000_000_000_000_001)
PLAIN_BYTES = bytes.fromhex("01 0102030405060708 0000000000000003 1797 9cfe362a0001 80".replace(" ", ""))

IMAGE = Header(
    payload_bytes=17445,
    checksum=0xFFFFFFFFFFFFFFFF,
    timestamp_ns=0,
    codec="lz4-block",
    shape=(1062, 1028),
    dtype="<u4",
    metadata={"image_id": 0, "start_ns": 2896044831605460},
)
IMAGE_BYTES = bytes.fromhex(
    "01ffffffffffffffff000000000000442500000000000000008"
    "4a163a96c7a342d626c6f636ba17392cd0426cd0404a164a33c7534a16d82a8696d6167655f696400a873746172745f6e73cf000a49effb7102d4"
)


@pytest.mark.parametrize(("header", "golden"), [(PLAIN, PLAIN_BYTES), (IMAGE, IMAGE_BYTES)])
def test_a_header_of_version_1_reads_and_writes_for_ever(header: Header, golden: bytes) -> None:
    assert encode_header(header) == golden
    assert decode_header(golden) == header


def test_an_unknown_key_is_ignored() -> None:
    packed = PLAIN_BYTES[:25] + msgpack.packb({"c": "lz4", "later": [1, 2]})
    assert decode_header(packed).codec == "lz4"


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        (b"", "0 bytes"),
        (PLAIN_BYTES[:25], "25 bytes"),
        (b"\x02" + PLAIN_BYTES[1:], "version 2"),
        (PLAIN_BYTES[:25] + b"\xc1", "no msgpack"),
        (PLAIN_BYTES + b"\x00", "no msgpack"),
        (PLAIN_BYTES[:25] + msgpack.packb([1]), "a list"),
        (PLAIN_BYTES[:25] + msgpack.packb({"c": 1}), "'c' is a int"),
        (PLAIN_BYTES[:25] + msgpack.packb({"d": b"<u2"}), "'d' is a bytes"),
        (PLAIN_BYTES[:25] + msgpack.packb({"d": "O"}), "no kind of number"),
        (PLAIN_BYTES[:25] + msgpack.packb({"d": "nonsense"}), "no kind of number"),
        (PLAIN_BYTES[:25] + msgpack.packb({"m": []}), "'m' is a list"),
        (PLAIN_BYTES[:25] + msgpack.packb({"s": [-1, 2]}), "shape"),
        (PLAIN_BYTES[:25] + msgpack.packb({"s": [True]}), "shape"),
        (PLAIN_BYTES[:25] + msgpack.packb({"s": [1] * 33}), "shape"),
        (PLAIN_BYTES[:25] + b"\x91" * 5000, "no msgpack"),
        (PLAIN_BYTES[:25] + bytes(MAX_HEADER_BYTES), "bytes"),
    ],
)
def test_bytes_that_are_no_header_are_refused_with_the_reason(packed: bytes, reason: str) -> None:
    with pytest.raises(EntryError, match=reason):
        decode_header(packed)


@pytest.mark.parametrize("metadata", [{"x": object()}, {"x": 2**70}, {"x": "y" * MAX_HEADER_BYTES}])
def test_metadata_that_cannot_travel_are_refused(metadata: dict[str, object]) -> None:
    with pytest.raises(EntryError):
        encode_header(Header(payload_bytes=0, checksum=0, timestamp_ns=0, metadata=metadata))


def test_a_message_entry_carries_id_header_and_inline_payload() -> None:
    entry = decode_entry(b"42-0", {b"h": PLAIN_BYTES, b"b": b"126", b"p": b"abc"})
    assert (entry.kind, entry.message_id, entry.late) == (EntryKind.MESSAGE, 42, False)
    assert (entry.header, entry.total_bytes, entry.inline) == (PLAIN, 126, b"abc")


def test_a_gap_of_version_1_says_which_ids_and_why() -> None:
    entry = decode_entry(b"12-0", {b"k": b"g", b"f": b"7", b"r": b"declined", b"b": b"126", b"n": b"6"})
    assert (entry.kind, entry.n_messages, entry.total_bytes) == (EntryKind.GAP, 6, 126)
    assert entry.gap == Gap(first_id=7, last_id=12, reason="declined")
    assert entry.gap.is_declined
    assert not Gap(first_id=7, last_id=12, reason="stated").is_declined


def test_a_late_entry_carries_its_own_message_id() -> None:
    entry = decode_entry(b"42-1", {b"h": PLAIN_BYTES, b"b": b"126", b"i": b"7"})
    assert (entry.message_id, entry.late) == (7, True)


def test_a_gap_entry_says_what_is_missing_and_why() -> None:
    entry = decode_entry(b"9-0", {b"k": b"g", b"f": b"5", b"r": b"patience", b"b": b"1"})
    assert entry.gap == Gap(first_id=5, last_id=9, reason="patience")
    assert entry.gap.n_messages == 5


def test_an_end_entry_stands_behind_the_last_id() -> None:
    entry = decode_entry("11-0", {b"k": b"e", b"b": b"1"})
    assert (entry.kind, entry.message_id) == (EntryKind.END, 10)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {b"h": PLAIN_BYTES},
        {b"h": PLAIN_BYTES, b"b": b"many"},
        {b"k": b"g", b"b": b"1"},
        {b"k": b"?"},
    ],
)
def test_an_entry_of_somebody_else_is_refused(fields: dict[bytes, bytes]) -> None:
    with pytest.raises(EntryError):
        decode_entry(b"1-0", fields)
