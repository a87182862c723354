// Numbers, times and tables as people and spreadsheets read them.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { csv } from '../src/charts/csv';
import { bytes, clock, count, duration, number, percent, plural, rate, shortName, shortNames, span, ticks } from '../src/page/format';

const T = '\u202f';

test('counts have groups of three', () => {
  assert.deepEqual([0, 999, 1000, 1234567, -12345].map(count), ['0', '999', `1${T}000`, `1${T}234${T}567`, `-12${T}345`]);
  assert.deepEqual([null, undefined, NaN, Infinity].map(count), ['–', '–', '–', '–']);
});

test('numbers have three digits', () => {
  assert.deepEqual([0, 0.12345, 1, 4.518, 42.46, 99.96, 123.4, 999.4, 1234.4, 1.5e8, 1e-5].map(number), [
    '0', '0.123', '1.00', '4.52', '42.5', '100', '123', '999', `1${T}234`, '1.50e8', '1.00e-5',
  ]);
  assert.equal(number(null), '–');
});

test('rates, shares and sizes', () => {
  assert.deepEqual([0, 133.04, 12345.6].map(rate), ['0.0', '133.0', `12${T}346`]);
  assert.deepEqual([0, 0.4251, 1].map(percent), ['0.0', '42.5', '100.0']);
  assert.deepEqual([0, 999, 1500, 46.7e9, 128e9, 999.9e9, 3e18].map(bytes), ['0 B', '999 B', '1.5 kB', '46.7 GB', '128 GB', '1.0 TB', '3000 PB']);
});

test('spans of time change their unit where people do', () => {
  assert.deepEqual([0, 0.0194, 0.9999, 1.44, 59.94, 59.99, 125, 3599, 11520, 180000].map(duration), [
    '0 ms', '19 ms', '1.0 s', '1.4 s', '59.9 s', '59.9 s', '2:05 min', '59:59 min', '3:12 h', '2 d 2 h',
  ]);
  assert.deepEqual(span(null), ['–', '']);
  assert.equal(duration(-5), '0 ms');
  assert.deepEqual([0.9, 12.9, 61].map(ticks), ['0 s', '12 s', '1:01 min']);
});

test('times of day that make no sense are said to be unknown', () => {
  assert.match(clock(1_700_000_000), /^\d\d:\d\d:\d\d$/);
  assert.match(clock(1_700_000_000, false), /^\d\d:\d\d$/);
  assert.equal(clock(1e20), '–');
});

test('names are shortened as long as they stay apart', () => {
  assert.equal(shortName('11027312/eiger4m'), 'eiger4m');
  assert.equal(shortName('run.nxs'), 'run.nxs');
  assert.deepEqual(shortNames(['1/a', '1/b']), ['a', 'b']);
  assert.deepEqual(shortNames(['1/a', '2/a']), ['1/a', '2/a']);
  assert.deepEqual([plural(1, 'peak'), plural(0, 'peak')], ['1 peak', '0 peaks']);
});

test('a table with gaps, commas, quotes and formulas survives as CSV', () => {
  const text = csv([
    { name: 'time_s', values: [1.5, 2, NaN] },
    { name: 'a "name", twice', values: ['x,y', '=1+1', null] },
    { name: 'short', values: Float32Array.of(0.5) },
  ]);
  assert.equal(text, 'time_s,"a ""name"", twice",short\r\n1.5,"x,y",0.5\r\n2,\'=1+1,\r\n,,\r\n');
  assert.equal(csv([]), '\r\n');
});
