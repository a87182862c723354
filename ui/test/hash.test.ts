// The state of the page in its address.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { defaultPane, fromHash, KINDS, toHash, type PageState } from '../src/page/hash';
import { RADIAL_AXES } from '../src/charts/axes';
import type { PaneState } from '../src/interfaces';

/** A small generator of its own, so that a failure can be repeated (mulberry32). */
function random(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

const LETTERS = ['a', 'Z', '0', '/', '_', '-', '.', ' ', '+', ';', '&', '=', '#', '%', ',', 'é', '漢', '🙂', '"', '<'];

function pick<T>(next: () => number, choices: readonly T[]): T {
  return choices[Math.floor(next() * choices.length)];
}

function word(next: () => number, least: number): string {
  return Array.from({ length: least + Math.floor(next() * 20) }, () => pick(next, LETTERS)).join('');
}

const real = (next: () => number, size: number) => Number(((next() - 0.3) * size).toPrecision(6));

function randomPane(next: () => number): PaneState {
  const low = real(next, 100);
  const [x, y] = [real(next, 5000), real(next, 5000)];
  return {
    source: word(next, 1),
    kind: pick(next, KINDS).value,
    view: next() < 0.5 ? null : { x, y, zoom: Number((0.01 + next() * 90).toPrecision(6)) },
    map: pick(next, ['Grey inverted', 'Viridis', 'Heat']),
    scale: pick(next, ['linear', 'sqrt', 'log'] as const),
    range: next() < 0.5 ? null : [low, low + 1 + Math.floor(next() * 1000)],
    mask: next() < 0.5,
    pool: pick(next, ['max', 'mean'] as const),
    full: next() < 0.5,
    rings: next() < 0.5,
    peaks: next() < 0.5,
    roi: next() < 0.5 ? null : [Math.floor(x), Math.floor(y), Math.floor(x) + 5, Math.floor(y) + 7],
    at: next() < 0.5 ? null : { stream: word(next, 1), id: Math.floor(next() * 1e9) },
  };
}

function rounded(state: PageState): unknown {
  return JSON.parse(JSON.stringify(state, (_, value: unknown) => (typeof value === 'number' ? Number(value.toPrecision(7)) : value)));
}

test('what was written is read back, whatever it is', () => {
  for (let seed = 0; seed < 2000; seed++) {
    const next = random(seed);
    const panes = Array.from({ length: 1 + Math.floor(next() * 4) }, () => randomPane(next));
    const state: PageState = { panes, active: Math.floor(next() * panes.length), paused: next() < 0.5, axis: pick(next, RADIAL_AXES).value, log: next() < 0.5 };
    const hash = toHash(state);
    assert.deepEqual(rounded(fromHash(hash)), rounded(state), `seed ${seed}: ${hash}`);
    assert.equal(toHash(fromHash(hash)), hash, `seed ${seed}`);
  }
});

test('an address that was bent gives a state that is valid', () => {
  const good = toHash({ panes: [randomPane(random(1)), randomPane(random(7))], active: 1, paused: true, axis: 'd', log: true });
  for (let seed = 0; seed < 3000; seed++) {
    const next = random(seed);
    const letters = [...good];
    for (let i = 0; i < 1 + next() * 8; i++) letters.splice(Math.floor(next() * letters.length), Math.floor(next() * 4), word(next, 0));
    const state = fromHash(letters.join(''));
    assert.ok(state.panes.length <= 4 && (state.active === 0 || state.active < state.panes.length));
    for (const pane of state.panes) {
      assert.ok(pane.source.length > 0);
      assert.ok(KINDS.some(({ value }) => value === pane.kind) && ['linear', 'sqrt', 'log'].includes(pane.scale));
      for (const value of [...(pane.range ?? []), ...(pane.roi ?? []), ...(pane.view ? [pane.view.x, pane.view.y, pane.view.zoom] : [])]) assert.ok(Number.isFinite(value));
      if (pane.range) assert.ok(pane.range[0] < pane.range[1]);
      if (pane.roi) assert.ok(pane.roi[0] < pane.roi[2] && pane.roi[1] < pane.roi[3]);
      if (pane.view) assert.ok(pane.view.zoom > 0);
      if (pane.at) assert.ok(Number.isSafeInteger(pane.at.id) && pane.at.stream.length > 0);
    }
  }
});

test('garbage opens the page as if there were none', () => {
  for (const hash of ['', '#', '#;;;;', '#%', '#%zz;s', '#__proto__=1;constructor=2', `#;s=${'x'.repeat(10_000)}`, '#a=-1', '#a=9;', '#p=1', '\u0000']) {
    assert.deepEqual(fromHash(hash), { panes: [], active: 0, paused: false, axis: 'q', log: false }, hash);
  }
});

test('a plain view has a short address', () => {
  assert.equal(toHash({ panes: [defaultPane('bt/eiger')], active: 0, paused: false, axis: 'q', log: false }), '#;s=bt/eiger');
});
