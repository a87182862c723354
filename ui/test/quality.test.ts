// How a pane comes along with a slow network.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Quality } from '../src/image/quality';
import { Lateness } from '../src/wire/lateness';

/** Ten pictures a second, each as late as its size makes it. */
function play(quality: Quality, seconds: number, late_s: (value: number) => number, from_ms = 0): number[] {
  const changes: number[] = [];
  for (let i = 0; i < 10 * seconds; i++) {
    const now_ms = from_ms + 100 * i;
    if (quality.see(late_s(quality.value), now_ms)) changes.push(quality.value);
  }
  return changes;
}

test('on a fast network nothing changes', () => {
  assert.deepEqual(play(new Quality(), 60, () => 0.02), []);
});

test('one late picture changes nothing', () => {
  const quality = new Quality();
  play(quality, 1, () => 0.01);
  assert.equal(quality.see(0.6, 1100), false);
});

test('pictures that come late are asked for smaller, down to a quarter', () => {
  assert.deepEqual(play(new Quality(), 5, () => 0.8), [0.5, 0.25]);
});

test('larger ones are tried again, ever more seldom while it is in vain', () => {
  const quality = new Quality();
  const changes = play(quality, 120, (value) => (value === 1 ? 0.4 : 0.04));
  assert.ok(changes.length >= 7 && changes.length <= 11, `${changes}`);
  assert.equal(changes.at(0), 0.5);
});

test('when the network is fast again, so are the pictures', () => {
  const quality = new Quality();
  play(quality, 5, () => 0.8);
  assert.deepEqual(play(quality, 30, () => 0.01, 5000), [0.5, 1]);
});

test('a picture is late by what it took longer than the quickest short message, whatever the clocks say', () => {
  const lateness = new Lateness();
  assert.equal(lateness.of(5, 5), null);
  for (const way_s of [1000.3, 1000.05, 1000.2]) lateness.note(7, 7 + way_s);
  assert.ok(Math.abs((lateness.of(9, 1009.35) ?? 0) - 0.3) < 1e-9);
  assert.equal(lateness.of(9, 1009), 0);
  for (let i = 0; i < 200; i++) lateness.note(7, 1007.5);
  assert.ok(Math.abs((lateness.of(9, 1009.75) ?? 0) - 0.25) < 1e-9);
});
