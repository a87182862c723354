// Where a pane stands among the messages, however answers and steps cross each other.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Following } from '../src/image/following';
import type { PictureHeader } from '../src/protocol';

const header = (id: number, follows = false) => ({ follows, stream: 'run_1', id }) as PictureHeader;
const at = (id: number) => ({ stream: 'run_1', id });

test('a pane that follows stays so, also when an older message is still on its way', () => {
  const following = new Following();
  following.asked(null);
  assert.equal(following.take(header(3, true), null), null);
  assert.equal(following.take(header(2), null), null);
});

test('a step leads to what comes next, and to what comes after that', () => {
  const following = new Following();
  following.stepped();
  following.stepped();
  assert.ok(following.isUnknown);
  assert.deepEqual(following.take(header(4), null), at(4));
  assert.ok(following.isUnknown, 'the second step is on its way');
  assert.deepEqual(following.take(header(5), at(4)), at(5));
  assert.ok(!following.isUnknown);
  assert.equal(following.take(header(5), at(5)), null);
});

test('what was on its way before another message was asked for changes nothing', () => {
  const following = new Following();
  following.asked(at(20));
  assert.equal(following.take(header(7), at(20)), null);
  assert.equal(following.take(header(20), at(20)), null);
  assert.deepEqual(following.take(header(21), at(20)), at(21));
});

test('a step that shows nothing is forgotten after a while', () => {
  let now_ms = 0;
  const following = new Following(() => now_ms);
  following.stepped();
  now_ms = 5000;
  assert.ok(!following.isUnknown);
  following.stepped();
  following.gaveUp();
  assert.ok(!following.isUnknown);
});
