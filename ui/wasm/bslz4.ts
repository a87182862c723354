// Unpacks whole blocks of bit-shuffled LZ4: AssemblyScript, compiled by `npm run wasm` into src/wire/bslz4_wasm.ts.
//
// Policy: no byte of the input is trusted. Lengths, offsets and ends are checked before each copy; copies may run over
// by 15 bytes, for which the caller leaves SLACK behind the packed bytes and behind the scratch.

/** One LZ4 block from [from, end) to [to, last); true if it fills that exactly. */
function lz4(from: usize, end: usize, to: usize, last: usize): bool {
  const first = to;
  while (from < end) {
    const token = <usize>load<u8>(from++);
    let n = token >> 4;
    if (n == 15) {
      let more: usize = 255;
      while (more == 255) {
        if (from >= end) return false;
        more = <usize>load<u8>(from++);
        n += more;
        if (n > last - first) return false;
      }
    }
    if (n > end - from || n > last - to) return false;
    if (n <= 16) v128.store(to, v128.load(from));
    else memory.copy(to, from, n);
    to += n;
    from += n;
    if (from == end) break;

    if (end - from < 2) return false;
    const back = <usize>load<u16>(from);
    from += 2;
    if (back == 0 || back > to - first) return false;
    n = token & 15;
    if (n == 15) {
      let more: usize = 255;
      while (more == 255) {
        if (from >= end) return false;
        more = <usize>load<u8>(from++);
        n += more;
        if (n > last - first) return false;
      }
    }
    n += 4;
    if (n > last - to) return false;
    const stop = to + n;
    let match = to - back;
    if (back == 1) {
      memory.fill(to, load<u8>(match), n);
    } else if (back >= 16) {
      for (; to < stop; to += 16, match += 16) v128.store(to, v128.load(match));
    } else if (back >= 8) {
      for (; to < stop; to += 8, match += 8) store<u64>(to, load<u64>(match));
    } else {
      for (; to < stop; to++, match++) store<u8>(to, load<u8>(match));
    }
    to = stop;
  }
  return to == last;
}

/** Transpose of 8 x 8 bits: byte j of the result has bit j of each byte. */
// @ts-ignore: decorator
@inline
function transposed(x: u64): u64 {
  let t = (x ^ (x >> 7)) & 0x00aa00aa00aa00aa;
  x = x ^ t ^ (t << 7);
  t = (x ^ (x >> 14)) & 0x0000cccc0000cccc;
  x = x ^ t ^ (t << 14);
  t = (x ^ (x >> 28)) & 0x00000000f0f0f0f0;
  return x ^ t ^ (t << 28);
}

/** One byte of each of eight numbers, from the eight planes that hold its bits. */
// @ts-ignore: decorator
@inline
function bytes_of_eight(p: usize, plane: usize): u64 {
  return transposed(
    <u64>load<u8>(p) |
      (<u64>load<u8>(p + plane) << 8) |
      (<u64>load<u8>(p + 2 * plane) << 16) |
      (<u64>load<u8>(p + 3 * plane) << 24) |
      (<u64>load<u8>(p + 4 * plane) << 32) |
      (<u64>load<u8>(p + 5 * plane) << 40) |
      (<u64>load<u8>(p + 6 * plane) << 48) |
      (<u64>load<u8>(p + 7 * plane) << 56),
  );
}

/** Whether any of n bytes is not zero. High planes of counts seldom are. */
function any(p: usize, n: usize): bool {
  const end = p + n;
  for (; p + 16 <= end; p += 16) if (v128.any_true(v128.load(p))) return true;
  for (; p < end; p++) if (load<u8>(p)) return true;
  return false;
}

function unshuffle_2(from: usize, n: usize, to: usize): void {
  const plane = n >> 3;
  const high = from + 8 * plane;
  const high_used = any(high, 8 * plane);
  for (let i: usize = 0; i < plane; i++, to += 16) {
    const a = i64x2.splat(bytes_of_eight(from + i, plane));
    const b = i64x2.splat(high_used ? bytes_of_eight(high + i, plane) : 0);
    v128.store(to, v128.shuffle<u8>(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23));
  }
}

function unshuffle_4(from: usize, n: usize, to: usize): void {
  const plane = n >> 3;
  const second = from + 8 * plane;
  const third = second + 8 * plane;
  const fourth = third + 8 * plane;
  const second_used = any(second, 8 * plane);
  const third_used = any(third, 8 * plane);
  const fourth_used = any(fourth, 8 * plane);
  for (let i: usize = 0; i < plane; i++, to += 32) {
    const a = i64x2.splat(bytes_of_eight(from + i, plane));
    const b = i64x2.splat(second_used ? bytes_of_eight(second + i, plane) : 0);
    const c = i64x2.splat(third_used ? bytes_of_eight(third + i, plane) : 0);
    const d = i64x2.splat(fourth_used ? bytes_of_eight(fourth + i, plane) : 0);
    const low = v128.shuffle<u8>(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    const high = v128.shuffle<u8>(c, d, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    v128.store(to, v128.shuffle<u8>(low, high, 0, 1, 16, 17, 2, 3, 18, 19, 4, 5, 20, 21, 6, 7, 22, 23));
    v128.store(to + 16, v128.shuffle<u8>(low, high, 8, 9, 24, 25, 10, 11, 26, 27, 12, 13, 28, 29, 14, 15, 30, 31));
  }
}

/**
 * Blocks of packed numbers from [from, end), one after the other, to `to`.
 *
 * n: how many numbers they hold, a multiple of 8; item: bytes of a number, 2 or 4; block: numbers in a full block;
 * scratch: room for one block and SLACK. Returns 0, or 1 + the number of the block that is damaged.
 */
export function unpack(from: usize, end: usize, n: usize, item: usize, block: usize, scratch: usize, to: usize): u32 {
  let done: usize = 0;
  let number: u32 = 1;
  while (done < n) {
    const here = min(block, n - done);
    if (end - from < 4) return number;
    const packed = <usize>bswap<u32>(load<u32>(from));
    from += 4;
    if (packed > end - from) return number;
    if (!lz4(from, from + packed, scratch, scratch + here * item)) return number;
    from += packed;
    if (item == 2) unshuffle_2(scratch, here, to + done * 2);
    else unshuffle_4(scratch, here, to + done * 4);
    done += here;
    number++;
  }
  return 0;
}

/** Makes the memory that large, at least; false if there is no more. */
export function reserve(bytes: usize): bool {
  const missing = <i32>((bytes + 65535) >> 16) - memory.size();
  return missing <= 0 || memory.grow(missing) >= 0;
}
