// What stands below the curves: the radius of a profile as q, 2θ, d or pixels, the bins of a histogram, and their ticks.

import type { Geometry, Histogram } from '../protocol';

export type RadialAxis = 'q' | '2theta' | 'd' | 'r';

export const RADIAL_AXES: { value: RadialAxis; text: string; unit: string; column: string }[] = [
  { value: 'q', text: 'q', unit: 'q / Å⁻¹', column: 'q_per_angstrom' },
  { value: '2theta', text: '2θ', unit: '2θ / °', column: 'two_theta_deg' },
  { value: 'd', text: 'd', unit: 'd / Å', column: 'd_angstrom' },
  { value: 'r', text: 'radius', unit: 'r / pixels', column: 'radius_pixels' },
];

/** Which axes a geometry allows: the angle needs distance and pixel size, q and d the wavelength as well. */
export function radialAxesOf(geometry: Geometry | null): RadialAxis[] {
  const angle = geometry !== null && geometry.distance_m !== null && geometry.pixel_m !== null;
  if (!angle) return ['r'];
  return geometry.wavelength_a !== null ? ['q', '2theta', 'd', 'r'] : ['2theta', 'r'];
}

/** The one that is shown: the wish where the geometry allows it, pixels otherwise. */
export function radialAxis(wish: RadialAxis, geometry: Geometry | null): RadialAxis {
  const possible = radialAxesOf(geometry);
  return possible.includes(wish) ? wish : possible[0];
}

function angle(radius: number, geometry: Geometry): number {
  const [px, py] = geometry.pixel_m as [number, number];
  return Math.atan((radius * Math.sqrt(px * py)) / (geometry.distance_m as number)); // 2θ [rad]
}

/** A radius [pixels] on that axis; d of radius 0 is infinite. */
export function fromRadius(axis: RadialAxis, radius: number, geometry: Geometry | null): number {
  if (axis === 'r' || geometry === null) return radius;
  const both = angle(radius, geometry);
  if (axis === '2theta') return (both * 180) / Math.PI;
  const q = (4 * Math.PI * Math.sin(both / 2)) / (geometry.wavelength_a as number);
  return axis === 'q' ? q : (2 * Math.PI) / q;
}

/**
 * A radial profile, (2, n): radius and mean, as two rising lists. On the axis d the curve is drawn over 1/d, as q is, and the
 * ticks say d: evenly spaced d would give half of the chart to the beam stop.
 */
export function profile(radial: Float32Array, axis: RadialAxis, geometry: Geometry | null, log: boolean): [number[], (number | null)[]] {
  const n = radial.length / 2;
  const xs: number[] = [];
  const ys: (number | null)[] = [];
  for (let i = 0; i < n; i++) {
    const x = axis === 'd' ? 1 / fromRadius('d', radial[i], geometry) : fromRadius(axis, radial[i], geometry);
    const y = radial[n + i];
    if (!Number.isFinite(x) || (xs.length && x <= xs[xs.length - 1])) continue;
    xs.push(x);
    ys.push(!Number.isFinite(y) || (log && y <= 0) ? null : y);
  }
  return [xs, ys];
}

/** Bin centres and counts, without the empty bins at both ends; at least `least` bins so that one bar is no wall. */
export function bars(histogram: Histogram | null, least = 12): [number[], number[]] {
  if (histogram === null || !(histogram.step > 0) || !Number.isFinite(histogram.first)) return [[], []];
  const { counts } = histogram;
  let first = counts.findIndex((c) => c > 0);
  if (first < 0) return [[], []];
  let last = counts.length - 1;
  while (counts[last] <= 0) last -= 1;
  if (histogram.first + first * histogram.step <= least * histogram.step && histogram.first >= 0) first = 0; // shows the zero if it is near
  last = Math.min(counts.length - 1, Math.max(last, first + least - 1));
  first = Math.max(0, Math.min(first, last - least + 1));
  const xs: number[] = [];
  for (let i = first; i <= last; i++) xs.push(histogram.first + (i + 0.5) * histogram.step);
  return [xs, counts.slice(first, last + 1)];
}

/** The bin below which a share of all counts lies, as the value at its middle; null where there is nothing. */
export function quantile(histogram: Histogram | null, share: number): number | null {
  if (histogram === null) return null;
  const total = histogram.counts.reduce((sum, c) => sum + c, 0);
  if (!(total > 0)) return null;
  let sum = 0;
  for (let i = 0; i < histogram.counts.length; i++) {
    sum += histogram.counts[i];
    if (sum >= share * total) return histogram.first + (i + 0.5) * histogram.step;
  }
  return null;
}

const SUPERSCRIPT = '⁰¹²³⁴⁵⁶⁷⁸⁹';

/** log10 of a number as a tick: 0 → «1», 2 → «100», 4 → «10⁴», −1 → «0.1». */
export function powerTick(log10: number): string {
  if (!Number.isInteger(log10)) return '';
  if (log10 >= -2 && log10 <= 3) return String(Number((10 ** log10).toPrecision(1)));
  return `10${log10 < 0 ? '⁻' : ''}${[...String(Math.abs(log10))].map((digit) => SUPERSCRIPT[Number(digit)]).join('')}`;
}

/** 1/d as a tick in Å. */
export function resolutionTick(perAngstrom: number): string {
  if (!(perAngstrom > 0)) return '∞';
  const d = 1 / perAngstrom;
  return d >= 9.95 ? d.toFixed(0) : d.toFixed(d >= 1.995 ? 1 : 2);
}

/** A number on an axis in few letters: 1500 → «1.5k», 2000000 → «2M». */
export function shortTick(value: number): string {
  const size = Math.abs(value);
  for (const [unit, letter] of [[1e9, 'G'], [1e6, 'M'], [1e3, 'k']] as const) {
    if (size >= unit) return `${Number((value / unit).toPrecision(3))}${letter}`;
  }
  return size !== 0 && size < 1e-3 ? value.toExponential(0) : String(Number(value.toPrecision(4)));
}
