// Unpacks blocks of bit-shuffled LZ4 in WASM with SIMD, some blocks at a time: the memory of the WASM stays small
// whatever the picture's size.

import type { Numbers, UnpackBlocks } from './bslz4';
import { BSLZ4_WASM } from './bslz4_wasm';
import { refuse } from './errors';

interface Exports {
  memory: WebAssembly.Memory;
  unpack(from: number, end: number, n: number, item: number, block: number, scratch: number, to: number): number;
  reserve(bytes: number): number;
}

/** What the WASM's wide copies may run over by, and more [bytes]. */
const SLACK = 64;
/** Unpacked numbers per call, at least one block [bytes]; about what a second-level cache holds. */
const BATCH_BYTES = 256 * 1024;
/** Where the compiler's own data may lie is left alone. */
const FIRST = 1024;

/** null where WASM with SIMD may not, or cannot, run. */
export function makeWasmUnpacker(): UnpackBlocks | null {
  let wasm: Exports;
  try {
    const binary = Uint8Array.from(atob(BSLZ4_WASM), (c) => c.charCodeAt(0));
    wasm = new WebAssembly.Instance(new WebAssembly.Module(binary)).exports as unknown as Exports;
  } catch {
    return null;
  }
  return (packed, n, block, out) => unpackInBatches(wasm, packed, n, block, out);
}

function unpackInBatches(wasm: Exports, packed: Uint8Array, n: number, block: number, out: Numbers): void {
  const item = out.BYTES_PER_ELEMENT;
  const bytes = new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
  const lengths = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  const nBlocks = Math.max(1, Math.floor(BATCH_BYTES / (block * item)));
  let at = 0;
  for (let done = 0; done < n; ) {
    const here = Math.min(nBlocks * block, n - done);
    let stop = at;
    for (let left = here; left > 0; left -= block) stop += 4 + lengths.getUint32(stop);

    const scratch = aligned(FIRST + (stop - at) + SLACK);
    const to = aligned(scratch + block * item + SLACK);
    if (!wasm.reserve(to + here * item + SLACK)) refuse(`bslz4: no memory for blocks of ${block * item} bytes`);
    const memory = new Uint8Array(wasm.memory.buffer);
    memory.set(packed.subarray(at, stop), FIRST);
    const flaw = wasm.unpack(FIRST, FIRST + (stop - at), here, item, block, scratch, to);
    if (flaw) refuse(`bslz4: block ${done / block + flaw - 1} is damaged`);
    bytes.set(memory.subarray(to, to + here * item), done * item);
    at = stop;
    done += here;
  }
}

const aligned = (address: number) => (address + 15) & ~15;
