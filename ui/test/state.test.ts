// What the page makes of what the server says: how alive it is, who falls behind, what is shown of a run that has ended.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { receiptFacts } from '../src/page/cards/events';
import { bufferCells } from '../src/page/cards/delivery';
import { ageNow, liveness, outage, type Line } from '../src/page/liveness';
import { Model } from '../src/page/model';
import { bannerText, type Where } from '../src/page/pane-navigation';
import { boundsText, parse } from '../src/page/tuning/form';
import type { GroupNumbers, Numbers, SourceNumbers } from '../src/protocol';

const LINE: Line = { open: true, everOpen: true, closed_ms: 0, retry_ms: null, why: '', offline: false };
const SOURCE: SourceNumbers = {
  stream: 'r1', life: 'live', state: 'open', n_received: 10, n_expected: null, n_missing: 0, n_dropped: 0, n_expired: 0, n_late: 0,
  n_duplicate: 0, newest_id: 10, rate_hz: 10, rate_mb_s: 1, age_s: 0.02, detector_dropped: null, hits: null,
};
const GROUP: GroupNumbers = {
  source: 's', stream: 'r1', name: 'g', members: 1, rate_hz: 1, lag_messages: 0, lag_s: 0, redelivered: 0, dead: 0, skipped: 0, required: false,
};

function numbers(time_s: number, source: Partial<SourceNumbers> = {}, lag = 0): Numbers {
  return {
    t: 'numbers', time_s, sources: { s: { ...SOURCE, ...source } }, groups: [{ ...GROUP, lag_messages: lag }], viewers: 1,
    buffer: { reachable: true, flaw: '', used_bytes: 0, limit_bytes: null, n_spilled: null, spilling: false, folder: null, disk_free_bytes: null },
  };
}

test('live becomes delayed and silent by the page’s own clock when nothing is heard', () => {
  assert.deepEqual([0, 2900, 3100, 10_100].map((now_ms) => liveness(LINE, SOURCE, 0, now_ms)), ['live', 'live', 'delayed', 'silent']);
  assert.equal(liveness(LINE, { ...SOURCE, life: 'finished' }, 0, 60_000), 'finished');
  assert.equal(liveness(LINE, { ...SOURCE, life: 'delayed' }, 0, 0), 'delayed');
  assert.equal(liveness({ ...LINE, offline: true }, SOURCE, 0, 0), 'file');
  assert.equal(liveness(LINE, null, 0, 0), 'connecting');
});

test('a line that is down is connecting, reconnecting or closed', () => {
  const down = { ...LINE, open: false, retry_ms: 5000 };
  assert.equal(liveness({ ...down, everOpen: false }, SOURCE, 0, 0), 'connecting');
  assert.equal(liveness(down, SOURCE, 0, 0), 'reconnecting');
  assert.equal(liveness({ ...down, retry_ms: null, why: 'no' }, SOURCE, 0, 0), 'closed');
  assert.equal(outage(LINE, 0), null);
  assert.equal(outage(down, 2000), 'The server is gone since 2 s; next try in 3 s. What you see is old.');
  assert.equal(outage(down, 6000), 'The server is gone since 6 s; trying again. What you see is old.');
  assert.match(outage({ ...down, retry_ms: null, why: 'token' }, 0) ?? '', /closed the connection \(token\)/);
});

test('the age goes on while nothing is heard', () => {
  assert.equal(ageNow(SOURCE, 1000, 3000), 2.02);
  assert.equal(ageNow({ ...SOURCE, age_s: null }, 0, 0), null);
  assert.equal(ageNow(null, 0, 0), null);
});

test('a group is behind above fifty messages, and growing where it only gets worse', () => {
  const steady = new Model();
  const growing = new Model();
  for (let t = 0; t <= 10; t += 0.5) {
    steady.take(numbers(t, {}, 80), 0);
    growing.take(numbers(t, {}, 80 + 20 * t), 0);
  }
  assert.equal(steady.trend(steady.groups[0]), 'behind');
  assert.equal(growing.trend(growing.groups[0]), 'growing');
  assert.equal(growing.trend({ ...GROUP, lag_messages: 50 }), 'fine');
});

test('the share of saturated frames is that of the frames since', () => {
  const model = new Model();
  const hits = { n_frames: 100, n_hits: 1, n_peaks: 1, hit_rate: 0, hit_rate_of_late: 0.5, n_frames_saturated: 50, lag: 0 };
  model.take(numbers(1, { hits }), 0);
  model.take(numbers(2, { hits: { ...hits, n_frames: 110, n_frames_saturated: 51 } }), 0);
  model.take(numbers(3, { hits: { ...hits, n_frames: 110, n_frames_saturated: 51 } }), 0);
  assert.deepEqual(model.timeline('s').columns('saturated')[1], [null, 0.1, null]);
});

test('a log that is sent anew replaces the old one, and stays bounded', () => {
  const model = new Model();
  const entry = { time_s: 1, level: 'info' as const, text: 'x' };
  model.opened();
  model.take({ t: 'log', entries: [entry, entry] }, 0);
  model.take({ t: 'log', entries: new Array(1000).fill(entry) }, 0);
  assert.equal(model.log.length, 500);
  model.opened();
  model.take({ t: 'log', entries: [entry] }, 0);
  assert.equal(model.log.length, 1);
});

test('a receipt stays until it is dismissed, and does not come back', () => {
  const model = new Model();
  const receipt = { t: 'receipt' as const, source: 's', stream: 'r1', receipt: {} };
  model.take(receipt, 0);
  model.take({ ...receipt, receipt: { clean: true } }, 0);
  assert.equal(model.receipts.length, 1);
  model.dismiss(model.receipts[0]);
  model.take(receipt, 0);
  assert.equal(model.receipts.length, 0);
  for (let i = 0; i < 100; i++) model.take({ ...receipt, stream: `q${i}` }, 0);
  assert.equal(model.receipts.length, 20);
});

test('a receipt says what is lost, whatever is in it', () => {
  const facts = new Map(receiptFacts({ received: 90, expected: 100, n_missing: 10, missing: [[1, 5], [7, 7]], written: 89, file: '/a/b.nxs', payload_bytes: 1e9 }));
  assert.equal(facts.get('received')?.text, '90 of 100');
  assert.deepEqual([facts.get('missing')?.state, facts.get('written')?.state], ['bad', 'bad']);
  assert.equal(facts.get('ids missing')?.text, '1–5, 7');
  assert.deepEqual([facts.get('file')?.text, facts.get('data')?.text], ['b.nxs', '1.0 GB']);
  assert.equal(new Map(receiptFacts({})).get('received')?.text, '–');
  assert.equal(new Map(receiptFacts({ missing: 'x', received: null, written: {} })).has('written'), false);
});

test('the buffer says in words what is wrong', () => {
  const buffer = numbers(1).buffer;
  assert.deepEqual(bufferCells({ ...buffer, reachable: false, flaw: 'no answer' }, null).map((cell) => cell.text), ['unknown', 'no answer', '']);
  assert.equal(bufferCells({ ...buffer, used_bytes: 97, limit_bytes: 100 }, 0.97)[0].state, 'bad');
  assert.equal(bufferCells({ ...buffer, spilling: true, n_spilled: 3 }, null)[1].text, 'spilling: 3 messages on disk');
  assert.equal(bufferCells({ ...buffer, flaw: 'folder is full' }, null)[1].state, 'bad');
  assert.equal(bufferCells({ ...buffer, disk_free_bytes: 5e9 }, null)[2].state, 'warn');
});

test('a picture that does not follow says how far behind it is', () => {
  const where: Where = { shown: true, offline: false, paused: true, stream: 'r1', id: 5, first_id: 1, last_id: 61, n_behind: 56, steps: true };
  assert.equal(bannerText(where), 'paused, 56 behind');
  assert.equal(bannerText({ ...where, n_behind: null }), 'paused, another run has started');
  assert.equal(bannerText({ ...where, paused: false, n_behind: null }), 'r1: not the newest run');
  assert.equal(bannerText({ ...where, steps: false }), 'paused');
  assert.equal(bannerText({ ...where, offline: true }), 'of 61');
});

test('a parameter out of its bounds is refused in words', () => {
  const parameter = { name: 'snr', kind: 'float', value: 5, default: 5, minimum: 0, maximum: 100, unit: null, help: null };
  assert.deepEqual(parse(parameter, '7.5'), { value: 7.5 });
  for (const text of ['', 'x', '-1', '101', 'Infinity']) assert.ok('error' in parse(parameter, text), text);
  assert.ok('error' in parse({ ...parameter, kind: 'int' }, '1.5'));
  assert.deepEqual(parse({ ...parameter, default: null }, ''), { value: null });
  assert.equal(boundsText(parameter), '0 to 100, default 5');
});
