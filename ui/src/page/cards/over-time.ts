// The curves over the last ten minutes: hit rate, frame rate and latency, saturation, and the region's statistics.

import { timeRange } from '../../charts/timeline';
import type { Timeline } from '../../charts/timeline';
import { el } from '../dom';
import { clock, duration, number, percent, rate } from '../format';
import type { View } from '../view';
import { ChartCard, type ChartData } from './chart';

type Say = (value: number | null) => string;

function meanOf(values: (number | null)[]): number | null {
  const known = values.filter((value): value is number => value !== null);
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

/** Columns of a timeline as a chart; `say` one per column. */
function lines(line: Timeline | null, names: string[], say: Say[], time_s: number, nothing: string, window_s = 600): ChartData | string {
  if (line === null || line.length === 0) return nothing;
  const [times, ...values] = line.columns(...names);
  if (values.every((list) => list.every((value) => value === null))) return nothing;
  const range = timeRange(times, window_s, time_s);
  const last = (list: (number | null)[]) => list[list.length - 1] ?? null;
  return {
    data: [times, ...values],
    range,
    value: values.map((list, i) => say[i](last(list))).join('  ·  '),
    summary: values
      .map((list, i) => `${names[i].replaceAll('_', ' ')} now ${say[i](last(list))}, mean ${say[i](meanOf(list))} in the last ${duration(range[1] - range[0])}`)
      .join('; '),
    csv: [{ name: 'time_s', values: times }, ...names.map((name, i) => ({ name, values: values[i] }))],
    point: (i) => `${clock(times[i])}  ${values.map((list, k) => say[k](list[i])).join('  ·  ')}`,
  };
}

const sayPercent: Say = (value) => (value === null ? '–' : `${percent(value)} %`);
const sayRate: Say = (value) => (value === null ? '–' : `${rate(value)} Hz`);
const sayAge: Say = (value) => (value === null ? '–' : duration(value));

export function hitRateCard(): ChartCard {
  return new ChartCard({
    name: 'hit-rate',
    liveOnly: true,
    title: 'Hit rate',
    wide: true,
    plot: { time: true, curves: [{ name: 'hit rate', colour: '--data-1', kind: 'area' }], yRange: () => [0, 1] },
    read: ({ model, source, time_s }) =>
      lines(model.timelines.get(source) ?? null, ['hit_rate'], [sayPercent], time_s, 'no peak finder has said anything yet'),
  });
}

function latencyTick(seconds: number): string {
  const power = Math.log10(seconds);
  if (Math.abs(power - Math.round(power)) > 1e-6) return '';
  return seconds < 1 ? `${Math.round(1000 * seconds)} ms` : `${Math.round(seconds)} s`;
}

export function rateCard(): ChartCard {
  return new ChartCard({
    name: 'frame-rate-and-latency',
    liveOnly: true,
    title: 'Rate and latency',
    wide: true,
    plot: {
      time: true,
      curves: [
        { name: 'frame rate', colour: '--data-1', kind: 'line' },
        { name: 'latency', colour: '--data-4', kind: 'line', right: true },
      ],
      rightLog: true,
      rightTicks: latencyTick,
      rightRange: (low, high) => [10 ** Math.floor(Math.log10(Math.max(1e-3, Math.min(low, 0.05)))), 10 ** Math.ceil(Math.log10(Math.max(1, high)))],
    },
    read: ({ model, source, time_s }) => {
      if (model.hello?.offline) return 'a file has no rate';
      const read = lines(model.timelines.get(source) ?? null, ['rate_hz', 'age_s'], [sayRate, sayAge], time_s, 'nothing received yet');
      if (typeof read !== 'string') read.data[2] = read.data[2].map((age) => (age === null ? null : Math.max(1e-3, age)));
      return read;
    },
  });
}

export function saturationCard(): ChartCard {
  return new ChartCard({
    name: 'saturation',
    liveOnly: true,
    title: 'Saturated',
    plot: {
      time: true,
      curves: [{ name: 'frames with saturated pixels', colour: '--data-3', kind: 'area' }],
      yTicks: (share) => `${Number((100 * share).toPrecision(3))}%`,
      yRange: (_, high) => [0, Number.isFinite(high) && high > 0 ? Math.min(1, Math.max(0.01, high * 1.2)) : 0.01],
    },
    read: ({ model, source, time_s }) => {
      const read = lines(model.timelines.get(source) ?? null, ['saturated'], [sayPercent], time_s, 'no peak finder has said anything yet');
      if (typeof read === 'string') return read;
      read.value = sayPercent(lastKnown(read.data[1]));
      return read;
    },
  });
}

function lastKnown(values: (number | null)[]): number | null {
  for (let i = values.length - 1; i >= 0; i--) if (values[i] !== null) return values[i];
  return null;
}

export const ROI_NAMES = ['mean', 'total', 'maximum'];

/** The statistics of the region in the pictures that were drawn; hidden while there is none. */
export function regionCard(): ChartCard {
  const which = el('select', { class: 'small', 'aria-label': 'Statistic of the region' }, ...ROI_NAMES.map((name) => el('option', {}, name)));
  let view: View | null = null;
  const card = new ChartCard({
    name: 'region',
    ofPicture: true,
    title: 'Region of interest',
    wide: true,
    plot: { time: true, curves: [{ name: 'region', colour: '--data-2', kind: 'line' }], yRange: around },
    read: (now) => {
      view = now;
      card.element.hidden = !now.pane?.roi;
      return lines(now.roi, [which.value], [number], now.roi?.lastTime ?? now.time_s, 'no picture with the region yet');
    },
  });
  card.element.hidden = true;
  which.addEventListener('change', () => view && card.update(view));
  card.shell.tools.prepend(which);
  return card;
}

/** The stretch of the data with some air, and zero if it is near. */
function around(low: number, high: number): [number, number] {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  const air = Math.max((high - low) * 0.1, Math.abs(high) * 0.02, 1e-9);
  return [low >= 0 && low < (high - low) * 2 ? 0 : low - air, high + air];
}
