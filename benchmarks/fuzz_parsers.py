"""A coverage-guided run against the parsers of detector bytes, with atheris (libFuzzer): no dependency of ours.

    uv run --with atheris python benchmarks/fuzz_parsers.py v1 --seconds 600 [--corpus DIR] [--data DIR]
    uv run --with atheris python benchmarks/fuzz_parsers.py v2 --seconds 600
    uv run --with atheris python benchmarks/fuzz_parsers.py cbf --seconds 600
    uv run --with atheris python benchmarks/fuzz_parsers.py v1 --repeat crash-0123…

What is checked on every input: it decodes, or an error of ours is raised and nothing else; what was decoded can be
written into stream metadata; an image that is passed on claims no more pixels than its bytes can hold. One input may
take `TIMEOUT_S` and the process no more memory than it had plus `MEMORY_BYTES`, so that an allocation after somebody's
claim ends as a MemoryError that counts as a finding, too.

The seeds are captured messages with their pixels cut short (`--data`, else BEAMSTREAM_TEST_DATA), one message of each
kind made here, and the hostile corpus. What libFuzzer finds to be new is kept in `--corpus`, so that a run goes on
where the last one was. Ends with status 0 if nothing was found; else an input lies beside it as `crash-…` or
`timeout-…`.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import math
import os
import resource
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

try:
    import atheris
except ImportError:
    sys.exit("atheris is not installed: uv run --with atheris python benchmarks/fuzz_parsers.py …")

with atheris.instrument_imports(include=["beamstream_producers.formats"]):
    from beamstream_producers.formats import cbf, simplon
    from beamstream_producers.formats.cbf import image as cbf_image

from beamstream import codecs
from beamstream.errors import CodecError, EntryError
from beamstream.protocol.metadata import encode_metadata
from beamstream_producers.testing import hostile_messages

TIMEOUT_S = 5
"""How long one input may take [s]; instrumented code is some ten times slower than it is."""

MEMORY_BYTES = 1 << 30
"""What one input may take beside what the process has [bytes]; the largest input has `MAX_INPUT_BYTES`."""

MAX_INPUT_BYTES = 64 << 10
"""Largest input [bytes]: a start with small tables, or an image with some pixels."""

KEPT_PIXEL_BYTES = 600
"""What seeds keep of captured pixels and tables [bytes]."""

MAX_ERROR_CHARACTERS = 1000
MAX_LZ4_RATIO = 256
PART_HEAD_BYTES = 2
PARTS_OF_A_SERIES = [8] + [4] * 10 + [1]


# --- how several parts become the one string of bytes that libFuzzer changes -----------------------------------------


def join(parts: Sequence[bytes]) -> bytes:
    """Return parts as one input: each behind its length."""
    return b"".join(len(part).to_bytes(PART_HEAD_BYTES, "little") + part for part in parts)


def split(data: bytes) -> list[bytes]:
    """Return the parts of an input; the last one may be shorter than it says."""
    parts, at = [], 0
    while at + PART_HEAD_BYTES <= len(data):
        size = int.from_bytes(data[at : at + PART_HEAD_BYTES], "little")
        at += PART_HEAD_BYTES
        parts.append(data[at : at + size])
        at += size
    return parts


# --- SIMPLON ----------------------------------------------------------------------------------------------------------


def check_simplon(parts: Sequence[bytes]) -> None:
    """Decode a message; anything but a message that can be passed on or a refusal is a finding."""
    try:
        message = simplon.decode(parts)
    except simplon.SimplonError as error:
        if len(str(error)) > MAX_ERROR_CHARACTERS:
            raise AssertionError("an error repeats what it was given") from None
        return
    if isinstance(message, simplon.Start):
        for channel in message.channels:
            metadata = simplon.stream_metadata(message, channel)
            with contextlib.suppress(EntryError):
                encode_metadata(metadata)
        assert simplon.tick_rate_hz(message) > 0
    if isinstance(message, simplon.Image):
        simplon.image_times(message, 10**9)
        n_bytes = sum(map(len, parts))
        for pixels in message.channels.values():
            assert math.prod(pixels.shape) <= MAX_LZ4_RATIO * n_bytes, "more pixels than the bytes can hold"
            assert memoryview(pixels.payload).nbytes <= n_bytes
    # a start's tables and configuration may hold what no detector writes, so only these two are written again
    if not isinstance(message, simplon.Start):
        write = simplon.encode_image if isinstance(message, simplon.Image) else simplon.encode_end
        with contextlib.suppress(simplon.SimplonError, TypeError):
            simplon.decode(write(message))  # type: ignore[operator]


def shorten(parts: Sequence[bytes]) -> list[bytes]:
    """Return a captured message with its pixels cut short, so that what is left says what it says."""
    message = simplon.decode(parts)
    if not isinstance(message, simplon.Image):
        return [part if part[:1] == b"{" else part[:KEPT_PIXEL_BYTES] for part in parts]
    small = {
        name: replace(
            pixels,
            shape=(1, 1024),
            payload=_with_total(pixels, bytes(memoryview(pixels.payload)[:KEPT_PIXEL_BYTES])),
        )
        for name, pixels in message.channels.items()
    }
    return [bytes(part) for part in simplon.encode_image(replace(message, channels=small))]


def _with_total(pixels: simplon.Pixels, payload: bytes) -> bytes:
    """Return a payload whose header claims 1024 pixels, where it has one."""
    total = 1024 * int(pixels.dtype[2:])
    return payload if pixels.codec == "lz4-block" else total.to_bytes(8, "big") + payload[8:]


def captured_v1(data: Path) -> Iterator[list[bytes]]:
    parts = (path.read_bytes() for path in sorted((data / "stream_v1_eigerstreamreceiver/parts").iterdir()))
    for n_parts in PARTS_OF_A_SERIES:
        yield shorten(list(itertools.islice(parts, n_parts)))


def captured_v2(data: Path) -> Iterator[list[bytes]]:
    for kind in ("start", "image", "end"):
        yield shorten([(data / f"stream_v2_tickit_eiger16m/{kind}.cbor").read_bytes()])


def made(version: int) -> Iterator[list[bytes]]:
    """Yield one message of every kind, with everything in it that a version can say."""
    import numpy as np

    mask = np.arange(8, dtype="<u4").reshape(2, 4)
    tables = {1: {"pixel_mask": mask, "flatfield": mask.astype("<f4"), "countrate_table": mask.reshape(4, 2)}}
    tables[2] = {"pixel_mask/threshold_1": mask, "flatfield/threshold_1": mask, "countrate_table": mask.reshape(8)}
    config = {"nimages": 3, "ntrigger": 2, "software_version": "1.6.6", "threshold_energy": {"threshold_1": 1.5}}
    config |= {"goniometer": {"omega": {"start": 1.0, "increment": 0.1}}, "detector_translation": [0, 0, -0.1]}
    for detail in ("none", "basic", "all"):
        start = simplon.Start(
            version=version, series_id=1, header_detail=detail, config=config, n_images=6, shape=(2, 4), dtype="<u2",
            arrays=tables[version] if detail == "all" else {}, appendix=b"x" if version == 1 else [1, "x", {"a": None}],
        )  # fmt: skip
        yield [bytes(part) for part in simplon.encode_start(start)]
    codecs = {1: ("none", "lz4-block", "bslz4"), 2: ("none", "lz4", "bslz4")}[version]
    times = {name: simplon.Ticks(count=7, rate_hz=50_000_000) for name in ("start", "stop", "real")}
    for codec, dtype in itertools.product(codecs, ("|u1", "<u2", "<u4")):
        total = 8 * int(dtype[2:])
        payload = bytes(total) if codec == "none" else total.to_bytes(8, "big") + bytes([0, 0, 32, 0]) + bytes(16)
        pixels = simplon.Pixels(shape=(2, 4), dtype=dtype, codec=codec, payload=payload)
        names = ("threshold_1",) if version == 1 else ("threshold_1", "difference")
        image = simplon.Image(
            version=version, series_id=1, image_id=0, channels=dict.fromkeys(names, pixels), **times,
            appendix=b"x" if version == 1 else {"x": 1}, series_date=None if version == 1 else "2026-01-02T03:04:05Z",
        )  # fmt: skip
        yield [bytes(part) for part in simplon.encode_image(image)]
    yield [bytes(part) for part in simplon.encode_end(simplon.End(version=version, series_id=1))]


def check_v1(data: bytes) -> None:
    check_simplon(split(data))


def check_v2(data: bytes) -> None:
    check_simplon([data])


def seeds_v1(data: Path | None) -> Iterator[bytes]:
    yield from map(join, made(1))
    yield from (join(parts) for parts in hostile_messages().values() if all(len(part) < 2**16 for part in parts))
    if data:
        yield from map(join, captured_v1(data))


def seeds_v2(data: Path | None) -> Iterator[bytes]:
    yield from (parts[0] for parts in made(2))
    yield from (parts[0] for parts in hostile_messages().values() if len(parts) == 1)
    if data:
        yield from (parts[0] for parts in captured_v2(data))


# --- CBF --------------------------------------------------------------------------------------------------------------


def check_cbf(data: bytes) -> None:
    """Read a file as the source of `stream produce cbf` does."""
    try:
        image = cbf.decode(data)
    except cbf.CbfError as error:
        if len(str(error)) > MAX_ERROR_CHARACTERS:
            raise AssertionError("an error repeats what it was given") from None
        return
    assert len(image.payload) == image.section.n_bytes <= len(data)
    assert math.prod(image.section.shape) <= len(data), "more pixels than bytes"
    cbf.timestamp_ns(image.header, None)
    cbf.image_metadata(image.header)
    with contextlib.suppress(CodecError, EntryError):
        encode_metadata(cbf.stream_metadata(image, None))


def seeds_cbf(data: Path | None) -> Iterator[bytes]:
    """Yield small images, most of them without checksum: no change of any byte would get past that."""
    import numpy as np

    headers = [("Detector: PILATUS3 6M, S/N 60-0119", "2011-Nov-01T17:59:04.733", "Pixel_size 172e-6 m x 172e-6 m")]
    for path in sorted((data / "cbf_pilatus300k_albis").glob("*.cbf") if data else ()):
        whole = path.read_bytes()
        yield whole[: whole.index(cbf_image.MAGIC) + KEPT_PIXEL_BYTES]
        headers.append(cbf.decode(whole).header.lines)
    pixels = np.array([[-1, 0, 127, 128], [-2, 40_000, -40_000, 2**31 - 1]], dtype="<i4")
    for lines, convention, codec in itertools.product(headers, cbf.CONVENTIONS, ("none", "byte-offset")):
        payload = codecs.encode(pixels, codec)
        for with_digest in (False, True):
            whole = cbf.encode(
                payload, shape=pixels.shape, dtype=pixels.dtype, codec=codec, lines=lines, convention=convention,
                with_digest=with_digest,
            )  # fmt: skip
            yield whole[: whole.index(cbf_image.MAGIC) + len(cbf_image.MAGIC) + len(payload)]


# --- targets ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is fed, and with what it begins."""

    check: Callable[[bytes], None]
    seeds: Callable[[Path | None], Iterable[bytes]]


TARGETS = {
    "v1": Target(check=check_v1, seeds=seeds_v1),
    "v2": Target(check=check_v2, seeds=seeds_v2),
    "cbf": Target(check=check_cbf, seeds=seeds_cbf),
}


def bound_memory() -> None:
    """Make an allocation far beyond what the process has fail."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60, help="how long (default: 60)")
    parser.add_argument("--corpus", type=Path, help="kept between runs; default: a temporary folder")
    parser.add_argument("--data", type=Path, default=os.environ.get("BEAMSTREAM_TEST_DATA"), help="captured data")
    parser.add_argument("--seed", type=int, default=1, help="of what is random (default: 1)")
    parser.add_argument("--repeat", type=Path, help="only check this one input, and show what it does")
    options = parser.parse_args()
    target = TARGETS[options.target]
    if options.repeat:
        target.check(options.repeat.read_bytes())
        return
    corpus = options.corpus or Path(tempfile.mkdtemp(prefix=f"fuzz-{options.target}-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds(options.data and Path(options.data))):
        target.check(seed)
        if len(seed) <= MAX_INPUT_BYTES:
            (corpus / f"seed-{number:03d}").write_bytes(seed)
    bound_memory()
    arguments = [sys.argv[0], str(corpus), f"-max_total_time={options.seconds}", f"-timeout={TIMEOUT_S}"]
    arguments += [f"-max_len={MAX_INPUT_BYTES}", f"-seed={options.seed}", "-print_final_stats=1"]
    atheris.Setup(arguments, target.check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
