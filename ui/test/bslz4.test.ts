// Both decoders: what the project's own encoder packs, and what nobody should have packed.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { canHold, makeDecoder, type Numbers } from '../src/wire/bslz4';
import { WireError } from '../src/wire/errors';

const chunk = (name: string) => new Uint8Array(fs.readFileSync(path.join(process.env.FIXTURES ?? '', `${name}.bslz4`)));
const room = (dtype: string, n: number): Numbers => (dtype === 'u4' ? new Uint32Array(n) : new Uint16Array(n));

const hashed = (i: number): number => Number((BigInt(i) * 2654435761n + 12345n) % 2n ** 32n);
const FORMULAS: Record<string, (i: number) => number> = {
  counts: (i) => (hashed(i) % 97 === 0 ? hashed(i) >>> 20 : (hashed(i) >>> 13) & 3),
  hashed,
  repeated: (i) => i % (1 + (Math.floor(i / 500) % 40)),
  zeros: () => 0,
  few: (i) => FORMULAS.counts(i),
  eight: hashed,
};
const CHUNKS: [string, number][] = [
  ['counts-u2', 70_003],
  ['counts-u4', 40_005],
  ['hashed-u2', 9_001],
  ['hashed-u4', 5_007],
  ['repeated-u2', 30_000],
  ['repeated-u4', 30_001],
  ['zeros-u2', 100_000],
  ['few-u2', 5],
  ['eight-u4', 8],
];

/** The same numbers on each run. */
function dice(seed: number): (most: number) => number {
  let state = seed;
  return (most) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * most);
  };
}

for (const wasm of [true, false]) {
  const { decode, name } = makeDecoder(wasm);
  test(`the ${name} decoder is the one that was asked for`, () => {
    assert.equal(name, wasm ? 'wasm' : 'typescript');
  });

  for (const [file, n] of CHUNKS) {
    const [formula, dtype] = file.split('-');
    test(`${name} unpacks ${file}`, () => {
      const out = room(dtype, n);
      decode(chunk(file), out);
      const expected = room(dtype, n).map((_: number, i: number) => FORMULAS[formula](i));
      assert.deepEqual(out, expected);
    });

    test(`${name} refuses ${file} wherever it is cut off`, () => {
      const whole = chunk(file);
      const roll = dice(1);
      const lengths = [0, 1, 11, 12, 13, 15, 16, 17, whole.length - 1, ...Array.from({ length: 60 }, () => roll(whole.length))];
      for (const length of lengths) {
        assert.throws(() => decode(whole.slice(0, length), room(dtype, n)), WireError, `${length} bytes`);
      }
    });

    test(`${name} gives numbers or a WireError for ${file} with damaged bytes, and writes nowhere else`, () => {
      const whole = chunk(file);
      const roll = dice(7);
      for (let i = 0; i < 300; i++) {
        const damaged = whole.slice();
        for (let k = 0; k <= i % 4; k++) damaged[roll(damaged.length)] = roll(4) ? roll(256) : 255;
        const around = room(dtype, n + 128).fill(77);
        const inner = around.subarray(64, 64 + n) as Numbers;
        try {
          decode(damaged, inner);
        } catch (error) {
          assert.ok(error instanceof WireError, String(error));
        }
        assert.ok(around.subarray(0, 64).every((x) => x === 77) && around.subarray(64 + n).every((x) => x === 77));
      }
    });
  }

  test(`${name} survives noise`, () => {
    const roll = dice(3);
    for (let i = 0; i < 500; i++) {
      const n = 8 * (1 + roll(1000));
      const noise = Uint8Array.from({ length: 12 + roll(3000) }, () => roll(256));
      const view = new DataView(noise.buffer);
      view.setUint32(0, 0);
      view.setUint32(4, 2 * n);
      view.setUint32(8, [0, 8192, 16, 2 ** 31][roll(4)]);
      if (noise.length >= 16) view.setUint32(12, roll(2) ? noise.length - 16 : roll(noise.length));
      try {
        decode(noise, new Uint16Array(n));
      } catch (error) {
        assert.ok(error instanceof WireError, String(error));
      }
    }
  });

  const refused: [string, number, number, number][] = [
    ['another size than announced', 0, 0, 40],
    ['more than 2^32 bytes', 1, 20000, 8192],
    ['blocks that are no groups of eight', 0, 20000, 8191],
  ];
  for (const [what, high, low, block] of refused) {
    test(`${name} refuses ${what}`, () => {
      const bytes = chunk('counts-u2');
      const view = new DataView(bytes.buffer);
      view.setUint32(0, high);
      view.setUint32(4, low);
      view.setUint32(8, block);
      assert.throws(() => decode(bytes, new Uint16Array(10_000)), WireError);
    });
  }

  test(`${name} refuses a match that reaches before the block`, () => {
    // one literal, then a match of four bytes, two back
    const bytes = packedBlock([0x10, 1, 2, 0, 0x50, 0, 0, 0, 0, 0], 16);
    assert.throws(() => decode(bytes, new Uint16Array(8)), /block 0 is damaged/);
  });

  test(`${name} refuses a length without an end`, () => {
    const bytes = packedBlock([0xf0, ...Array(200).fill(255)], 16);
    assert.throws(() => decode(bytes, new Uint16Array(8)), /block 0 is damaged/);
  });

  test(`${name} refuses a match of no distance`, () => {
    const bytes = packedBlock([0x1b, 1, 0, 0], 16);
    assert.throws(() => decode(bytes, new Uint16Array(8)), /block 0 is damaged/);
  });
}

test('both decoders agree on whatever they accept', () => {
  const [wasm, plain] = [makeDecoder(true).decode, makeDecoder(false).decode];
  const roll = dice(11);
  let accepted = 0;
  for (let i = 0; i < 2000; i++) {
    const bytes = chunk('repeated-u2');
    bytes[12 + roll(bytes.length - 12)] = roll(256);
    const results = [wasm, plain].map((decode) => {
      const out = new Uint16Array(30_000);
      try {
        decode(bytes, out);
        return out;
      } catch {
        return null;
      }
    });
    if (results[0]) accepted++;
    assert.deepEqual(results[0], results[1]);
  }
  assert.ok(accepted > 100, `${accepted} accepted`);
});

test('what cannot hold an image is known before there is memory for it', () => {
  assert.equal(canHold(1000, 252_000), false);
  assert.equal(canHold(1012, 255_000), true);
  assert.equal(canHold(11, 0), false);
});

function packedBlock(block: number[], bytes: number): Uint8Array {
  const out = new Uint8Array(16 + block.length);
  const view = new DataView(out.buffer);
  view.setUint32(4, bytes);
  view.setUint32(8, bytes);
  view.setUint32(12, block.length);
  out.set(block, 16);
  return out;
}
