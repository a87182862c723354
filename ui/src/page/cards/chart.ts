// A card with a chart: its curve, its newest value or that under the pointer, a sentence that says the same to who cannot
// see it, and its numbers as CSV.

import { Plot, type PlotOptions } from '../../charts/plot';
import type { Column } from '../../charts/csv';
import { el, setAttribute, setText } from '../dom';
import type { Card, View } from '../view';
import { Shell, type ShellOptions } from './shell';

export interface ChartData {
  /** x, then one list per curve. */
  data: (number | null)[][];
  range?: [number, number];
  /** The newest value, beside the title. */
  value: string;
  summary: string;
  csv: Column[];
  /** What a point says, by its index. */
  point: (index: number) => string;
}

export interface ChartSpec extends Omit<ShellOptions, 'columns'> {
  /** It is about the picture that is shown: held with it, and not by itself. */
  ofPicture?: boolean;
  /** Not there at all while a file is paged through that says nothing of it. */
  liveOnly?: boolean;
  plot: PlotOptions;
  /** What to show, or why there is nothing. */
  read: (view: View) => ChartData | string;
}

export class ChartCard implements Card {
  readonly shell: Shell;
  private readonly plot: Plot;
  private readonly host = el('div', { class: 'plot', role: 'img' });
  private readonly nothing = el('p', { class: 'nothing', hidden: true });
  private readonly spec: ChartSpec;
  private shown: ChartData | null = null;
  private lastView: View | null = null;
  private hovered: number | null = null;

  constructor(spec: ChartSpec) {
    this.spec = spec;
    this.shell = new Shell({ ...spec, columns: () => this.shown?.csv ?? [] });
    this.shell.onUnfold = () => this.lastView && this.update(this.lastView);
    this.shell.body.append(el('div', { class: 'plot-box' }, this.host, this.nothing));
    this.plot = new Plot(this.host, {
      ...spec.plot,
      hover: (index) => {
        this.hovered = index;
        this.sayValue();
      },
    });
  }

  get ofPicture(): boolean {
    return this.spec.ofPicture === true;
  }

  get element(): HTMLElement {
    return this.shell.element;
  }

  update(view: View): void {
    if (view.held && !this.spec.ofPicture && this.shown !== null) return;
    this.lastView = view;
    const read = this.spec.read(view);
    if (this.spec.liveOnly) this.element.hidden = typeof read === 'string' && view.model.hello?.offline === true;
    if (typeof read === 'string') {
      this.shown = null;
      setText(this.nothing, read);
      setAttribute(this.host, 'aria-label', `${this.spec.title}: ${read}`);
      this.plot.set([[], ...this.spec.plot.curves.map(() => [])]);
    } else {
      this.shown = read;
      setAttribute(this.host, 'aria-label', `${this.spec.title}: ${read.summary}`);
      if (!this.shell.folded) this.plot.set(read.data, read.range ?? null);
    }
    this.nothing.hidden = typeof read !== 'string';
    this.host.classList.toggle('plot-empty', typeof read === 'string');
    this.sayValue();
  }

  redraw(rescale = false): void {
    this.plot.redraw(rescale);
  }

  private sayValue(): void {
    const { shown, hovered } = this;
    const there = shown !== null && hovered !== null && hovered < shown.data[0].length;
    this.shell.setValue(shown === null ? '' : there ? shown.point(hovered) : shown.value);
    this.element.classList.toggle('card-hovered', there);
  }
}
