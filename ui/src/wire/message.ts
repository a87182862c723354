// Binary messages of the server: a length, a JSON header, blocks. docs/reference/monitor-protocol.md
//
// Policy: a header is believed only as far as it agrees with the bytes that came. Every length, offset, shape and dtype is
// checked before it is used to read or to allocate.

import type { Block, PictureHeader } from '../protocol';
import { refuse } from './errors';

/** Largest header [bytes]: a histogram of some thousand bins fits in. */
const MAX_HEADER_BYTES = 1 << 20;
/** Largest picture [pixels]; four times a detector of 16 million. */
export const MAX_PIXELS = 1 << 26;
/** What the page can show side by side. */
const MAX_PANES = 4;
const MAX_LEVEL = 16;
const ITEM_BYTES = { u2: 2, u4: 4, f4: 4 } as const;
const KINDS = ['frame', 'hit', 'sum', 'max', 'hits-sum', 'hits-max'];

export interface Message {
  header: PictureHeader;
  image: { block: Block; bytes: Uint8Array };
  peaks: Float32Array<ArrayBuffer> | null;
  radial: Float32Array<ArrayBuffer> | null;
}

type Fields = Record<string, unknown>;

/** Check a message and say where its parts are; `image` is still packed. */
export function parseMessage(buffer: ArrayBuffer): Message {
  if (buffer.byteLength < 4) refuse(`a message of ${buffer.byteLength} bytes has no header`);
  const length = new DataView(buffer).getUint32(0, true);
  if (length > MAX_HEADER_BYTES) refuse(`a header of ${length} bytes, ${MAX_HEADER_BYTES} at most`);
  if (length > buffer.byteLength - 4) refuse(`a header of ${length} bytes in a message of ${buffer.byteLength}`);
  const header = checkHeader(parseJson(new Uint8Array(buffer, 4, length)));
  const first = 4 + length;
  if (first % 8) refuse(`the blocks begin at ${first}, which is no multiple of 8`);

  const found = new Map<string, { block: Block; bytes: Uint8Array }>();
  for (const block of header.blocks) {
    if (found.has(block.name)) refuse(`two blocks '${block.name}'`);
    if (block.offset > buffer.byteLength - first || block.bytes > buffer.byteLength - first - block.offset) {
      refuse(`block '${block.name}' at ${block.offset} of ${block.bytes} bytes lies beyond the message's end`);
    }
    found.set(block.name, { block, bytes: new Uint8Array(buffer, first + block.offset, block.bytes) });
  }
  const image = found.get('image') ?? refuse('a picture without an image');
  checkImage(header, image.block);
  return { header, image, peaks: floats(found.get('peaks'), 1, 3), radial: floats(found.get('radial'), 0, 2) };
}

/** A text message: an object with its type. */
export function parseText(text: string): { t: string } {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    refuse(`a text message that is no JSON: ${text.slice(0, 40)}`);
  }
  const fields = object(value, 'a text message');
  if (typeof fields.t !== 'string') refuse('a text message without a type');
  return fields as { t: string };
}

function parseJson(bytes: Uint8Array): Fields {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    refuse(`a header of ${bytes.length} bytes that is no JSON`);
  }
  return object(value, 'the header');
}

function checkHeader(h: Fields): PictureHeader {
  if (h.t !== 'picture') refuse(`a binary message of type '${String(h.t)}'`);
  whole(h.pane, 'pane', MAX_PANES - 1);
  whole(h.seq, 'seq');
  for (const name of ['source', 'stream'] as const) text(h[name], name);
  if (!KINDS.includes(h.kind as string)) refuse(`kind '${String(h.kind)}'`);
  whole(h.id, 'id');
  whole(h.n_frames, 'n_frames');
  if (typeof h.follows !== 'boolean') refuse("'follows' is neither true nor false");
  for (const name of ['age_s', 'taken_s', 'scale', 'offset'] as const) finite(h[name], name);
  const full = shape(h.full, 'full', 2);
  const part = shape(h.shape, 'shape', 2);
  if (full[0] * full[1] > MAX_PIXELS) refuse(`a picture of ${full.join(' x ')} pixels, ${MAX_PIXELS} at most`);
  whole(h.level, 'level', MAX_LEVEL);
  whole(h.x0, 'x0', full[1]);
  whole(h.y0, 'y0', full[0]);
  if (!part[0] || !part[1]) refuse(`an image of ${part.join(' x ')} pixels`);
  const width = 2 ** (h.level as number);
  if ((h.y0 as number) + (part[0] - 1) * width >= full[0] || (h.x0 as number) + (part[1] - 1) * width >= full[1]) {
    refuse(`an image of ${part.join(' x ')} at level ${h.level} and (${h.x0}, ${h.y0}) is not in ${full.join(' x ')}`);
  }
  whole(h.flag, 'flag', 2 ** 32 - 1);
  const percentiles = object(h.percentiles, 'percentiles');
  for (const name of ['1', '50', '95', '99.5', '99.95']) finite(percentiles[name], `percentiles ${name}`);
  const histogram = object(h.histogram, 'histogram');
  finite(histogram.first, 'histogram first');
  if (finite(histogram.step, 'histogram step') <= 0) refuse('a histogram whose step is not positive');
  for (const count of array(histogram.counts, 'histogram counts', 4096)) finite(count, 'histogram counts');
  const numbers = object(h.numbers, 'numbers');
  for (const name of ['maximum', 'mean', 'total', 'n_good', 'n_flagged', 'n_masked']) finite(numbers[name], name);
  if (h.hit !== null && typeof h.hit !== 'boolean') refuse("'hit' is neither true, false nor null");
  if (h.n_peaks !== null) whole(h.n_peaks, 'n_peaks');
  if (h.roi !== null) checkRegion(object(h.roi, 'roi'));
  for (const block of array(h.blocks, 'blocks', 8)) checkBlock(object(block, 'a block'));
  return h as unknown as PictureHeader;
}

function checkRegion(roi: Fields): void {
  const corners = array(roi.rect, 'roi rect', 4);
  if (corners.length !== 4) refuse(`a region with ${corners.length} numbers`);
  for (const corner of corners) finite(corner, 'roi rect');
  for (const name of ['n', 'total']) finite(roi[name], `roi ${name}`);
  // Without a pixel that has a value there is neither.
  for (const name of ['mean', 'maximum']) if (roi[name] !== null) finite(roi[name], `roi ${name}`);
}

function checkBlock(block: Fields): void {
  if (!['image', 'peaks', 'radial'].includes(block.name as string)) refuse(`a block '${String(block.name)}'`);
  if (block.codec !== 'none' && block.codec !== 'bslz4') refuse(`codec '${String(block.codec)}'`);
  const item = ITEM_BYTES[block.dtype as keyof typeof ITEM_BYTES] ?? refuse(`dtype '${String(block.dtype)}'`);
  const n = shape(block.shape, 'shape of a block', 2).reduce((a, b) => a * b, 1);
  if (n > MAX_PIXELS) refuse(`a block of ${n} numbers, ${MAX_PIXELS} at most`);
  const offset = whole(block.offset, 'offset');
  if (offset % 8) refuse(`a block at ${offset}, which is no multiple of 8`);
  const bytes = whole(block.bytes, 'bytes');
  if (block.codec === 'none' && bytes !== n * item) refuse(`a block of ${bytes} bytes for ${n} numbers of ${item}`);
}

function checkImage(header: PictureHeader, block: Block): void {
  if (block.dtype === 'f4') refuse('an image of floats');
  if (block.shape[0] !== header.shape[0] || block.shape[1] !== header.shape[1]) {
    refuse(`an image of ${block.shape.join(' x ')} in a message of ${header.shape.join(' x ')}`);
  }
}

/** Floats of a block, copied; one axis has a length that is known. */
function floats(found: { block: Block; bytes: Uint8Array } | undefined, axis: 0 | 1, length: number) {
  if (!found) return null;
  const { block, bytes } = found;
  if (block.dtype !== 'f4' || block.codec !== 'none') refuse(`block '${block.name}' as ${block.dtype}, ${block.codec}`);
  if (block.shape[axis] !== length) refuse(`block '${block.name}' of ${block.shape.join(' x ')}`);
  return new Float32Array(bytes.slice().buffer);
}

function object(value: unknown, what: string): Fields {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(`${what} is no object`);
  return value as Fields;
}

function array(value: unknown, what: string, most: number): unknown[] {
  if (!Array.isArray(value) || value.length > most) refuse(`'${what}' is no list of ${most} at most`);
  return value;
}

function shape(value: unknown, what: string, n: number): number[] {
  const axes = array(value, what, n);
  if (axes.length !== n) refuse(`'${what}' has ${axes.length} axes`);
  return axes.map((axis) => whole(axis, what));
}

function whole(value: unknown, what: string, most = Number.MAX_SAFE_INTEGER): number {
  if (!Number.isSafeInteger(value) || (value as number) < 0 || (value as number) > most) {
    refuse(`'${what}' is ${String(value)}, not a whole number up to ${most}`);
  }
  return value as number;
}

function finite(value: unknown, what: string): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) refuse(`'${what}' is ${String(value)}, no number`);
  return value;
}

function text(value: unknown, what: string): void {
  if (typeof value !== 'string') refuse(`'${what}' is no text`);
}
