"""Segments of any records, cut off and damaged anywhere: what is given is what was written, in its order."""

from __future__ import annotations

import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beamstream import Address, Gap, Header
from beamstream.protocol import encode_header
from beamstream.segments import (
    CorruptRecordError,
    Record,
    SegmentFormatError,
    SegmentReader,
    SegmentStream,
    SegmentWriter,
    StoredEntry,
    StreamWriter,
    gap_record,
    record_of_entry,
)
from beamstream.segments.layout import checksum_of

ADDRESS = Address("bt", "det", "run")

Fields = tuple[str, dict[bytes, bytes], bytes | None]
"""An index entry as the server gives it, and its payload where that is not inline."""

metadata = st.dictionaries(st.text(max_size=5), st.integers(-(2**63), 2**63 - 1) | st.text(max_size=9), max_size=3)
payloads = st.binary(max_size=300) | st.integers(0, 20_000).map(lambda length: b"\xb5BSREC\x01\x01" * (length // 8))


@st.composite
def index_entries(draw: st.DrawFn) -> list[Fields]:
    """Draw the entries of an index: messages, inline ones, gaps and late ones."""
    entries: list[Fields] = []
    position = 0
    n_messages = 0
    for _ in range(draw(st.integers(1, 12))):
        kind = draw(st.sampled_from(["message", "inline", "gap"]))
        if kind == "gap":
            first, position = position + 1, position + draw(st.integers(1, 5))
            fields = {b"k": b"g", b"f": b"%d" % first, b"r": b"patience", b"b": b"0", b"n": b"%d" % n_messages}
            entries.append((f"{position}-0", fields, None))
            continue
        position += 1
        n_messages += 1
        payload = draw(payloads)
        header = Header(
            payload_bytes=len(payload),
            checksum=checksum_of(payload),
            timestamp_ns=draw(st.integers(0, 2**63)),
            metadata=draw(metadata),
        )
        fields = {b"h": encode_header(header), b"b": b"%d" % draw(st.integers(0, 2**63)), b"n": b"%d" % n_messages}
        if kind == "inline":
            fields[b"p"] = payload
        entries.append((f"{position}-0", fields, None if kind == "inline" else payload))
    return entries


def records_of(entries: list[Fields]) -> list[Record]:
    return [record_of_entry(*entry) for entry in entries]


def restored(stream: SegmentStream) -> list[Fields]:
    """Turn what the segments have back into index entries."""
    found: list[Fields] = []
    for stored in stream.entries():
        payload = stream.read(stored.location)
        is_message = stored.entry.gap is None
        fields = stored.fields(payload)
        found.append((stored.entry.entry_id, fields, payload if is_message and not stored.is_inline else None))
    return found


@settings(max_examples=60)
@given(index_entries(), st.integers(500, 30_000), st.booleans())
def test_an_index_comes_back_from_its_segments_as_it_was(
    entries: list[Fields], segment_bytes: int, closed: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer = StreamWriter(Path(folder), ADDRESS, segment_bytes=segment_bytes)
        for record in records_of(entries):
            writer.append_all([record])
        writer.close() if closed else writer.abandon()
        with SegmentStream(Path(folder)) as stream:
            assert restored(stream) == entries
            assert not stream.damage


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(index_entries(), st.data(), st.booleans())
def test_nothing_damaged_is_given_as_good(entries: list[Fields], data: st.DataObject, closed: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        writer = SegmentWriter.create(Path(folder), ADDRESS, 1)
        writer.append_all([*records_of(entries), gap_record(Gap(first_id=900, last_id=901, reason="held"), 5)])
        writer.close() if closed else writer.abandon()
        before = good(writer.path)
        assert len(before) == len(entries) + 1
        whole = bytearray(writer.path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            begin = data.draw(st.integers(0, len(whole)))
            damage = data.draw(st.binary(min_size=1, max_size=200))
            whole[begin : begin + len(damage)] = damage
        del whole[data.draw(st.integers(len(whole) // 2, len(whole))) :]
        writer.path.write_bytes(whole)
        found = good(writer.path)
        assert [one for one in before if one in found] == found


def good(path: Path) -> list[tuple[StoredEntry, bytes]]:
    """Read each entry that can be read, with its payload."""
    found = []
    try:
        reader = SegmentReader(path)
    except SegmentFormatError:
        return []
    with reader:
        for stored in reader.entries():
            try:
                payload = reader.read(stored.location, stored.entry.header.checksum if stored.entry.header else None)
            except CorruptRecordError:
                continue
            found.append((stored, payload))
    return found
