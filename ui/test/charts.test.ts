// What the charts draw, before it is drawn.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { bars, fromRadius, powerTick, profile, quantile, radialAxesOf, radialAxis, resolutionTick, shortTick } from '../src/charts/axes';
import { Timeline, timeRange } from '../src/charts/timeline';
import type { Geometry } from '../src/protocol';

const GEOMETRY: Geometry = { name: 'd', beam: [100, 100], pixel_m: [75e-6, 75e-6], distance_m: 0.12, wavelength_a: 1 };

test('a timeline keeps ten minutes, in order, and breaks where nothing was heard', () => {
  const line = new Timeline(['a', 'b'], 600);
  for (let t = 0; t < 1000; t += 0.5) line.push(t, [t, null]);
  const [times, a, b] = line.columns();
  assert.equal(times[0], 399.5);
  assert.equal(times.length, a.length);
  assert.ok(b.every((value) => value === null));
  line.push(999.5, [0, 0]); // sent twice
  line.push(999, [0, 0]); // late
  assert.equal(line.lastTime, 999.5);
  assert.equal(line.latest('a'), 999.5);
  line.push(1020, [1, 1]);
  assert.deepEqual(line.columns('a')[1].slice(-3), [999.5, null, 1]);
});

test('a clock that was set back begins anew', () => {
  const line = new Timeline(['a']);
  line.push(1000, [1]);
  line.push(500, [2]);
  assert.deepEqual(line.columns(), [[500], [2]]);
});

test('a timeline is bounded whatever is sent, and takes no time that is none', () => {
  const line = new Timeline(['a'], 600);
  for (let i = 0; i < 10_000; i++) line.push(1 + i / 1000, [i]);
  line.push(NaN, [1]);
  assert.equal(line.length, 4000);
  assert.equal(line.latest('a'), 9999);
});

test('a history replaces what it knows better, and keeps what is older', () => {
  const line = new Timeline(['a']);
  for (let t = 1; t <= 5; t++) line.push(t, [t]);
  line.load([4, 5, 6], [[40], [50], [60]]);
  assert.deepEqual(line.columns('a'), [[1, 2, 3, 4, 5, 6], [1, 2, 3, 40, 50, 60]]);
  line.load([], []);
  assert.equal(line.length, 6);
});

test('a history that is coarser than the numbers is no row of silences', () => {
  const line = new Timeline(['a']);
  line.load([0, 10, 20, 30, 90], [[0], [1], [2], [3], [9]]);
  assert.deepEqual(line.columns()[1], [0, 1, 2, 3, null, 9]);
});

test('at least a minute is shown, at most the window, and it ends now', () => {
  assert.deepEqual(timeRange([], 600, 1000), [940, 1000]);
  assert.deepEqual(timeRange([700], 600, 1000), [700, 1000]);
  assert.deepEqual(timeRange([100], 600, 1000), [400, 1000]);
});

test('a radius becomes an angle, a scattering vector and a resolution', () => {
  const radius = 1600; // 0.12 m: 45 degrees
  assert.ok(Math.abs(fromRadius('2theta', radius, GEOMETRY) - 45) < 1e-9);
  const d = fromRadius('d', radius, GEOMETRY);
  assert.ok(Math.abs(d - 1 / (2 * Math.sin(Math.PI / 8))) < 1e-12);
  assert.ok(Math.abs(fromRadius('q', radius, GEOMETRY) * d - 2 * Math.PI) < 1e-12);
  assert.equal(fromRadius('r', radius, null), radius);
});

test('what a geometry does not say is not offered', () => {
  assert.deepEqual(radialAxesOf(GEOMETRY), ['q', '2theta', 'd', 'r']);
  assert.deepEqual(radialAxesOf({ ...GEOMETRY, wavelength_a: null }), ['2theta', 'r']);
  assert.deepEqual(radialAxesOf({ ...GEOMETRY, distance_m: null }), ['r']);
  assert.equal(radialAxis('d', null), 'r');
  assert.equal(radialAxis('d', GEOMETRY), 'd');
});

test('a profile rises along its axis and leaves out what cannot be drawn', () => {
  const radial = Float32Array.of(0, 1, 2, 3, 5, 0, NaN, 7);
  for (const axis of ['q', '2theta', 'd', 'r'] as const) {
    const [xs, ys] = profile(radial, axis, GEOMETRY, false);
    assert.ok(xs.every((x, i) => i === 0 || x > xs[i - 1]), axis);
    assert.deepEqual(ys.slice(-3), [0, null, 7]);
  }
  assert.deepEqual(profile(radial, 'r', null, true)[1], [5, null, null, 7]);
});

test('bars leave out empty bins at both ends, and keep a few', () => {
  const counts = new Array(257).fill(0);
  counts[40] = 3;
  counts[60] = 1;
  const [xs, heights] = bars({ first: 0, step: 1, counts });
  assert.deepEqual([xs[0], xs[xs.length - 1]], [40.5, 60.5]);
  assert.equal(heights.length, 21);
  assert.deepEqual(bars({ first: 0, step: 1, counts: new Array(5).fill(0) }), [[], []]);
  assert.deepEqual(bars(null), [[], []]);
  assert.deepEqual(bars({ first: 0, step: 0, counts: [1] }), [[], []]);
  assert.equal(bars({ first: 0, step: 1, counts: [0, 0, 5, ...new Array(50).fill(0)] })[0].length, 12);
});

test('a quantile lies in the bin that holds it', () => {
  const histogram = { first: 0, step: 2, counts: [1, 1, 1, 1] };
  assert.equal(quantile(histogram, 0.5), 3);
  assert.equal(quantile(histogram, 1), 7);
  assert.equal(quantile({ ...histogram, counts: [0, 0] }, 0.5), null);
});

test('ticks', () => {
  assert.deepEqual([-1, 0, 2, 4, -5, 2.5].map(powerTick), ['0.1', '1', '100', '10⁴', '10⁻⁵', '']);
  assert.deepEqual([0, 0.05, 0.1, 0.4, 0.6].map(resolutionTick), ['∞', '20', '10', '2.5', '1.67']);
  assert.deepEqual([0, 0.25, 1500, 2e6, 7.5e9].map(shortTick), ['0', '0.25', '1.5k', '2M', '7.5G']);
});
