// What is not over time: the radial profile of the picture that is shown, and the histograms of the run.

import { bars, fromRadius, powerTick, profile, quantile, RADIAL_AXES, radialAxesOf, radialAxis, resolutionTick, shortTick, type RadialAxis } from '../../charts/axes';
import type { Histogram, Histograms } from '../../protocol';
import { el, setChoices } from '../dom';
import { count, number } from '../format';
import { ChartCard, type ChartData } from './chart';

export function radialCard(change: (state: { axis?: RadialAxis; log?: boolean }) => void): ChartCard {
  const axes = el('select', { class: 'small', 'aria-label': 'Horizontal axis of the radial profile' });
  const log = el('button', { type: 'button', class: 'small', 'aria-pressed': 'false', title: 'Logarithmic intensity' }, 'log');
  let [axis, isLog]: [RadialAxis, boolean] = ['q', false];
  const card = new ChartCard({
    name: 'radial-profile',
    ofPicture: true,
    title: 'Radial profile',
    wide: true,
    plot: {
      curves: [{ name: 'mean intensity', colour: '--data-2', kind: 'line' }],
      xTicks: (value) => (axis === 'd' ? resolutionTick(value) : shortTick(value)),
      log: () => isLog,
    },
    read: ({ picture, geometry, axis: wish, log: wanted }) => {
      const possible = radialAxesOf(geometry);
      axis = radialAxis(wish, geometry);
      setChoices(axes, RADIAL_AXES.filter((choice) => possible.includes(choice.value)).map(({ value, unit }) => ({ value, text: unit })), axis);
      if (isLog !== wanted) {
        isLog = wanted;
        log.setAttribute('aria-pressed', String(wanted));
        card.redraw(true);
      }
      if (!picture) return 'no picture yet';
      if (!picture.radial || picture.radial.length < 4) return 'no beam centre is known for this picture';
      const [xs, ys] = profile(picture.radial, axis, geometry, isLog);
      if (!xs.length) return 'no beam centre is known for this picture';
      const choice = RADIAL_AXES.find(({ value }) => value === axis) ?? RADIAL_AXES[3];
      const shown = (x: number) => (axis === 'd' ? 1 / x : x);
      const top = ys.reduce<number>((best, y, i) => (y !== null && y > (ys[best] ?? -Infinity) ? i : best), 0);
      const n = picture.radial.length / 2;
      return {
        data: [xs, ys],
        value: '',
        summary: `${choice.unit} from ${number(shown(xs[0]))} to ${number(shown(xs[xs.length - 1]))}, highest mean ${number(ys[top])} at ${number(shown(xs[top]))}`,
        csv: [
          ...possible.map((name) => ({
            name: RADIAL_AXES.find(({ value }) => value === name)?.column ?? name,
            values: Array.from(picture.radial!.subarray(0, n), (radius) => fromRadius(name, radius, geometry)),
          })),
          { name: 'mean', values: Array.from(picture.radial.subarray(n)) },
        ],
        point: (i) => `${number(shown(xs[i]))}  ·  ${number(ys[i])}`,
      };
    },
  });
  axes.addEventListener('change', () => change({ axis: axes.value as RadialAxis }));
  log.addEventListener('click', () => change({ log: !isLog }));
  card.shell.tools.prepend(axes, log);
  return card;
}

interface HistogramSpec {
  name: string;
  title: string;
  colour: string;
  of: (histograms: Histograms) => Histogram;
  column: string;
  ticks?: (value: number) => string;
  say: (value: number | null) => string;
  /** Heights are square roots: what is rare is seen beside what is common. */
  root?: boolean;
  /** Beside the title. */
  value: (histogram: Histogram) => string;
}

function histogramCard(spec: HistogramSpec): ChartCard {
  return new ChartCard({
    name: spec.name,
    title: spec.title,
    liveOnly: true,
    plot: {
      curves: [{ name: spec.title, colour: spec.colour, kind: 'bars' }],
      xTicks: spec.ticks,
      yTicks: spec.root ? (height) => shortTick(height * height) : undefined,
    },
    read: ({ model, source }): ChartData | string => {
      const all = model.histograms.get(source);
      if (!all) return 'nothing found yet';
      const histogram = spec.of(all);
      const [xs, counts] = bars(histogram);
      if (!xs.length) return 'nothing found yet';
      const half = histogram.step / 2;
      return {
        data: [xs, spec.root ? counts.map(Math.sqrt) : counts],
        range: [xs[0] - half, xs[xs.length - 1] + half],
        value: spec.value(histogram),
        summary: `median ${spec.say(quantile(histogram, 0.5))}, ${count(histogram.counts.reduce((sum, c) => sum + c, 0))} counted`,
        csv: [
          { name: spec.column, values: histogram.counts.map((_, i) => histogram.first + i * histogram.step) },
          { name: 'count', values: histogram.counts },
        ],
        point: (i) => `${spec.say(xs[i])}  ·  ${count(counts[i])}`,
      };
    },
  });
}

const sayPower = (value: number | null) => (value === null ? '–' : number(10 ** value));
const sayResolution = (value: number | null) => (value === null || value <= 0 ? '–' : `${number(1 / value)} Å`);

export function histogramCards(): ChartCard[] {
  return [
    histogramCard({
      name: 'peaks-per-frame',
      title: 'Peaks per frame',
      colour: '--data-3',
      of: (all) => all.peaks_per_frame,
      column: 'peaks_per_frame_from',
      root: true,
      say: (value) => number(value === null ? null : Math.floor(value)),
      value: () => '',
    }),
    histogramCard({
      name: 'resolution',
      title: 'Resolution / Å',
      colour: '--data-2',
      of: (all) => all.one_over_resolution,
      column: 'one_over_resolution_from',
      ticks: resolutionTick,
      say: sayResolution,
      value: (histogram) => `to ${sayResolution(quantile(histogram, 0.95))}`, // 95 % of the peaks are at a larger d
    }),
    histogramCard({
      name: 'peak-intensity',
      title: 'Peak intensity',
      colour: '--data-1',
      of: (all) => all.log10_intensity,
      column: 'log10_intensity_from',
      ticks: powerTick,
      say: sayPower,
      value: (histogram) => sayPower(quantile(histogram, 0.5)), // the median
    }),
  ];
}
