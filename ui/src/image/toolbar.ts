// The tools of a pane: native elements with names, in the order in which they are used.

import type { PaneState, Scale } from '../interfaces';
import type { Histogram } from '../protocol';
import { ColourBar } from './colourbar';
import { COLOUR_MAPS } from './colourmaps';
import type { Colours } from './colours';
import { button, make, pressed, select } from './dom';
import { valueText } from './readout';

export interface ToolActions {
  set(state: Partial<PaneState>): void;
  fit(): void;
  oneToOne(): void;
  /** The range that is shown is kept from now on; or it follows the pictures again. */
  auto(on: boolean): void;
  /** `byKeyboard`: nobody is going to drag it open. */
  region(byKeyboard: boolean): void;
}

const SCALES: [Scale, string][] = [
  ['linear', 'linear'],
  ['sqrt', 'square root'],
  ['log', 'logarithm'],
];

type Toggle = 'mask' | 'rings' | 'peaks' | 'full';

export class Toolbar {
  readonly element = make('div', 'pane-tools', { role: 'group', 'aria-label': 'Tools of the picture' });
  private readonly zoom = make('span', 'pane-zoom', { title: 'size of a pixel on the screen' });
  private readonly scale;
  private readonly map;
  private readonly ends: HTMLInputElement[];
  private readonly bar: ColourBar;
  private readonly auto: HTMLButtonElement;
  private readonly region: HTMLButtonElement;
  private readonly mean: HTMLButtonElement;
  private readonly toggles: Record<Toggle, HTMLButtonElement>;
  private state: PaneState;
  private range: [number, number] = [0, 1];

  constructor(
    state: PaneState,
    private readonly actions: ToolActions,
  ) {
    this.state = state;
    this.scale = select('Scale', SCALES, (scale) => actions.set({ scale: scale as Scale }));
    this.map = select('Colours', Object.keys(COLOUR_MAPS).map((name) => [name, name]), (map) => actions.set({ map }));
    this.ends = (['Lowest', 'Highest'] as const).map((name, end) => this.field(`${name} value`, end));
    this.bar = new ColourBar((range) => actions.set({ range }));
    this.auto = button('Auto', 'contrast follows the pictures (a)', () => actions.auto(this.state.range !== null));
    this.region = button('ROI', 'region of interest: drag it open, drag its edges; again removes it', (event) =>
      actions.region(event.detail === 0),
    );
    this.mean = button('Mean', 'smaller pictures show the mean of their pixels, not the largest', () =>
      actions.set({ pool: this.state.pool === 'mean' ? 'max' : 'mean' }),
    );
    const toggle = (key: Toggle, text: string, title: string) =>
      button(text, title, () => actions.set({ [key]: !this.state[key] }));
    this.toggles = {
      mask: toggle('mask', 'Mask', 'masked pixels are shown as such (m)'),
      rings: toggle('rings', 'Rings', 'rings of resolution and the beam (r)'),
      peaks: toggle('peaks', 'Peaks', 'peaks that were found (p)'),
      full: toggle('full', 'Full', 'all pixels, whatever the size on the screen: for a fast network'),
    };
    const { mask, rings, peaks, full } = this.toggles;
    this.element.append(
      group(
        button('Fit', 'all of the picture (f, or double click)', () => actions.fit()),
        button('1:1', 'one pixel of the screen for each pixel (1)', () => actions.oneToOne()),
        this.zoom,
      ),
      group(this.scale, this.map),
      group(this.ends[0], this.bar.element, this.ends[1], this.auto),
      group(mask, rings, peaks, this.region),
      group(this.mean, full),
    );
    this.update(state, 1);
  }

  update(state: PaneState, zoom: number, drawingRegion = false): void {
    this.state = state;
    this.zoom.textContent = `${zoom < 0.1 ? (zoom * 100).toFixed(1) : Math.round(zoom * 100)} %`;
    this.scale.value = state.scale;
    this.map.value = state.map;
    pressed(this.auto, state.range === null);
    pressed(this.region, state.roi !== null || drawingRegion);
    pressed(this.mean, state.pool === 'mean');
    for (const [key, element] of Object.entries(this.toggles)) pressed(element, state[key as Toggle]);
  }

  showRange(range: [number, number], histogram: Histogram | null, colours: Colours): void {
    this.range = range;
    this.bar.update(range, histogram, colours);
    this.ends.forEach((field, end) => {
      if (document.activeElement !== field) field.value = valueText(Number(range[end].toPrecision(4)));
    });
  }

  private field(label: string, end: number): HTMLInputElement {
    const field = make('input', 'pane-field', { type: 'number', step: 'any', 'aria-label': label, title: label });
    field.addEventListener('change', () => {
      const range: [number, number] = [...this.range];
      range[end] = field.valueAsNumber;
      if (Number.isFinite(range[end]) && range[0] < range[1]) this.actions.set({ range });
      else field.value = valueText(this.range[end]);
    });
    return field;
  }
}

const group = (...children: Node[]): HTMLElement => make('span', 'pane-group', {}, ...children);
