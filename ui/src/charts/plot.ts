// One chart: uPlot in the page's colours and at the size of its box. Colours are read from the theme whenever it is
// drawn, so that a change of theme needs a redraw only; nothing is animated.

import uPlot from 'uplot';
import { clock } from '../page/format';
import { shortTick } from './axes';

export interface Curve {
  name: string;
  /** A custom property of the theme. */
  colour: string;
  kind: 'line' | 'area' | 'bars';
  /** On the axis at the right. */
  right?: boolean;
}

export interface PlotOptions {
  curves: Curve[];
  time?: boolean;
  /** Ticks below; numbers in short form without it. */
  xTicks?: (value: number) => string;
  yTicks?: (value: number) => string;
  rightTicks?: (value: number) => string;
  /** The range on the left; from zero up to the data without it. */
  yRange?: (low: number, high: number) => [number, number];
  rightRange?: (low: number, high: number) => [number, number];
  rightLog?: boolean;
  log?: () => boolean;
  /** The pointer is over a point, or null: nowhere. */
  hover?: (index: number | null) => void;
}

export function themeColour(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim() || '#888';
}

/** A colour #rrggbb with some transparency. */
function faint(colour: string, alpha: string): string {
  return /^#[0-9a-f]{6}$/i.test(colour) ? colour + alpha : colour;
}

const FONT = '11px system-ui, "DejaVu Sans", sans-serif';
const TIME_STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600]; // seconds that clocks are read in

function timeTicks(_: uPlot, splits: number[], _axis: number, _space: number, step: number): string[] {
  return splits.map((split) => clock(split, step < 60));
}

/** Ticks with seconds are wider [pixels]. */
function timeSpace(_: uPlot, _axis: number, low: number, high: number, pixels: number): number {
  return high - low < pixels ? 66 : 46;
}

export class Plot {
  private plot: uPlot;
  private readonly host: HTMLElement;
  private readonly options: PlotOptions;
  private readonly observer: ResizeObserver;
  private range: [number, number] | null = null;
  private data: uPlot.AlignedData;

  constructor(host: HTMLElement, options: PlotOptions) {
    this.host = host;
    this.options = options;
    this.data = [[], ...options.curves.map(() => [])] as unknown as uPlot.AlignedData;
    this.plot = this.make();
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(host);
  }

  /** Gives it new data; `range` is the stretch of x to show, that of the data without it. */
  set(data: (number | null)[][], range: [number, number] | null = null): void {
    this.data = data as unknown as uPlot.AlignedData;
    this.range = range;
    if (this.host.clientWidth > 0) this.plot.setData(this.data);
  }

  /** After the theme or a switch of scale has changed. */
  redraw(rescale = false): void {
    if (rescale) {
      this.plot.destroy();
      this.plot = this.make();
    } else this.plot.redraw(false, true);
  }

  dispose(): void {
    this.observer.disconnect();
    this.plot.destroy();
  }

  private resize(): void {
    const { clientWidth: width, clientHeight: height } = this.host;
    if (width < 20 || height < 20 || (width === this.plot.width && height === this.plot.height)) return;
    this.plot.setSize({ width, height });
    this.plot.setData(this.data);
  }

  private make(): uPlot {
    const { curves, time, xTicks, yTicks, rightTicks } = this.options;
    const right = curves.some((curve) => curve.right);
    const log = this.options.log?.() ?? false;
    const line = () => themeColour('--line');
    const axis = (extra: uPlot.Axis): uPlot.Axis => ({
      stroke: () => themeColour('--muted'),
      grid: { stroke: line, width: 1 },
      ticks: { show: false },
      font: FONT,
      gap: 4,
      ...extra,
    });
    const ticks = (own?: (value: number) => string): uPlot.Axis.Values => (_, splits) =>
      splits.map((split) => (split === null ? '' : (own ?? shortTick)(split)));
    const scales: Record<string, uPlot.Scale> = {
      x: { time: !!time, range: (_, low, high) => this.range ?? widen(low, high) },
      y: log ? { distr: 3 } : { range: (_, low, high) => (this.options.yRange ?? fromZero)(low, high) },
    };
    const axes: uPlot.Axis[] = [
      axis({ size: 20, space: time ? timeSpace : 46, values: time ? timeTicks : ticks(xTicks), ...(time ? { incrs: TIME_STEPS } : {}) }),
      axis({ size: 40, space: 26, values: log ? logTicks : ticks(yTicks), ...(right ? { stroke: () => themeColour(curves[0].colour) } : {}) }),
    ];
    if (right) {
      scales.right = this.options.rightLog
        ? { distr: 3, range: (_, low, high) => this.options.rightRange?.(low, high) ?? [low, high] }
        : { range: (_, low, high) => (this.options.rightRange ?? fromZero)(low, high) };
      const colour = curves.find((curve) => curve.right)?.colour ?? '--muted'; // an axis has the colour of its curve
      axes.push(axis({ scale: 'right', side: 1, size: 48, space: 22, grid: { show: false }, stroke: () => themeColour(colour), values: ticks(rightTicks) }));
    }
    return new uPlot(
      {
        width: Math.max(20, this.host.clientWidth),
        height: Math.max(20, this.host.clientHeight),
        legend: { show: false },
        padding: [8, right ? 0 : time ? 26 : 14, 0, 0], // half of the last tick
        cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
        hooks: { setCursor: [(u) => this.options.hover?.(u.cursor.left !== undefined && u.cursor.left >= 0 ? u.cursor.idx ?? null : null)] },
        scales,
        axes,
        series: [{}, ...curves.map((curve) => series(curve))],
      },
      this.data,
      this.host,
    );
  }
}

function series(curve: Curve): uPlot.Series {
  const paths = curve.kind === 'bars' ? uPlot.paths.bars?.({ size: [0.86, 60], align: 0 }) : undefined;
  return {
    label: curve.name,
    scale: curve.right ? 'right' : 'y',
    stroke: () => themeColour(curve.colour),
    fill: curve.kind === 'line' ? undefined : () => faint(themeColour(curve.colour), curve.kind === 'bars' ? '99' : '2e'),
    width: curve.kind === 'bars' ? 0 : 1.5,
    points: { show: false },
    ...(paths ? { paths } : {}),
  };
}

function fromZero(_low: number, high: number): [number, number] {
  return [0, Number.isFinite(high) && high > 0 ? high * 1.08 : 1];
}

function widen(low: number, high: number): [number, number] {
  if (!Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

function logTicks(_: uPlot, splits: number[]): string[] {
  return splits.map((split) => (split !== null && Math.abs(Math.log10(split) % 1) < 1e-6 ? shortTick(split) : ''));
}
