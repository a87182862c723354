"""How fast segments are written and read, beside a plain file of the same bytes on the same disk, in one run.

    python benchmarks/segments.py [--folder DIR] [--gigabytes N]

Both write the same frames, segments up to 1 MiB of them with one call, and make them safe every 32 MiB (`fdatasync`),
opening and closing included; both are read in one pass, and every payload's checksum is computed. The two take turns
after every 32 MiB, so that whoever else uses the disk slows both; rates are those of the median turn, and beside
their ratio stands that of all the time that each took. Between turns, off the clock, the kernel is asked to give up
the cached pages: what is read comes from the disk, and what is written goes to memory that the machine has in hand
(the first touch of new memory costs more than the disk).
"""

from __future__ import annotations

import argparse
import mmap
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import xxhash

from beamstream import Address, Header
from beamstream.protocol import encode_header
from beamstream.segments import Record, RecordKind, SegmentStream, StreamWriter, list_segments, record_of_entry

ADDRESS = Address("bench", "disk", "frames")
CHUNK_BYTES = 32 << 20
"""Bytes between two syncs, and of one turn [bytes]: what a disk takes in a twentieth of a second."""

APPEND_BYTES = 1 << 20
"""Payload bytes that are appended with one call [bytes]; larger payloads one by one."""

SIZES = (64 << 10, 1 << 20, 8 << 20)
"""Payload sizes that are measured [bytes]."""

SMALL_BATCH = 256
"""Small messages that are appended with one call."""


Work = Callable[[Path, list[Record]], Iterator[None]]
"""Makes a piece of work that can be done in steps."""


def frames(payload_bytes: int, n_frames: int) -> list[Record]:
    """Return records of frames that share a few payloads, so that making them costs no time."""
    rng = np.random.default_rng(0)
    payloads = [rng.bytes(payload_bytes) for _ in range(8)]
    records = []
    for i in range(n_frames):
        payload = payloads[i % len(payloads)]
        header = Header(
            payload_bytes=payload_bytes,
            checksum=xxhash.xxh3_64_intdigest(payload),
            timestamp_ns=i,
            shape=(payload_bytes // 2,),
            dtype="<u2",
        )
        fields = {b"h": encode_header(header), b"b": b"%d" % ((i + 1) * payload_bytes)}
        records.append(record_of_entry(f"{i + 1}-0", fields, payload))
    return records


Steps = Iterator[None]
"""A piece of work that pauses after every `CHUNK_BYTES` of payload."""


def write_plain(folder: Path, records: list[Record]) -> Steps:
    descriptor = os.open(folder / "plain", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for chunk in chunks(records):
        for record in chunk:
            os.write(descriptor, record.payload)
        os.fdatasync(descriptor)
        yield
    os.close(descriptor)


def write_segments(folder: Path, records: list[Record]) -> Steps:
    per_call = max(1, APPEND_BYTES // len(records[0].payload))
    with StreamWriter(folder / "run", ADDRESS) as writer:
        for chunk in chunks(records):
            for first in range(0, len(chunk), per_call):
                writer.append_all(chunk[first : first + per_call])
            writer.sync()
            yield


def read_plain(folder: Path, records: list[Record]) -> Steps:
    descriptor = os.open(folder / "plain", os.O_RDONLY)
    for chunk in chunks(records):
        for record in chunk:
            assert xxhash.xxh3_64_intdigest(os.read(descriptor, len(record.payload))) == record.checksum
        yield
    os.close(descriptor)


def read_segments(folder: Path, records: list[Record]) -> Steps:
    with SegmentStream(folder / "run") as stream:
        entries = stream.entries()
        for chunk in chunks(records):
            for record, stored in zip(chunk, entries, strict=False):
                assert stored.entry.header is not None
                assert len(stream.read(stored.location, stored.entry.header.checksum)) == len(record.payload)
            yield
        assert next(entries, None) is None


def chunks(records: list[Record]) -> Iterator[list[Record]]:
    per_chunk = max(1, CHUNK_BYTES // len(records[0].payload))
    return (records[first : first + per_chunk] for first in range(0, len(records), per_chunk))


def forget(folder: Path) -> None:
    """Ask the kernel to give up its cached pages of these files."""
    for path in (*folder.glob("plain"), *list_segments(folder / "run").values()):
        descriptor = os.open(path, os.O_RDONLY)
        # Not the last page: who appends to it would have to read it back, which no writer has to otherwise.
        whole_pages = os.fstat(descriptor).st_size // mmap.PAGESIZE * mmap.PAGESIZE
        if whole_pages:
            os.posix_fadvise(descriptor, 0, whole_pages, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def clear(folder: Path) -> None:
    (folder / "plain").unlink(missing_ok=True)
    for path in list_segments(folder / "run").values():
        path.unlink()


def interleave(folder: Path, records: list[Record], works: Sequence[Work]) -> list[list[float]]:
    """Do two pieces of work step by step in turns, and return the seconds of each one's steps."""
    running = [work(folder, records) for work in works]
    seconds: list[list[float]] = [[] for _ in works]
    n_steps = len(list(chunks(records))) + 1
    for step in range(n_steps):
        for turn in (0, 1) if step % 2 else (1, 0):
            began = time.perf_counter()
            next(running[turn], None)
            seconds[turn].append(time.perf_counter() - began)
            forget(folder)
    return seconds


def measure(folder: Path, payload_bytes: int, total_bytes: int) -> None:
    records = frames(payload_bytes, max(1, total_bytes // payload_bytes))
    for name, works in (("write", (write_plain, write_segments)), ("read", (read_plain, read_segments))):
        plain, segments = interleave(folder, records, works)
        overall = sum(plain) / sum(segments)
        typical = [CHUNK_BYTES / statistics.median(steps) / 1e9 for steps in (plain, segments)]
        print(
            f"{payload_bytes / 2**20:6.3f} MiB  {name:5}  plain file {typical[0]:6.3f} GB/s  segments"
            f" {typical[1]:6.3f} GB/s  ratio {typical[1] / typical[0]:.2f}, of all time {overall:.2f}",
            flush=True,
        )
    clear(folder)


def measure_small(folder: Path, n_messages: int) -> None:
    """Print how many small messages a second are appended and gone through."""
    records = frames(64, n_messages)
    began = time.perf_counter()
    with StreamWriter(folder / "run", ADDRESS) as writer:
        for first in range(0, n_messages, SMALL_BATCH):
            writer.append_all(records[first : first + SMALL_BATCH])
    wrote = time.perf_counter()
    with SegmentStream(folder / "run") as stream:
        assert sum(stored.entry.header is not None for stored in stream.entries()) == n_messages
        stream_bytes = sum(path.stat().st_size for path in list_segments(folder / "run").values())
    read = time.perf_counter()
    print(
        f"64 B messages: {n_messages / (wrote - began):,.0f}/s written, {n_messages / (read - wrote):,.0f}/s gone"
        f" through, {stream_bytes / n_messages:.0f} B each on disk ({RecordKind.MESSAGE.name.lower()} and index row)"
    )
    clear(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="on the disk that is measured; default: the temporary folder")
    parser.add_argument("--gigabytes", type=float, default=2.0, help="payload of each [GB]")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for payload_bytes in SIZES:
            measure(Path(folder), payload_bytes, int(options.gigabytes * 1e9))
        measure_small(Path(folder), 200_000)


if __name__ == "__main__":
    main()
