// The way through the messages of a run, below a picture that does not follow: step back and forth, go to an id, back to
// live, and a sentence that says how far behind it is.

import { el, icon, iconButton, setAttribute, setText } from './dom';
import { count } from './format';

export interface Where {
  /** Whether the bar is to be seen. */
  shown: boolean;
  offline: boolean;
  paused: boolean;
  stream: string | null;
  id: number | null;
  /** What can be gone to; null where it is not known, as of older runs. */
  first_id: number | null;
  last_id: number | null;
  /** Messages that have come since; null where that has no meaning. */
  n_behind: number | null;
  /** Whether single messages are shown; powders cannot be paged through. */
  steps: boolean;
}

interface NavigationEvents {
  step(by: -10 | -1 | 1 | 10): void;
  go(id: number): void;
  live(): void;
}

const SETTLE_MS = 120; // a slider that is dragged asks for what it rests on

export class PaneNavigation {
  readonly element: HTMLElement;
  private readonly slider = el('input', { type: 'range', 'aria-label': 'Go to a message', min: 1, max: 1, step: 1 });
  private readonly field = el('input', { type: 'number', class: 'id-field', 'aria-label': 'Message id', min: 0, step: 1 });
  private readonly text = el('span', { class: 'banner' });
  private readonly live: HTMLButtonElement;
  private readonly steps: HTMLButtonElement[];
  private timer = 0;
  private asked_ms = -1e9;

  constructor(events: NavigationEvents) {
    this.steps = [
      iconButton('back10', 'Ten back', () => events.step(-10), 'shift + ,'),
      iconButton('back', 'One back', () => events.step(-1), ','),
      iconButton('forward', 'One forward', () => events.step(1), '.'),
      iconButton('forward10', 'Ten forward', () => events.step(10), 'shift + .'),
    ];
    this.live = el('button', { type: 'button', class: 'live', title: 'Follow the newest again (Space)', onclick: () => events.live() }, icon('play'), 'Back to live');
    this.slider.addEventListener('input', () => {
      this.asked_ms = performance.now();
      this.field.value = this.slider.value;
      window.clearTimeout(this.timer);
      this.timer = window.setTimeout(() => events.go(Number(this.slider.value)), SETTLE_MS);
    });
    this.field.addEventListener('change', () => {
      const id = Math.round(Number(this.field.value));
      if (this.field.value !== '' && Number.isFinite(id) && id >= 0) events.go(id);
      this.asked_ms = performance.now();
    });
    this.field.addEventListener('keydown', (event) => {
      if (event.key === 'Enter' || event.key === 'Escape') this.field.blur(); // the keys are steps again
    });
    const [back10, back, forward, forward10] = this.steps;
    this.element = el('div', { class: 'navigation', role: 'group', 'aria-label': 'Messages', hidden: true }, this.text, back10, back, this.field, forward, forward10, this.slider, this.live);
  }

  update(where: Where): void {
    this.element.hidden = !where.shown;
    if (!where.shown) return;
    const known = where.first_id !== null && where.last_id !== null && where.last_id > where.first_id;
    this.slider.hidden = !known || !where.steps;
    this.field.hidden = !where.steps;
    for (const button of this.steps) button.hidden = !where.steps;
    if (known) {
      setAttribute(this.slider, 'min', String(where.first_id));
      setAttribute(this.slider, 'max', String(where.last_id));
    }
    const settled = performance.now() - this.asked_ms > 1000;
    if (where.id !== null && settled) {
      if (document.activeElement !== this.field) this.field.value = String(where.id);
      this.slider.value = String(where.id);
      this.slider.setAttribute('aria-valuetext', `message ${where.id}${known ? ` of ${where.first_id} to ${where.last_id}` : ''}`);
    }
    this.live.hidden = where.offline;
    setText(this.text, bannerText(where));
    this.element.classList.toggle('navigation-paused', !where.offline);
  }
}

/** «paused, 56 behind», «run_7, not the newest run», and of a file how many there are. */
export function bannerText(where: Where): string {
  if (where.offline) return where.last_id === null ? '' : `of ${count(where.last_id)}`;
  const behind = where.n_behind === null ? 'another run has started' : `${count(where.n_behind)} behind`;
  if (where.paused && where.steps) return `paused, ${behind}`;
  if (where.paused) return 'paused';
  return where.n_behind === null ? `${where.stream ?? 'an older run'}: not the newest run` : behind;
}
