// The colour bar: which value has which colour, how many pixels have it, and two handles for the ends of the contrast.
//
// Its axis is log10(1 + value), as the header's histogram is.

import type { Histogram } from '../protocol';
import type { Colours } from './colours';
import { make } from './dom';
import { valueText } from './readout';

const HEIGHT = 30;
/** Height of the colours below the histogram. */
const STRIP = 9;
const STEP = 0.01;
const PAGE = 0.1;
const ENDS = ['low', 'high'] as const;

type End = 0 | 1;

const toAxis = (value: number): number => Math.log10(1 + Math.max(0, value));
const toValue = (u: number): number => 10 ** u - 1;

export class ColourBar {
  readonly element = make('div', 'pane-bar');
  private readonly canvas = make('canvas', 'pane-bar-canvas', { 'aria-hidden': 'true' });
  private readonly handles: HTMLElement[];
  private range: [number, number] = [0, 1];
  private histogram: Histogram | null = null;
  private colours: Colours | null = null;
  /** The axis' end; it stays while a handle is dragged. */
  private end = 1;
  private dragged: End | null = null;

  constructor(private readonly changed: (range: [number, number]) => void) {
    this.handles = ENDS.map((name) =>
      make('div', 'pane-handle', { role: 'slider', tabindex: '0', 'aria-label': `${name} end of the contrast` }),
    );
    this.element.append(this.canvas, ...this.handles);
    this.handles.forEach((handle, end) => this.listen(handle, end as End));
    new ResizeObserver(() => this.draw()).observe(this.element);
  }

  update(range: [number, number], histogram: Histogram | null, colours: Colours): void {
    this.range = range;
    this.histogram = histogram;
    this.colours = colours;
    if (this.dragged === null) this.end = Math.max(axisEnd(histogram), toAxis(range[1]) * 1.05, 0.3);
    this.draw();
  }

  private draw(): void {
    const width = this.element.clientWidth;
    if (!width || !this.colours) return;
    this.handles.forEach((handle, end) => {
      const part = Math.min(1, toAxis(this.range[end]) / this.end);
      handle.style.left = `${part * 100}%`;
      handle.setAttribute('aria-valuemin', '0');
      handle.setAttribute('aria-valuemax', valueText(Math.round(toValue(this.end))));
      handle.setAttribute('aria-valuenow', String(this.range[end]));
      handle.setAttribute('aria-valuetext', valueText(this.range[end]));
    });
    const ratio = window.devicePixelRatio;
    const w = Math.round(width * ratio);
    const h = Math.round(HEIGHT * ratio);
    if (this.canvas.width !== w || this.canvas.height !== h) Object.assign(this.canvas, { width: w, height: h });
    const context = this.canvas.getContext('2d');
    if (!context) return;
    context.clearRect(0, 0, w, h);
    this.drawColours(context, w, h, Math.round(STRIP * ratio));
    this.drawHistogram(context, w, h - Math.round((STRIP + 1) * ratio));
  }

  private drawColours(context: CanvasRenderingContext2D, width: number, height: number, strip: number): void {
    const image = context.createImageData(width, strip);
    const pixels = new Uint32Array(image.data.buffer);
    for (let i = 0; i < width; i++) {
      const colour = this.colours?.ofValue(toValue(((i + 0.5) / width) * this.end)) ?? 0;
      for (let j = 0; j < strip; j++) pixels[j * width + i] = colour;
    }
    context.putImageData(image, 0, height - strip);
  }

  /** On a log scale: few bright pixels matter as much as the many dark ones. */
  private drawHistogram(context: CanvasRenderingContext2D, width: number, height: number): void {
    if (!this.histogram) return;
    const { first, step, counts } = this.histogram;
    const top = Math.log1p(counts.reduce((a, b) => Math.max(a, b), 1));
    context.fillStyle = getComputedStyle(this.element).color;
    counts.forEach((count, i) => {
      if (!count) return;
      const x = ((first + i * step) / this.end) * width;
      const tall = Math.max(1, (Math.log1p(count) / top) * height);
      context.fillRect(x, height - tall, Math.max(1, (step / this.end) * width), tall);
    });
  }

  private listen(handle: HTMLElement, end: End): void {
    handle.addEventListener('pointerdown', (event) => {
      event.preventDefault();
      handle.focus();
      handle.setPointerCapture(event.pointerId);
      this.dragged = end;
    });
    handle.addEventListener('pointermove', (event) => {
      if (this.dragged !== end) return;
      const box = this.element.getBoundingClientRect();
      this.move(end, ((event.clientX - box.left) / box.width) * this.end);
    });
    for (const over of ['pointerup', 'pointercancel'] as const) {
      handle.addEventListener(over, () => {
        this.dragged = null;
      });
    }
    handle.addEventListener('keydown', (event) => {
      const at = toAxis(this.range[end]);
      const to: Record<string, number> = {
        ArrowRight: at + STEP * this.end,
        ArrowUp: at + STEP * this.end,
        ArrowLeft: at - STEP * this.end,
        ArrowDown: at - STEP * this.end,
        PageUp: at + PAGE * this.end,
        PageDown: at - PAGE * this.end,
        Home: 0,
        End: this.end,
      };
      if (!(event.key in to)) return;
      event.preventDefault();
      event.stopPropagation();
      this.move(end, to[event.key]);
    });
  }

  /** The ends never meet: there would be no contrast. */
  private move(end: End, u: number): void {
    const value = rounded(toValue(Math.max(0, Math.min(this.end, u))), this.range[end]);
    const next: [number, number] = [...this.range];
    next[end] = value;
    const least = Math.max(1e-6, 0.001 * Math.abs(this.range[1]));
    if (end === 0) next[0] = Math.min(next[0], this.range[1] - least);
    else next[1] = Math.max(next[1], this.range[0] + least);
    this.range = next;
    this.changed(next);
  }
}

function axisEnd(histogram: Histogram | null): number {
  if (!histogram) return 0;
  let last = histogram.counts.length;
  while (last > 0 && !histogram.counts[last - 1]) last--;
  return histogram.first + last * histogram.step;
}

/** Three digits; one step further if that would leave a key without effect. */
function rounded(value: number, old: number): number {
  const short = Number(value.toPrecision(3));
  return short === old ? value : short;
}
