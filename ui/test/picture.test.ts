// What a pane computes: where resolutions are, which part is seen, which pixels a screen pixel shows, and their colours.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { COLOUR_MAPS } from '../src/image/colourmaps';
import { Colours, scaled } from '../src/image/colours';
import { AutoContrast, rangeFor } from '../src/image/contrast';
import { chooseRings, resolutionAt, ringRadii } from '../src/image/geometry';
import { numberAt, readout, valueText } from '../src/image/readout';
import { between, dragged, gripAt } from '../src/image/region';
import { MOST_POOLED, spans, stride } from '../src/image/spans';
import type { Geometry, Picture, PictureHeader, Pixel, Rect } from '../src/protocol';
import { parts } from './messages';

const table = JSON.parse(fs.readFileSync(path.join(process.env.FIXTURES ?? '', 'resolution.json'), 'utf8')) as {
  wavelength_a: number;
  distance_m: number;
  pixel_m: number;
  table: { radius: number; d: number }[];
};
const geometry: Geometry = {
  name: 'flat',
  beam: [1030.5, 1064.25],
  pixel_m: [table.pixel_m, table.pixel_m],
  distance_m: table.distance_m,
  wavelength_a: table.wavelength_a,
};
const close = (a: number | null | undefined, b: number, part = 1e-9) =>
  assert.ok(a != null && Math.abs(a - b) <= part * Math.abs(b), `${a} is not ${b}`);

for (const { radius, d } of table.table) {
  test(`at ${radius.toFixed(1)} pixels from the beam is ${d.toFixed(3)} Å, and the ring of it has that radius`, () => {
    close(resolutionAt(geometry, 1030.5 + 0.6 * radius, 1064.25 - 0.8 * radius), d);
    close(ringRadii(geometry, d)?.[0], radius);
    close(ringRadii(geometry, d)?.[1], radius);
  });
}

test('pixels that are not square make rings that are not round', () => {
  const oblong: Geometry = { ...geometry, pixel_m: [table.pixel_m, 2 * table.pixel_m] };
  const [rx, ry] = ringRadii(oblong, 3) ?? [0, 0];
  close(rx, 2 * ry);
  close(resolutionAt(oblong, 1030.5, 1064.25 + ry), 3);
});

test('without a wavelength, a distance or a beam there is no resolution and no ring', () => {
  for (const missing of ['beam', 'pixel_m', 'distance_m', 'wavelength_a'] as const) {
    const partly = { ...geometry, [missing]: null };
    assert.equal(resolutionAt(partly, 1, 1), null);
    assert.deepEqual(chooseRings(partly, [0, 0, 2000, 2000], 1), []);
  }
  assert.equal(ringRadii(null, 2), null);
  assert.equal(resolutionAt(geometry, 1030.5, 1064.25), null);
  assert.equal(ringRadii(geometry, 0.6), null);
});

const VIEWS: [string, Rect, number][] = [
  ['the whole picture', [0, 0, 2070, 2167], 0.36],
  ['a corner', [0, 0, 300, 300], 3],
  ['the beam', [1000, 1030, 1060, 1090], 20],
];
for (const [what, visible, zoom] of VIEWS) {
  test(`rings that are seen on ${what} are in sight and apart`, () => {
    const rings = chooseRings(geometry, visible, zoom);
    assert.ok(rings.length <= 8);
    rings.forEach((ring, i) => {
      if (i) assert.ok((ring.radii[0] - rings[i - 1].radii[0]) * zoom >= 38);
      const corners = [visible[0], visible[2]].flatMap((x) => [visible[1], visible[3]].map((y) => [x, y]));
      const far = Math.max(...corners.map(([x, y]) => Math.hypot(x - 1030.5, y - 1064.25)));
      assert.ok(ring.radii[0] <= far);
    });
  });
}

test('the usual rings are there on a whole picture', () => {
  const seen = chooseRings(geometry, [0, 0, 2070, 2167], 0.36).map(({ d }) => d);
  for (const d of [5, 3, 2]) assert.ok(seen.includes(d), `${d} Å of ${seen}`);
});

// --- spans

for (const width of [0.03, 0.31, 0.5, 0.72, 0.9999, 1, 1.3, 7, 96]) {
  test(`with pixels ${width} wide each pixel of a tile is seen, in order, and nothing else`, () => {
    const length = Math.max(5, Math.round(60 / width));
    const seen = new Set<number>();
    const pairs = spans(100, 10.25, width, 0, length);
    for (let i = 0; i < 100; i++) {
      const [first, end] = [pairs[2 * i], pairs[2 * i + 1]];
      if (first < 0) continue;
      assert.ok(first < end && end <= length);
      for (let k = first; k < end; k++) seen.add(k);
    }
    const most = Math.min(length, Math.floor((100 - 10.25) / width));
    for (let k = 0; k < most; k++) assert.ok(seen.has(k), `pixel ${k} of ${length}`);
  });
}

test('with large pixels the one below the middle of a screen pixel counts', () => {
  assert.deepEqual([...spans(6, 1, 2, 0, 2)], [-1, -1, 0, 1, 0, 1, 1, 2, 1, 2, -1, -1]);
});

test('a tile that begins later in the picture shows the same pixels', () => {
  for (const width of [0.31, 3.37]) {
    const whole = spans(400, -20, width, 0, 2000);
    const part = spans(400, -20, width, 30, 2000);
    for (let i = 300; i < 400; i++) assert.equal(part[2 * i], whole[2 * i] - 30);
  }
});

test('very many pixels are passed over in strides, not one by one', () => {
  assert.equal(stride(0, MOST_POOLED), 1);
  assert.equal(stride(0, MOST_POOLED + 1), 2);
});

// --- colours

test('each colour map has 256 colours, and the greys are what they say', () => {
  for (const [name, map] of Object.entries(COLOUR_MAPS)) assert.equal(map.length, 768, name);
  assert.deepEqual([...COLOUR_MAPS.Grey.slice(0, 6)], [0, 0, 0, 1, 1, 1]);
  assert.deepEqual([...COLOUR_MAPS['Grey inverted'].slice(-6)], [1, 1, 1, 0, 0, 0]);
  assert.deepEqual([...COLOUR_MAPS.Viridis.slice(0, 3)], [68, 1, 84]);
  assert.deepEqual([...COLOUR_MAPS.Heat.slice(-3)], [255, 255, 255]);
});

for (const scale of ['linear', 'sqrt', 'log'] as const) {
  test(`colours are f((value - lo) / (hi - lo)) on a ${scale} scale`, () => {
    const colours = new Colours();
    const [low, high] = [3, 4000];
    colours.set({ map: 'Grey', scale, range: [low, high], factor: 1, offset: 0 });
    for (const value of [0, 1, 3, 17, 900, 4000, 65535, 65536, 4e9]) {
      const part = (scaled(scale, value) - scaled(scale, low)) / (scaled(scale, high) - scaled(scale, low));
      assert.equal(colours.ofNumber(value) & 255, Math.round(255 * Math.max(0, Math.min(1, part))), `${value}`);
    }
  });
}

test('scale and offset of floats come before the colours', () => {
  const colours = new Colours();
  colours.set({ map: 'Grey', scale: 'linear', range: [-1, 1], factor: 0.001, offset: -1 });
  assert.equal(colours.ofNumber(1000) & 255, 128);
  assert.equal(colours.ofValue(0.5), colours.ofNumber(1500));
});

test('colours are new only when something has changed', () => {
  const colours = new Colours();
  const look = { map: 'Grey', scale: 'sqrt', range: [0, 9] as const, factor: 1, offset: 0 } as const;
  colours.set(look);
  colours.set({ ...look, range: [0, 9] });
  assert.equal(colours.version, 1);
  colours.set({ ...look, range: [0, 10] });
  assert.equal(colours.version, 2);
});

// --- contrast

const header = (changes: Partial<PictureHeader> = {}): PictureHeader =>
  ({ ...parts().header, ...changes }) as unknown as PictureHeader;
const withTop = (top: number): PictureHeader =>
  header({ percentiles: { '1': 0, '50': 0, '95': 0, '99.5': 0, '99.95': top } });

test('automatic contrast ends at one and a half times the percentile 99.95, and never below four counts', () => {
  assert.deepEqual(rangeFor(withTop(20)), [0, 30]);
  assert.deepEqual(rangeFor(withTop(1)), [0, 4]);
});

test('automatic contrast of floats knows negative numbers', () => {
  const floats = header({ scale: 0.01, offset: -2, percentiles: { '1': -1.5, '50': 0, '95': 1, '99.5': 2, '99.95': 4 } });
  assert.deepEqual(rangeFor(floats), [-1.5, 6]);
});

test('automatic contrast begins with the first picture, follows slowly, and begins anew with another kind', () => {
  const contrast = new AutoContrast();
  contrast.see(withTop(20));
  assert.deepEqual(contrast.range, [0, 30]);
  contrast.see(withTop(40));
  assert.deepEqual(contrast.range, [0, 36]);
  for (let i = 0; i < 40; i++) contrast.see(withTop(40));
  assert.ok(Math.abs(contrast.range[1] - 60) < 0.02 * 60);
  contrast.see({ ...withTop(2000), kind: 'sum' });
  assert.deepEqual(contrast.range, [0, 3000]);
});

test('automatic contrast does not flicker', () => {
  const contrast = new AutoContrast();
  contrast.see(withTop(20));
  const before = contrast.range;
  contrast.see(withTop(20.4));
  assert.equal(contrast.range, before);
});

// --- the cursor

const picture = (changes: Partial<PictureHeader> = {}): Picture => ({
  header: header(changes),
  image: Uint16Array.from({ length: 24 }, (_, i) => (i === 5 ? 65535 : i)),
  peaks: null,
  radial: null,
  bytes: 0,
  decode_ms: 0,
  arrived_ms: 0,
});
const under = (p: Picture, answer: Pixel | null = null, pool: 'max' | 'mean' = 'max') => ({
  picture: p,
  answer,
  run: null,
  pool,
});
const exact: Pixel = { t: 'px', pane: 1, id: 12, x: 6, y: 4, value: 3, why: null, raw: null, d: 2.5 };

test('a number is found where its pixel is', () => {
  assert.equal(numberAt(picture(), 4, 2), 0);
  assert.equal(numberAt(picture(), 7, 5), 7);
  assert.equal(numberAt(picture(), 3, 2), null);
  assert.equal(numberAt(picture(), 16, 2), null);
});

const READOUTS: [string, string, string][] = [
  ['a pooled pixel', readout(6, 4, under(picture())), 'x 6   y 4   ≤ 7'],
  ['a pixel pooled by the mean', readout(6, 4, under(picture(), null, 'mean')), 'x 6   y 4   ≈ 7'],
  ['an exact answer', readout(6, 4, under(picture(), exact)), 'x 6   y 4   3   d 2.500 Å'],
  ['an answer of another frame', readout(6, 4, under(picture({ id: 13 }), exact)), 'x 6   y 4   ≤ 7   d 2.500 Å'],
  ['an answer for another pixel', readout(8, 4, under(picture(), exact)), 'x 8   y 4   ≤ 8'],
  ['a masked pixel', readout(6, 4, under(picture(), { ...exact, value: null, why: 'masked' })), 'x 6   y 4   masked   d 2.500 Å'],
  ['a pixel without a value', readout(14, 2, under(picture())), 'x 14   y 2   no value'],
  ['a pixel that has not come', readout(20, 2, under(picture())), 'x 20   y 2   …'],
  ['a place beyond the picture', readout(30, 2, under(picture())), 'outside the picture'],
  ['a pixel of full size', readout(6, 4, under(picture({ level: 0 }))), 'x 6   y 4   14'],
  ['scale and offset', readout(6, 4, under(picture({ level: 0, scale: 0.5, offset: -1 }))), 'x 6   y 4   6'],
  [
    'an assembled pixel',
    readout(6, 4, under(picture(), { ...exact, raw: { fs: 3, ss: 9, panel: 'p1' } })),
    'x 6   y 4   3   d 2.500 Å   fs 3  ss 9  p1',
  ],
];
for (const [what, found, expected] of READOUTS) {
  test(`the readout of ${what}`, () => assert.equal(found, expected));
}

test('numbers are short, and whole ones are whole', () => {
  assert.deepEqual([0, 123456789, 1.23456789, -0.000012, 1.5e9 + 0.5].map(valueText), [
    '0',
    '123456789',
    '1.2346',
    '-1.200e-5',
    '1.500e+9',
  ]);
});

// --- the region

test('a region is opened in either direction, in whole pixels, within the picture', () => {
  assert.deepEqual(between([10.4, 20.6], [3.2, 99], [50, 40]), [3, 21, 10, 50]);
  assert.deepEqual(between([-5, -5], [-1, -1], [50, 40]), [0, 0, 1, 1]);
  assert.deepEqual(between([39.9, 49.9], [80, 80], [50, 40]), [39, 49, 40, 50]);
});

test('a region is moved, stretched at its edges, and never leaves the picture', () => {
  const rect: Rect = [10, 10, 20, 30];
  const inside = gripAt(rect, 15, 20, 2);
  assert.ok(inside?.whole);
  assert.deepEqual(dragged(rect, inside, 5.4, -100, [50, 40]), [15, 0, 25, 20]);
  const corner = gripAt(rect, 20.5, 9, 2);
  assert.deepEqual(corner, { x: 1, y: -1, whole: false });
  assert.deepEqual(dragged(rect, corner ?? inside, 4, 3, [50, 40]), [10, 13, 24, 30]);
  assert.equal(gripAt(rect, 23, 20, 2), null);
});
