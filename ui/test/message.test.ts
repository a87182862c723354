// Binary messages: good ones, and a corpus of hostile ones.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PictureHeader } from '../src/protocol';
import { makeDecoder } from '../src/wire/bslz4';
import { WireError } from '../src/wire/errors';
import { parseMessage, parseText } from '../src/wire/message';
import { Pool, unpackPicture } from '../src/wire/unpack';
import { message, parts, withHeader, type Parts } from './messages';

test('a message is taken apart', () => {
  const { header, image, peaks, radial } = parseMessage(message(parts()));
  assert.equal(header.seq, 7);
  assert.deepEqual(new Uint16Array(image.bytes.slice().buffer), Uint16Array.from({ length: 24 }, (_, i) => i));
  assert.deepEqual([...(peaks ?? [])], [1.5, 2.5, 100, 3.5, 0.5, 50]);
  assert.deepEqual([...(radial ?? [])], [0, 1, 2, 10, 11, 12]);
});

test('peaks and a profile may be missing', () => {
  const p = parts();
  p.header.blocks = (p.header.blocks as unknown[]).slice(0, 1);
  const { peaks, radial } = parseMessage(message(p));
  assert.deepEqual([peaks, radial], [null, null]);
});

test('no peaks are no flaw', () => {
  const p = parts();
  Object.assign((p.header.blocks as object[])[1], { shape: [0, 3], bytes: 0 });
  assert.equal(parseMessage(message(p)).peaks?.length, 0);
});

const image = (p: Parts) => (p.header as unknown as PictureHeader).blocks[0] as unknown as Record<string, unknown>;
const peaks = (p: Parts) => (p.header as unknown as PictureHeader).blocks[1] as unknown as Record<string, unknown>;

const HOSTILE: Record<string, (p: Parts) => void> = {
  'another type': (p) => (p.header.t = 'numbers'),
  'no pane': (p) => delete p.header.pane,
  'a fifth pane': (p) => (p.header.pane = 4),
  'a negative pane': (p) => (p.header.pane = -1),
  'a pane that is text': (p) => (p.header.pane = '__proto__'),
  'half a number': (p) => (p.header.seq = 1.5),
  'an unknown kind': (p) => (p.header.kind = 'toString'),
  'an age that is null': (p) => (p.header.age_s = null),
  'no percentiles': (p) => (p.header.percentiles = []),
  'a percentile that is text': (p) => (p.header.percentiles = { ...(p.header.percentiles as object), '99.95': '9' }),
  'a histogram without a step': (p) => (p.header.histogram = { first: 0, step: 0, counts: [] }),
  'a histogram that is too long': (p) => (p.header.histogram = { first: 0, step: 1, counts: Array(5000).fill(1) }),
  'a region with three corners': (p) => (p.header.roi = { rect: [1, 2, 3], n: 1, total: 1, mean: 1, maximum: 1 }),
  'a picture that is too large': (p) => (p.header.full = [100_000, 100_000]),
  'a shape of one axis': (p) => (p.header.shape = [24]),
  'a negative shape': (p) => (p.header.shape = [-4, -6]),
  'an empty image': (p) => (p.header.shape = image(p).shape = [0, 6]),
  'a part beyond the picture': (p) => (p.header.x0 = 22),
  'a level beyond all': (p) => (p.header.level = 60),
  'a flag beyond 32 bits': (p) => (p.header.flag = 2 ** 32),
  'no blocks': (p) => (p.header.blocks = []),
  'a hundred blocks': (p) => (p.header.blocks = Array(100).fill(image(p))),
  'two images': (p) => (p.header.blocks = [image(p), image(p)]),
  'a block that is null': (p) => (p.header.blocks = [null]),
  'another shape than announced': (p) => (image(p).shape = [6, 4]),
  'an image of floats': (p) => (image(p).dtype = 'f4'),
  'an unknown dtype': (p) => (image(p).dtype = 'constructor'),
  'an unknown codec': (p) => (image(p).codec = 'gzip'),
  'fewer bytes than pixels': (p) => (image(p).bytes = 40),
  'a block at an odd place': (p) => (image(p).offset = 4),
  'a block beyond the end': (p) => (image(p).offset = 96),
  'a block that is far beyond the end': (p) => (image(p).offset = 2 ** 52),
  'a negative offset': (p) => (image(p).offset = -8),
  'packed bytes beyond the end': (p) => Object.assign(image(p), { codec: 'bslz4', bytes: 2 ** 40 }),
  'pairs of peaks': (p) => Object.assign(peaks(p), { shape: [3, 2] }),
  'packed peaks': (p) => (peaks(p).codec = 'bslz4'),
  'a billion peaks': (p) => Object.assign(peaks(p), { shape: [2 ** 30, 3], bytes: 3 * 2 ** 32 }),
};

for (const [what, spoil] of Object.entries(HOSTILE)) {
  test(`refused: ${what}`, () => {
    const p = parts();
    spoil(p);
    assert.throws(() => parseMessage(message(p)), WireError);
  });
}

const HEADERS: [string, ArrayBuffer][] = [
  ['nothing', new ArrayBuffer(0)],
  ['three bytes', new ArrayBuffer(3)],
  ['a header longer than the message', Uint8Array.from([255, 0, 0, 0, 123, 125]).buffer],
  ['a header of four gigabytes', Uint8Array.from([255, 255, 255, 255, 123, 125]).buffer],
  ['no JSON', withHeader('{"t":', new Uint8Array(8))],
  ['no object', withHeader('[1]', new Uint8Array(8))],
  ['null', withHeader('null', new Uint8Array(8))],
  ['no UTF-8', Uint8Array.from([4, 0, 0, 0, 255, 254, 253, 252]).buffer],
];

for (const [what, bytes] of HEADERS) {
  test(`refused: ${what} for a header`, () => {
    assert.throws(() => parseMessage(bytes), WireError);
  });
}

test('a message that is cut off anywhere is refused', () => {
  const whole = message(parts());
  for (let n = 0; n < whole.byteLength; n++) assert.throws(() => parseMessage(whole.slice(0, n)), WireError, `${n} bytes`);
});

test('blocks that do not begin at a multiple of eight are refused', () => {
  const p = parts();
  const json = new TextEncoder().encode(JSON.stringify(p.header).padEnd(2001));
  const out = new Uint8Array(4 + json.length + p.body.length);
  new DataView(out.buffer).setUint32(0, json.length, true);
  out.set(json, 4);
  assert.throws(() => parseMessage(out.buffer), /no multiple of 8/);
});

test('an image is unpacked into memory of its own', () => {
  const { decode } = makeDecoder();
  const picture = unpackPicture(message(parts()), decode, new Pool(), () => 5);
  assert.ok(picture.image instanceof Uint16Array);
  assert.deepEqual([...picture.image], Array.from({ length: 24 }, (_, i) => i));
  assert.equal(picture.arrived_ms, 5);
});

test('packed bytes that cannot hold the image are refused before there is memory for it', () => {
  const { decode } = makeDecoder();
  const p = parts();
  Object.assign(p.header, { full: [8000, 8000], shape: [4000, 4000], x0: 0, y0: 0 });
  Object.assign(image(p), { codec: 'bslz4', shape: [4000, 4000] });
  const pool = new Pool();
  pool.take = () => assert.fail('memory was taken');
  assert.throws(() => unpackPicture(message(p), decode, pool, () => 0), /cannot hold/);
});

test('memory of pictures is used again, and no more is kept than so many bytes', () => {
  const pool = new Pool(100);
  const first = new ArrayBuffer(48);
  pool.give(first);
  assert.equal(pool.take(48), first);
  assert.notEqual(pool.take(48), first);
  const older = [16, 32, 64].map((n) => new ArrayBuffer(n));
  older.forEach((buffer) => pool.give(buffer));
  assert.notEqual(pool.take(16), older[0]);
  assert.equal(pool.take(64), older[2]);
});

for (const text of ['', '7', 'null', '[]', '{}', '{"t":1}', '{"t":"log"']) {
  test(`refused as a text message: ${text || 'nothing'}`, () => {
    assert.throws(() => parseText(text), WireError);
  });
}
