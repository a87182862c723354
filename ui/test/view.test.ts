// The viewport, what is asked for, and how long is waited between tries.

import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { Wishes, type Part } from '../src/image/asking';
import {
  covers,
  fitView,
  frameOf,
  levelFor,
  MOST_ZOOM,
  panned,
  saneView,
  toCanvas,
  toPicture,
  visibleRect,
  wishFor,
  zoomedAt,
  type Shape,
} from '../src/image/viewport';
import type { Connection, PaneState } from '../src/interfaces';
import type { PaneWish, Request } from '../src/protocol';
import { Backoff } from '../src/wire/backoff';

const shape: Shape = [2167, 2070];
const canvas = { width: 1200, height: 800, ratio: 2 };
const near = (a: readonly number[], b: readonly number[], by = 1e-9) =>
  a.forEach((x, i) => assert.ok(Math.abs(x - b[i]) <= by, `${a} is not ${b}`));

test('a picture fits into its canvas, in the middle', () => {
  const frame = frameOf(null, shape, canvas);
  near([frame.scale], [800 / 2167]);
  near(toCanvas(frame, 1035, 1083.5), [600, 400], 0.5);
  const [x0, y0, x1, y1] = visibleRect(frame, canvas);
  assert.ok(x0 < 0 && x1 > 2070 && Math.abs(y0) < 2 && Math.abs(y1 - 2167) < 2);
});

test('a fit stays a fit when the canvas or the picture has another size', () => {
  for (const other of [{ width: 300, height: 300, ratio: 1 }, { width: 50, height: 900, ratio: 1.5 }]) {
    const frame = frameOf(null, shape, other);
    near([frame.scale], [Math.min(other.width / 2070, other.height / 2167)]);
  }
});

test('a small picture is not enlarged beyond the largest zoom', () => {
  assert.equal(fitView([2, 2], canvas).zoom, MOST_ZOOM);
});

test('to the picture and back', () => {
  const frame = frameOf({ x: 77.3, y: 1999, zoom: 3.7 }, shape, canvas);
  near(toCanvas(frame, ...toPicture(frame, 123, 456)), [123, 456]);
});

test('zooming keeps what is under the cursor', () => {
  const at: [number, number] = [500, 300];
  const before = toPicture(frameOf(null, shape, canvas), ...at);
  const view = zoomedAt(null, shape, canvas, at, 30);
  near(toPicture(frameOf(view, shape, canvas), ...at), before, 0.5 / (view.zoom * canvas.ratio));
});

test('zooming ends at 96 times, and below half of the fit', () => {
  assert.equal(zoomedAt(null, shape, canvas, [600, 400], 1e9).zoom, MOST_ZOOM);
  near([zoomedAt(null, shape, canvas, [600, 400], 1e-9).zoom], [fitView(shape, canvas).zoom / 2]);
});

test('a view from an address is one that can be drawn, or none', () => {
  assert.equal(saneView({ x: NaN, y: 0, zoom: 1 }), null);
  assert.equal(saneView({ x: 0, y: 0, zoom: 0 }), null);
  assert.equal(saneView(null), null);
  assert.deepEqual(saneView({ x: 1, y: 2, zoom: 1e9 }), { x: 1, y: 2, zoom: MOST_ZOOM });
});

test('panning moves by device pixels, and not away from the picture', () => {
  const view = panned({ x: 1000, y: 1000, zoom: 2 }, shape, canvas, 40, -80);
  near([view.x, view.y], [990, 1020]);
  const away = panned(view, shape, canvas, 1e9, 1e9);
  near([away.x, away.y], [0, 0]);
});

test('whole device pixels: a pan by them changes no pixel', () => {
  const view = { x: 1000.3, y: 1000.7, zoom: 0.77 };
  const a = frameOf(view, shape, canvas);
  const b = frameOf(panned(view, shape, canvas, 13, -7), shape, canvas);
  assert.deepEqual([b.left - a.left, b.top - a.top], [13, -7]);
});

test('levels are those whose pixels are not wider than a pixel of the screen', () => {
  assert.deepEqual([96, 1, 0.6, 0.5, 0.4, 0.25, 0.13].map(levelFor), [0, 0, 0, 1, 1, 2, 2]);
});

test('what is asked for is what is seen, at the size of the screen', () => {
  const frame = frameOf({ x: 1000, y: 1000, zoom: 1 }, shape, canvas);
  const wish = wishFor(frame, canvas, shape);
  assert.deepEqual(wish.rect, [700, 800, 1300, 1200]);
  assert.deepEqual(wish.canvas, [1200, 800]);
  const whole = wishFor(frameOf(null, shape, canvas), canvas, shape);
  assert.deepEqual(whole.rect, [0, 0, 2070, 2167]);
  assert.ok(covers(whole.rect, visibleRect(frameOf(null, shape, canvas), canvas), shape));
});

// --- wishes

const state: PaneState = {
  source: 's',
  kind: 'frame',
  view: null,
  map: 'Grey',
  scale: 'sqrt',
  range: null,
  mask: true,
  pool: 'max',
  full: false,
  rings: true,
  peaks: true,
  roi: null,
  at: null,
};

function wishes(): { ask: (changes?: Partial<PaneState>, have?: Part | null) => void; sent: PaneWish[] } {
  const sent: PaneWish[] = [];
  const connection: Connection = {
    send: (request: Request) => void (request.t === 'pane' && sent.push(request)),
    on: () => {},
    recycle: () => {},
  };
  const asker = new Wishes(0, connection);
  return {
    sent,
    ask: (changes = {}, have = null) => {
      const now = { ...state, ...changes };
      asker.update(now, frameOf(now.view, shape, canvas), canvas, shape, have);
      mock.timers.tick(100);
    },
  };
}

test('wishes are sent when something is missing, and not before', () => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const { ask, sent } = wishes();
  ask();
  ask();
  assert.equal(sent.length, 1);
  ask({ map: 'Heat', scale: 'log', range: [0, 9], rings: false, peaks: false });
  assert.equal(sent.length, 1, 'looks are no business of the server');
  ask({ mask: false });
  assert.equal(sent.at(-1)?.masked, false);
  assert.equal(sent.length, 2);
  const view = { x: 1000, y: 1000, zoom: 1 };
  ask({ mask: false, view });
  assert.equal(sent.length, 3);
  ask({ mask: false, view: { ...view, x: 1010 } }, { rect: [600, 700, 1400, 1300], level: 0 });
  assert.equal(sent.length, 3, 'a small pan is in what has come');
  ask({ mask: false, view: { ...view, x: 1400 } });
  assert.equal(sent.length, 4);
  ask({ mask: false, view: { ...view, x: 1400, zoom: 20 } });
  assert.equal(sent.length, 5, 'far fewer pixels are needed');
  mock.timers.reset();
});

test('where a step has led needs no wish, and the next wish says it', () => {
  const sent: PaneWish[] = [];
  const asker = new Wishes(0, { send: (request) => void sent.push(request as PaneWish), on: () => {}, recycle: () => {} });
  asker.update(state, frameOf(null, shape, canvas), canvas, shape, null);
  const at = { stream: 'run_1', id: 7 };
  asker.stands(at);
  asker.update({ ...state, at }, frameOf(null, shape, canvas), canvas, shape, null);
  assert.equal(sent.length, 1);
  asker.update({ ...state, at, mask: false }, frameOf(null, shape, canvas), canvas, shape, null);
  assert.deepEqual(sent[1].at, at);
});

test('many moves are few wishes, but not only one at the end', () => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'] });
  const sent: Request[] = [];
  const asker = new Wishes(0, { send: (request) => void sent.push(request), on: () => {}, recycle: () => {} });
  asker.update(state, frameOf(null, shape, canvas), canvas, shape, null);
  for (let zoom = 1; zoom < 40; zoom++) {
    const view = { x: 1000, y: 1000, zoom };
    asker.update({ ...state, view }, frameOf(view, shape, canvas), canvas, shape, null);
    mock.timers.tick(10);
  }
  mock.timers.tick(100);
  assert.ok(sent.length >= 3 && sent.length <= 6, `${sent.length} wishes`);
  mock.timers.reset();
});

test('a pane is opened before anything is known of its picture', () => {
  const sent: Request[] = [];
  const asker = new Wishes(2, { send: (request) => void sent.push(request), on: () => {}, recycle: () => {} });
  asker.update(state, null, canvas, null, null);
  assert.deepEqual((sent[0] as PaneWish).canvas, [1200, 800]);
  assert.equal((sent[0] as PaneWish).pane, 2);
});

// --- waiting

test('tries are 0.5 s apart, then more, 10 s at most; a good connection starts anew', () => {
  const backoff = new Backoff();
  assert.deepEqual(Array.from({ length: 7 }, () => backoff.after(0)), [0.5, 1, 2, 4, 8, 10, 10]);
  assert.equal(backoff.after(60), 0.5);
  assert.equal(backoff.refused(), 10);
  assert.equal(backoff.after(0), 10);
  backoff.reset();
  assert.equal(backoff.after(0), 0.5);
});
