// From a message to a picture: unpacked, in memory that can be handed over to the page and comes back.

import type { Picture } from '../protocol';
import { canHold, type Decode, type Numbers } from './bslz4';
import { refuse } from './errors';
import { parseMessage } from './message';

/** What is kept at most [bytes]: two pictures of each of four panes, and all pixels of a large detector. */
const MOST_KEPT_BYTES = 128 * 1024 * 1024;

const MOST_KEPT = 12;

/** Memory of pictures that were drawn, for those to come. */
export class Pool {
  private readonly free: ArrayBuffer[] = [];

  constructor(private readonly mostBytes = MOST_KEPT_BYTES) {}

  take(bytes: number): ArrayBuffer {
    const at = this.free.findIndex((buffer) => buffer.byteLength === bytes);
    return at < 0 ? new ArrayBuffer(bytes) : this.free.splice(at, 1)[0];
  }

  private get bytes(): number {
    return this.free.reduce((sum, buffer) => sum + buffer.byteLength, 0);
  }

  /** Of other sizes than what is wanted now there would soon be only those: the oldest goes. */
  give(buffer: ArrayBuffer): void {
    if (!buffer.byteLength) return;
    this.free.push(buffer);
    while (this.bytes > this.mostBytes || this.free.length > MOST_KEPT) this.free.shift();
  }
}

export function unpackPicture(buffer: ArrayBuffer, decode: Decode, pool: Pool, now: () => number): Picture {
  const arrived_ms = now();
  const { header, image, peaks, radial } = parseMessage(buffer);
  const { block, bytes } = image;
  const n = block.shape[0] * block.shape[1];
  const item = block.dtype === 'u4' ? 4 : 2;
  if (block.codec === 'bslz4' && !canHold(bytes.length, n * item)) {
    refuse(`${bytes.length} bytes of bslz4 cannot hold an image of ${block.shape.join(' x ')}`);
  }
  const memory = pool.take(n * item);
  const out: Numbers = item === 4 ? new Uint32Array(memory) : new Uint16Array(memory);
  try {
    if (block.codec === 'bslz4') decode(bytes, out);
    else new Uint8Array(memory).set(bytes);
  } catch (error) {
    pool.give(memory);
    throw error;
  }
  return { header, image: out, peaks, radial, bytes: buffer.byteLength, decode_ms: now() - arrived_ms, arrived_ms };
}
