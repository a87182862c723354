// Unpacks blocks of bit-shuffled LZ4 in TypeScript: for browsers that may not run WASM, and to compare the WASM with.

import type { Numbers } from './bslz4';
import { refuse } from './errors';

export function unpackBlocks(packed: Uint8Array, n: number, block: number, out: Numbers): void {
  const item = out.BYTES_PER_ELEMENT;
  const bytes = new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
  const scratch = new Uint8Array(block * item);
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  let at = 0;
  for (let done = 0; done < n; done += block) {
    const here = Math.min(block, n - done);
    const length = view.getUint32(at);
    at += 4;
    if (!unpackLz4(packed.subarray(at, at + length), scratch.subarray(0, here * item))) {
      refuse(`bslz4: block ${done / block} is damaged`);
    }
    at += length;
    unshuffle(scratch, here, item, bytes, done * item);
  }
}

/** One LZ4 block; true if it fills `out` exactly. Reads and writes nowhere else. */
export function unpackLz4(packed: Uint8Array, out: Uint8Array): boolean {
  const end = packed.length;
  const last = out.length;
  let from = 0;
  let to = 0;
  while (from < end) {
    const token = packed[from++];
    let n = token >> 4;
    if (n === 15) {
      let more = 255;
      while (more === 255) {
        if (from >= end || n > last) return false;
        more = packed[from++];
        n += more;
      }
    }
    if (n > end - from || n > last - to) return false;
    if (n < 24) for (const stop = from + n; from < stop; ) out[to++] = packed[from++];
    else {
      out.set(packed.subarray(from, from + n), to);
      to += n;
      from += n;
    }
    if (from === end) break;

    if (end - from < 2) return false;
    const back = packed[from] | (packed[from + 1] << 8);
    from += 2;
    if (back === 0 || back > to) return false;
    n = token & 15;
    if (n === 15) {
      let more = 255;
      while (more === 255) {
        if (from >= end || n > last) return false;
        more = packed[from++];
        n += more;
      }
    }
    n += 4;
    if (n > last - to) return false;
    if (back === 1 && n > 16) {
      out.fill(out[to - 1], to, to + n);
      to += n;
    } else if (back >= n && n > 32) {
      out.copyWithin(to, to - back, to - back + n);
      to += n;
    } else for (const stop = to + n; to < stop; to++) out[to] = out[to - back];
  }
  return to === last;
}

/** n numbers (a multiple of 8), whose bits lie in planes, to bytes: transposes 8 x 8 bits at a time. */
function unshuffle(from: Uint8Array, n: number, item: number, out: Uint8Array, to: number): void {
  const plane = n >> 3;
  for (let byte = 0; byte < item; byte++) {
    const first = byte * 8 * plane;
    for (let i = 0; i < plane; i++) {
      const p = first + i;
      let low = from[p] | (from[p + plane] << 8) | (from[p + 2 * plane] << 16) | (from[p + 3 * plane] << 24);
      let high =
        from[p + 4 * plane] | (from[p + 5 * plane] << 8) | (from[p + 6 * plane] << 16) | (from[p + 7 * plane] << 24);
      let q = to + i * 8 * item + byte;
      if ((low | high) === 0) {
        for (let j = 0; j < 8; j++, q += item) out[q] = 0;
        continue;
      }
      let t = (low ^ (low >>> 7)) & 0x00aa00aa;
      low ^= t ^ (t << 7);
      t = (high ^ (high >>> 7)) & 0x00aa00aa;
      high ^= t ^ (t << 7);
      t = (low ^ (low >>> 14)) & 0x0000cccc;
      low ^= t ^ (t << 14);
      t = (high ^ (high >>> 14)) & 0x0000cccc;
      high ^= t ^ (t << 14);
      let four = (low & 0x0f0f0f0f) | ((high << 4) & 0xf0f0f0f0);
      for (let j = 0; j < 4; j++, q += item, four >>>= 8) out[q] = four;
      four = ((low >>> 4) & 0x0f0f0f0f) | (high & 0xf0f0f0f0);
      for (let j = 0; j < 4; j++, q += item, four >>>= 8) out[q] = four;
    }
  }
}
