"""How fast pixels are packed and unpacked: every candidate in one run, medians, on one thread.

    python benchmarks/pixel_codecs.py [--repeat N] [--data FOLDER]

Printed are GB/s of unpacked pixels: into a new array for every frame, and into one array used again. `--data` adds
the captured frame of a 16 Mpixel EIGER2 from a folder like that of BEAMSTREAM_TEST_DATA. Candidates that cannot
unpack into a given array are charged for the copy.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import lz4.block
import numpy as np
import numpy.typing as npt
import seedee

from beamstream import codecs
from beamstream.codecs import bslz4, dectris
from beamstream.codecs import lz4 as lz4_codec

Image = npt.NDArray[Any]
Decoder = Callable[[memoryview, Image, Image | None], Image]
"""Unpacks a payload; the image says shape and dtype; into the last, or a new array."""

SHAPE = (2167, 2070)  # an EIGER2 4M less its gaps' remainder; the frame of the design's figures


def frames(data: Path | None) -> Iterator[tuple[str, Image]]:
    """Yield the images that are measured: weak, dense, nearly empty, and a captured one."""
    rng = np.random.default_rng(0)
    for mean in (1.2, 0.02, 300.0):
        yield f"4M uint16 Poisson({mean:g})", rng.poisson(mean, SHAPE).astype("<u2")
    yield "4M uint32 Poisson(1.2)", rng.poisson(1.2, SHAPE).astype("<u4")
    if data is not None:
        payload = (data / "stream_v2_tickit_eiger16m" / "frame_sample_v1.bin").read_bytes()
        yield "16M uint16 captured", codecs.decode(payload, "bslz4", (4362, 4148), np.dtype("<u2"))


def deliver(unpacked: Image, image: Image, out: Image | None) -> Image:
    """Give what a library returned in its own memory the way `decode` must: writable, or in `out`."""
    unpacked = unpacked.view(image.dtype).reshape(image.shape)
    if out is None:
        return unpacked if unpacked.flags.writeable else unpacked.copy()
    np.copyto(out, unpacked)
    return out


def by_beamstream(codec: str, payload: memoryview, image: Image, out: Image | None) -> Image:
    return codecs.decode(payload, codec, image.shape, image.dtype, out)


def by_own_kernels(payload: memoryview, image: Image, out: Image | None) -> Image:
    out = np.empty_like(image) if out is None else out
    bslz4.unpack_with_kernels(np.frombuffer(payload, np.uint8), out.reshape(-1), bslz4.DEFAULT_BLOCK_BYTES)
    return out


def by_own_lz4_kernels(payload: memoryview, image: Image, out: Image | None) -> Image:
    out = np.empty_like(image) if out is None else out
    block_bytes = min(int.from_bytes(payload[8:12], "big"), image.nbytes)
    lz4_codec.unpack_with_kernels(np.frombuffer(payload, np.uint8), out.reshape(-1).view(np.uint8), block_bytes)
    return out


def by_lz4_library(payload: memoryview, image: Image, out: Image | None) -> Image:
    content = lz4.block.decompress(payload, uncompressed_size=image.nbytes, return_bytearray=True)
    return deliver(np.frombuffer(content, np.uint8), image, out)


def by_lz4_library_block_by_block(payload: memoryview, image: Image, out: Image | None) -> Image:
    out = np.empty_like(image) if out is None else out
    raw = out.reshape(-1).view(np.uint8)
    at, block_bytes = 12, min(int.from_bytes(payload[8:12], "big"), image.nbytes)
    for first in range(0, image.nbytes, block_bytes):
        part = raw[first : first + block_bytes]
        length = int.from_bytes(payload[at : at + 4], "big")
        at += 4 + length
        part[:] = np.frombuffer(lz4.block.decompress(payload[at - length : at], uncompressed_size=part.size), np.uint8)
    return out


def by_seedee(compression: int, payload: memoryview, image: Image, out: Image | None) -> Image:
    return deliver(seedee.deserialize(payload, _seedee_meta(image.shape, image.dtype.str, compression)), image, out)


@functools.cache
def _seedee_meta(shape: tuple[int, ...], dtype: str, compression: int) -> str:
    return str(seedee.serialize(np.zeros(shape, dtype), compression)[1])


def by_dectris(algorithm: str, payload: memoryview, image: Image, out: Image | None) -> Image:
    decompress = dectris.decompressor()
    assert decompress is not None
    return deliver(np.frombuffer(decompress(payload, algorithm, elem_size=image.itemsize), np.uint8), image, out)


def by_hdf5(payload: memoryview, image: Image, out: Image | None) -> Image:
    dataset = _dataset(image.shape, image.dtype.str)
    dataset.id.write_direct_chunk((0,) * image.ndim, payload)
    out = np.empty_like(image) if out is None else out
    dataset.read_direct(out)
    return out


@functools.cache
def _dataset(shape: tuple[int, ...], dtype: str) -> Any:
    file = h5py.File(f"{shape}{dtype}", "w", driver="core", backing_store=False)
    return file.create_dataset("data", shape, dtype, chunks=shape, **hdf5plugin.Bitshuffle(nelems=0, cname="lz4"))


def candidates() -> dict[str, dict[str, Decoder]]:
    """Name the decoders for every codec."""
    table: dict[str, dict[str, Decoder]] = {
        "bslz4": {
            "beamstream (numba, checks, dectris where it pays)": functools.partial(by_beamstream, "bslz4"),
            "numba alone": by_own_kernels,
            "seedee": functools.partial(by_seedee, seedee.COMPRESSION_BITSHUFFLE),
            "hdf5plugin": by_hdf5,
        },
        "lz4": {
            "beamstream (numba, checks, dectris where it pays)": functools.partial(by_beamstream, "lz4"),
            "numba alone": by_own_lz4_kernels,
            "lz4": by_lz4_library_block_by_block,
            "seedee": functools.partial(by_seedee, seedee.COMPRESSION_LZ4),
        },
        "lz4-block": {
            "beamstream (numba, checks)": functools.partial(by_beamstream, "lz4-block"),
            "lz4": by_lz4_library,
        },
    }
    if dectris.decompressor() is not None:
        for codec in ("bslz4", "lz4"):
            table[codec]["dectris-compression"] = functools.partial(by_dectris, codec)
    return table


def payloads(image: Image) -> Iterator[tuple[str, str, memoryview]]:
    """Yield the image as every codec packs it, and `lz4` in the blocks of 8192 bytes that detectors use."""
    for codec in ("bslz4", "lz4", "lz4-block"):
        yield codec, "", memoryview(codecs.encode(image, codec))
    raw = image.tobytes()
    parts = [len(raw).to_bytes(8, "big"), (8192).to_bytes(4, "big")]
    for first in range(0, len(raw), 8192):
        block = lz4.block.compress(raw[first : first + 8192], store_size=False)
        parts += [len(block).to_bytes(4, "big"), block]
    yield "lz4", " in blocks of 8192 bytes", memoryview(b"".join(parts))


def rate_gb_s(call: Callable[[], object], n_bytes: int, n_repeats: int) -> float:
    """Return the median rate [GB/s]; two calls before the first that counts compile and touch memory."""
    call(), call()
    durations_s = []
    for _ in range(n_repeats):
        start_s = time.perf_counter()
        call()
        durations_s.append(time.perf_counter() - start_s)
    return n_bytes / statistics.median(durations_s) / 1e9


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeat", type=int, default=15, help="measurements per figure")
    parser.add_argument("--data", type=Path, help="folder with captured data")
    options = parser.parse_args()
    table = candidates()
    for name, image in frames(options.data):
        out = np.zeros_like(image)
        print(f"\n{name}, {image.nbytes / 1e6:.1f} MB{'new GB/s':>44}{'into GB/s':>12}")
        for codec, how, payload in payloads(image):
            print(f"  {codec}{how}: {image.nbytes / len(payload):.1f} to 1")
            for candidate, decode in table[codec].items():
                np.full_like(image, 0x55)  # what malloc hands out next must not hold the right pixels by chance
                out[:] = 0x55
                if not np.array_equal(decode(payload, image, out), image):
                    print(f"    {candidate:<60}   gives wrong pixels without an error")
                    continue
                new, into = (
                    rate_gb_s(functools.partial(decode, payload, image, where), image.nbytes, options.repeat)
                    for where in (None, out)
                )
                print(f"    {candidate:<60}{new:8.2f}{into:12.2f}")
        for codec in itertools.islice(codecs.CODECS, 1, None):
            rate = rate_gb_s(functools.partial(codecs.encode, image, codec), image.nbytes, 3)
            print(f"  pack {codec:<61}{rate:8.2f}")


if __name__ == "__main__":
    main()
