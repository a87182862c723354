"""Unpacking in numba: LZ4 blocks, blocks of bit-shuffled elements, the walk over block lengths, byte offsets.

Policy: safe on any input. Every read is checked against the end of the payload, every write against the end of its
block, every match against the start of its block, before it happens. Nothing here raises: a function returns a status
and the number of the block or element it stopped at; `blocks` turns them into errors. The GIL is released throughout.

Indices are unsigned: numba then leaves out the code for negative ones, and LLVM turns the copying loops into vector
moves (measured on bslz4: 1 GB/s with signed indices, 5 GB/s with unsigned ones). All functions stand in this one file
because numba's cache notices a change of the file that a function is in, not of the files it calls into.

Importing this module imports numba (0.6 s); do it where pixels are wanted, not before. The kernels put bytes together
to integers as a little-endian machine holds them, which is every machine that numba is built for.

References
----------
LZ4 block format: https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
8x8 bit transposition: H. S. Warren, Hacker's Delight, section 7-3.
Byte offsets: CBFlib manual, section 3.3.3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import int64, uint64, uintp

from beamstream.compiling import compiled

OK = 0
LENGTH_CUT_OFF = 1
BLOCK_CUT_OFF = 2
BYTES_LEFT_OVER = 3
BAD_LZ4 = 4
VALUE_CUT_OFF = 5
VALUE_OUT_OF_RANGE = 6
BYTES_BEHIND_VALUES = 7
STATUS_TEXT = {
    LENGTH_CUT_OFF: "the payload ends where the length of block {block} should be",
    BLOCK_CUT_OFF: "block {block} reaches over the end of the payload",
    BYTES_LEFT_OVER: "bytes are missing or left over after the last block ({block} blocks)",
    BAD_LZ4: "block {block} is no valid LZ4 of its size",
    VALUE_CUT_OFF: "the payload ends within element {block} or before it",
    VALUE_OUT_OF_RANGE: "element {block} does not fit its type",
    BYTES_BEHIND_VALUES: "bytes are left over after the last of {block} elements",
}

SHORT_COPY = 16
"""Copies of up to this many bytes are one vector move where there is room for it [bytes]; an SSE or NEON register."""
MEDIUM_COPY = 64
"""Matches of up to this many bytes are made of short copies instead of a loop with its prologue [bytes]; measured."""

FAR_FROM_END = 32
"""From here on a short sequence cannot leave the block [bytes]: token, 16 bytes read for up to 14 literals, offset."""
FAR_FROM_LAST = 64
"""From here on a short sequence cannot leave the target [bytes]: up to 14 literals, 24 bytes for a match up to 18."""

ESCAPE = 0x80
"""A byte offset that says that a longer one follows: the lowest value of a signed byte."""

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]
Unsigned = npt.NDArray[Any]
Index = Any
"""An unsigned index or length: numba's uintp inside the kernels, which is neither int nor a NumPy scalar to mypy."""

Signed = Any
"""A number: numba's int64 inside the kernels."""


# --- LZ4 ---------------------------------------------------------------------------------------------------------


@compiled
def _copy(dst: Bytes, to: Index, src: Bytes, start: Index, n: Index) -> None:
    for k in range(n):
        dst[to + uintp(k)] = src[start + uintp(k)]


@compiled
def _copy_8(dst: Bytes, to: Index, src: Bytes, start: Index) -> None:
    # all loads before all stores: LLVM makes one 8-byte load and one 8-byte store of it, whatever overlaps
    b0, b1, b2, b3 = src[start], src[start + uintp(1)], src[start + uintp(2)], src[start + uintp(3)]
    b4, b5, b6, b7 = src[start + uintp(4)], src[start + uintp(5)], src[start + uintp(6)], src[start + uintp(7)]
    dst[to], dst[to + uintp(1)], dst[to + uintp(2)], dst[to + uintp(3)] = b0, b1, b2, b3
    dst[to + uintp(4)], dst[to + uintp(5)], dst[to + uintp(6)], dst[to + uintp(7)] = b4, b5, b6, b7


@compiled
def _copy_16(dst: Bytes, to: Index, src: Bytes, start: Index) -> None:
    _copy_8(dst, to, src, start)
    _copy_8(dst, to + uintp(8), src, start + uintp(8))


@compiled
def _copy_24(dst: Bytes, to: Index, offset: Index) -> None:
    """Copy 24 bytes from `offset` before `to`, repeating them where they overlap."""
    if offset < uintp(8):
        for k in range(8):
            dst[to + uintp(k)] = dst[to - offset + uintp(k)]
        # the pattern is there now for so long that a whole number of it is 8 bytes or more
        offset *= (uintp(7) + offset) // offset
    else:
        _copy_8(dst, to, dst, to - offset)
    _copy_8(dst, to + uintp(8), dst, to + uintp(8) - offset)
    _copy_8(dst, to + uintp(16), dst, to + uintp(16) - offset)


@compiled
def _unpack_short(
    src: Bytes, at: Index, end: Index, dst: Bytes, first: Index, to: Index, last: Index
) -> tuple[Index, Index]:
    """Unpack while literals and matches are short and far from both ends; return where that stopped."""
    while at < end and end - at >= FAR_FROM_END and last - to >= FAR_FROM_LAST:
        token = uintp(src[at])
        n_literals, n_match = token >> uintp(4), token & uintp(15)
        if n_literals == uintp(15) or n_match == uintp(15):
            break
        behind = at + uintp(1) + n_literals
        offset = uintp(src[behind]) | (uintp(src[behind + uintp(1)]) << uintp(8))
        if offset == uintp(0) or offset > to + n_literals - first:
            break
        _copy_16(dst, to, src, at + uintp(1))
        to += n_literals
        _copy_24(dst, to, offset)
        to += n_match + uintp(4)
        at = behind + uintp(2)
    return at, to


@compiled
def _copy_match(dst: Bytes, to: Index, offset: Index, n: Index, room: Index) -> None:
    """Copy `n` bytes from `offset` before `to`; source and target may overlap, `room` bytes may be written."""
    start = to - offset
    if offset >= SHORT_COPY and n <= MEDIUM_COPY and room >= MEDIUM_COPY + SHORT_COPY:
        done = uintp(0)
        while done < n:
            _copy_16(dst, to + done, dst, start + done)
            done += uintp(SHORT_COPY)
    elif offset == 1:
        value = dst[start]
        for k in range(n):
            dst[to + uintp(k)] = value
    else:
        # what overlaps is a repeated pattern: copy it once, then what is there already, twice as much each time
        done = min(offset, n)
        _copy(dst, to, dst, start, done)
        while done < n:
            step = min(done, n - done)
            _copy(dst, to + done, dst, to, step)
            done += step


@compiled
def _read_length(src: Bytes, at: Index, end: Index, nibble: Index) -> tuple[Index, Index, bool]:
    """Read the rest of a length; return it, the place behind it, and whether it was complete."""
    n: Index = uintp(nibble)
    if nibble != 15:
        return n, at, True
    while at < end:
        byte = src[at]
        at += uintp(1)
        n += uintp(byte)
        if byte != 255:
            return n, at, True
    return n, at, False


@compiled
def _unpack_lz4(src: Bytes, at: Index, end: Index, dst: Bytes, first: Index, last: Index) -> bool:
    """Unpack src[at:end] to exactly dst[first:last]; False if it is not that."""
    to = first
    while at < end:
        at, to = _unpack_short(src, at, end, dst, first, to, last)
        if at >= end:
            return False
        token = src[at]
        n, at, complete = _read_length(src, at + uintp(1), end, token >> 4)
        if not complete or n > end - at or n > last - to:
            return False
        if n <= SHORT_COPY and end - at >= SHORT_COPY and last - to >= SHORT_COPY:
            _copy_16(dst, to, src, at)
        else:
            _copy(dst, to, src, at, n)
        at += n
        to += n
        if at == end:
            return bool(to == last)
        if end - at < 2:
            return False
        offset = uintp(src[at]) | (uintp(src[at + uintp(1)]) << uintp(8))
        n, at, complete = _read_length(src, at + uintp(2), end, token & 15)
        n += uintp(4)
        if not complete or n > last - to or offset == 0 or offset > to - first:
            return False
        _copy_match(dst, to, offset, n, last - to)
        to += n
    return False


@compiled
def unpack_lz4(src: Bytes, out: Bytes) -> bool:
    """Unpack one LZ4 block (n,) uint8 into (m,) uint8; return whether it was valid and held exactly `m` bytes."""
    return _unpack_lz4(src, uintp(0), uintp(src.size), out, uintp(0), uintp(out.size))


# --- chunks ------------------------------------------------------------------------------------------------------


@compiled
def _next_block(src: Bytes, at: Index) -> tuple[int, Index, Index]:
    """Read the length of a block at `at`; return a status and where the block begins and ends."""
    end = uintp(src.size)
    if end - at < 4:
        return LENGTH_CUT_OFF, at, at
    length = uintp(0)
    for k in range(4):
        length = (length << uintp(8)) | uintp(src[at + uintp(k)])
    at += uintp(4)
    if length > end - at:
        return BLOCK_CUT_OFF, at, at
    return OK, at, at + length


@compiled
def walk(src: Bytes, start: int, total_bytes: int, block_bytes: int, n_raw_bytes: int) -> tuple[int, int]:
    """Follow the block lengths of a chunk from its first to its last byte, unpacking nothing.

    Parameters
    ----------
    src : (n,) uint8
        The chunk.
    start : int
        Length of its header [bytes].
    total_bytes, block_bytes : int
        Size of all blocks and of each but the last, unpacked [bytes].
    n_raw_bytes : int
        What stands unpacked behind the last block [bytes].

    Returns
    -------
    (int, int)
        A status and the number of the block it is about, from 0.
    """
    end = uintp(start)
    n_blocks = (total_bytes + block_bytes - 1) // block_bytes
    for block in range(n_blocks):
        status, _begin, end = _next_block(src, end)
        if status != OK:
            return status, block
    if uintp(src.size) - end != uintp(n_raw_bytes):
        return BYTES_LEFT_OVER, n_blocks
    return OK, n_blocks


@compiled
def unpack_lz4_chunk(src: Bytes, start: int, out: Bytes, block_bytes: int) -> tuple[int, int]:
    """Unpack an LZ4 chunk into (m,) uint8; arguments and outcome as those of `walk`.

    A block as long as its content is not packed.
    """
    begin, end, to, last = uintp(start), uintp(start), uintp(0), uintp(out.size)
    block = 0
    while to < last:
        n = min(uintp(block_bytes), last - to)
        status, begin, end = _next_block(src, end)
        if status != OK:
            return status, block
        if end - begin == n:
            _copy(out, to, src, begin, n)
        elif not _unpack_lz4(src, begin, end, out, to, to + n):
            return BAD_LZ4, block
        to += n
        block += 1
    return OK, block


# --- bit shuffling -----------------------------------------------------------------------------------------------


@compiled
def _transpose_bits(rows: Bytes, n: int, out: Words) -> None:
    """Turn eight rows of `n` bytes, row k holding bit k of every element, into 8 `n` bytes, one for each element."""
    for i in range(n):
        i0 = uintp(i)
        x = uint64(rows[i0])
        for k in range(1, 8):
            x |= uint64(rows[uintp(k) * uintp(n) + i0]) << uint64(8 * k)
        t = (x ^ (x >> uint64(7))) & uint64(0x00AA00AA00AA00AA)
        x = x ^ t ^ (t << uint64(7))
        t = (x ^ (x >> uint64(14))) & uint64(0x0000CCCC0000CCCC)
        x = x ^ t ^ (t << uint64(14))
        t = (x ^ (x >> uint64(28))) & uint64(0x00000000F0F0F0F0)
        x = x ^ t ^ (t << uint64(28))
        out[i0] = x


@compiled
def _is_zero(words: Words) -> bool:
    bits = uint64(0)
    for k in range(words.size):
        bits |= words[uintp(k)]
    return bool(bits == 0)


@compiled
def _unshuffle(words: Words, plane: Words, out: Unsigned) -> None:
    """Put the elements of one block together from their bit rows, lowest byte first; skip bytes that are all zero."""
    n = out.size // 8
    byte_of = plane.view(np.uint8)
    _transpose_bits(words[:n].view(np.uint8), n, plane)
    for e in range(out.size):
        out[uintp(e)] = byte_of[uintp(e)]
    for j in range(1, out.itemsize):
        part = words[n * j : n * (j + 1)]
        if not _is_zero(part):
            _transpose_bits(part.view(np.uint8), n, plane)
            for e in range(out.size):
                out[uintp(e)] |= out.dtype.type(byte_of[uintp(e)]) << out.dtype.type(8 * j)


@compiled
def unpack_bslz4_chunk(src: Bytes, start: int, out: Unsigned, n_block: int) -> tuple[int, int]:
    """Unpack the blocks of a bit-shuffled chunk; outcome as that of `walk`.

    Parameters
    ----------
    src : (n,) uint8
        The chunk.
    start : int
        Length of its header [bytes].
    out : (m,) uint8, uint16, uint32 or uint64
        Where the elements go; m is a multiple of 8.
    n_block : int
        Elements of a block, a multiple of 8.
    """
    status, block, _end = unpack_bslz4_blocks(src, start, out, n_block)
    return status, block


@compiled
def unpack_bslz4_blocks(src: Bytes, start: int, out: Unsigned, n_block: int) -> tuple[int, int, int]:
    """Unpack as many blocks of a bit-shuffled chunk as `out` holds, from the one that begins at `start`.

    Parameters and outcome are those of `unpack_bslz4_chunk`; the third number is where the block after the last begins.
    """
    begin, end = uintp(start), uintp(start)
    n_block = min(n_block, out.size)
    # the bit rows as words: eight rows of a block always fill whole ones, and zeros are found eight bytes at a time
    words = np.empty(n_block // 8 * out.itemsize, np.uint64)
    rows = words.view(np.uint8)
    plane = np.empty(n_block // 8, np.uint64)
    for block in range((out.size + n_block - 1) // n_block):
        part = out[block * n_block : min((block + 1) * n_block, out.size)]
        status, begin, end = _next_block(src, end)
        if status != OK:
            return status, block, int(end)
        if not _unpack_lz4(src, begin, end, rows, uintp(0), uintp(part.size * out.itemsize)):
            return BAD_LZ4, block, int(end)
        _unshuffle(words, plane, part)
    return OK, 0, int(end)


# --- byte offset -------------------------------------------------------------------------------------------------


@compiled
def _signed(src: Bytes, at: Index, n: int) -> Signed:
    """Read a signed integer of 1, 2, 4 or 8 bytes, lowest first."""
    value = uint64(0)
    for k in range(n):
        value |= uint64(src[at + uintp(k)]) << uint64(8 * k)
    shift = uint64(64 - 8 * n)
    return int64(value << shift) >> int64(shift)


@compiled
def _delta_bytes(delta: Signed) -> int:
    """Return how many bytes hold a difference: the lowest value of each size announces the next one."""
    if -128 < delta < 128:
        return 1
    if -32768 < delta < 32768:
        return 2
    return 4 if -2147483648 < delta < 2147483648 else 8


@compiled
def _unpack_small(src: Bytes, at: Index, out: Unsigned, to: Index, n: Index, value: Signed) -> tuple[Index, Signed]:
    """Unpack up to `n` differences of one byte, which are all there; stop at one that is longer."""
    for k in range(n):
        byte = src[at + uintp(k)]
        if byte == ESCAPE:
            return uintp(k), value
        value += int64(np.int8(byte))
        out[to + uintp(k)] = value
    return n, value


@compiled
def unpack_byte_offset(src: Bytes, out: Unsigned, lowest: int, highest: int) -> tuple[int, int, bool]:
    """Unpack CBF's byte offsets.

    Parameters
    ----------
    src : (m,) uint8
        The payload.
    out : (n,) signed or unsigned integers of 1, 2 or 4 bytes, or int64
        Where the elements go.
    lowest, highest : int
        What an element can hold. Of int64 everything can be held, as sums are taken modulo 2^64 there.

    Returns
    -------
    (int, int, bool)
        A status, the number of the element it is about, from 0, and whether every difference was as short as can be.
    """
    at, end, to, last = uintp(0), uintp(src.size), uintp(0), uintp(out.size)
    value: Signed = int64(0)
    shortest = True
    wraps = out.itemsize == 8
    while to < last:
        # so many differences of one byte are there, and none of them can lead out of the element's range
        room = last - to if wraps else min(last - to, uintp(min(highest - value, value - lowest)) // uintp(127))
        n, value = _unpack_small(src, at, out, to, min(room, end - at), value)
        at, to = at + n, to + n
        if to == last:
            break
        size = 1
        while True:
            if uintp(size) > end - at:
                return VALUE_CUT_OFF, int(to), shortest
            delta = _signed(src, at, size)
            at += uintp(size)
            if size == 8 or delta != -(int64(1) << int64(8 * size - 1)):
                break
            size *= 2
        shortest &= _delta_bytes(delta) == size
        after = value + delta
        if not wraps and (((value ^ after) & (delta ^ after)) < 0 or after < lowest or after > highest):
            return VALUE_OUT_OF_RANGE, int(to), shortest
        value = after
        out[to] = value
        to += uintp(1)
    return (OK if at == end else BYTES_BEHIND_VALUES), int(to), shortest


@compiled
def byte_offset_bytes(values: Unsigned) -> int:
    """Return how many bytes `pack_byte_offset` makes of integers, (n,)."""
    n_bytes = 0
    before: Signed = int64(0)
    for k in range(values.size):
        value = int64(values[k])
        size = _delta_bytes(value - before)
        n_bytes += 2 * size - 1  # 1, 3, 7 or 15: each size is announced by those below it
        before = value
    return n_bytes


@compiled
def pack_byte_offset(values: Unsigned, out: Bytes) -> None:
    """Pack integers, (n,), as byte offsets, each as short as can be; `out` has just the room."""
    at = uintp(0)
    before: Signed = int64(0)
    for k in range(values.size):
        value = int64(values[k])
        delta = value - before
        before = value
        size = _delta_bytes(delta)
        step = 1
        while step < size:
            for _ in range(step - 1):
                out[at] = np.uint8(0)
                at += uintp(1)
            out[at] = np.uint8(ESCAPE)
            at += uintp(1)
            step *= 2
        bits = uint64(delta)
        for j in range(size):
            out[at] = np.uint8((bits >> uint64(8 * j)) & uint64(255))
            at += uintp(1)
