// bslz4, as detectors send it: bits shuffled block by block, then LZ4.
//
//   8 bytes  size of the array [bytes], big-endian
//   4 bytes  size of an unpacked block [bytes], big-endian; 0 means 8192
//   blocks   4 bytes length, big-endian, then the packed block
//   rest     the last (n mod 8) numbers as they are
//
// Policy: sizes are compared with what was announced before anything is unpacked, and no input does anything else than
// give the right numbers or throw a WireError. Two ways, same results: WASM with SIMD, and TypeScript where WASM is not
// to be had (a content security policy without 'wasm-unsafe-eval', an old browser).

import { refuse } from './errors';
import { unpackBlocks } from './bslz4_plain';
import { makeWasmUnpacker } from './bslz4_simd';

const HEADER_BYTES = 12;
const DEFAULT_BLOCK_BYTES = 8192;
/** Numbers are shuffled in groups of eight. */
const GROUP = 8;
/** Bytes that one byte of LZ4 can stand for, at the most. */
const MAX_LZ4_RATIO = 255;

export type Numbers = Uint16Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/** Unpacks n numbers (a multiple of 8) of blocks of so many numbers; `packed` holds the blocks and nothing else. */
export type UnpackBlocks = (packed: Uint8Array, n: number, block: number, out: Numbers) => void;

/** Unpack a chunk into `out`, which says how many numbers of what size are expected. */
export type Decode = (chunk: Uint8Array, out: Numbers) => void;

/** The fastest way there is here; `wasm` false: not even tried. */
export function makeDecoder(wasm = true): { decode: Decode; name: 'wasm' | 'typescript' } {
  const simd = wasm ? makeWasmUnpacker() : null;
  const unpack = simd ?? unpackBlocks;
  return { decode: (chunk, out) => decode(chunk, out, unpack), name: simd ? 'wasm' : 'typescript' };
}

/** Whether a chunk of that size can hold so many bytes; asked before they are allocated. */
export function canHold(chunkBytes: number, outBytes: number): boolean {
  return chunkBytes >= HEADER_BYTES && outBytes <= (chunkBytes - HEADER_BYTES) * MAX_LZ4_RATIO;
}

function decode(chunk: Uint8Array, out: Numbers, unpack: UnpackBlocks): void {
  const item = out.BYTES_PER_ELEMENT;
  if (chunk.length < HEADER_BYTES) refuse(`bslz4: ${chunk.length} bytes are less than a header of ${HEADER_BYTES}`);
  const view = new DataView(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  const total = view.getUint32(0) * 2 ** 32 + view.getUint32(4);
  if (total !== out.byteLength) refuse(`bslz4: header says ${total} bytes, the block ${out.byteLength}`);
  const blockBytes = view.getUint32(8) || DEFAULT_BLOCK_BYTES;
  if (blockBytes % (GROUP * item)) refuse(`bslz4: blocks of ${blockBytes} bytes are not groups of 8 numbers of ${item}`);

  const nRaw = out.length % GROUP;
  const n = out.length - nRaw;
  const rawBytes = nRaw * item;
  if (chunk.length < HEADER_BYTES + rawBytes) refuse(`bslz4: ${chunk.length} bytes have no room for the last numbers`);
  // A block larger than all there is holds all there is: room is made for that, whatever the header claims.
  const block = Math.min(blockBytes / item, n || GROUP);
  const packed = chunk.subarray(HEADER_BYTES, chunk.length - rawBytes);
  checkLengths(packed, Math.ceil(n / block));
  if (n) unpack(packed, n, block, out);
  const raw = new Uint8Array(out.buffer, out.byteOffset + n * item, rawBytes);
  raw.set(chunk.subarray(chunk.length - rawBytes));
}

/** The blocks fill the chunk exactly. */
function checkLengths(packed: Uint8Array, nBlocks: number): void {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  let at = 0;
  for (let number = 0; number < nBlocks; number++) {
    if (at + 4 > packed.length) refuse(`bslz4: ends before block ${number} of ${nBlocks}`);
    const length = view.getUint32(at);
    at += 4;
    if (length > packed.length - at) {
      refuse(`bslz4: block ${number} of ${nBlocks} claims ${length} bytes, ${packed.length - at} are left`);
    }
    at += length;
  }
  if (at !== packed.length) refuse(`bslz4: ${packed.length - at} bytes too many after block ${nBlocks - 1}`);
}
