// The upper edge: how it stands in one word, the numbers that are read from across the room, and the page's own switches.

import type { Model } from './model';
import { el, icon, iconButton, setAttribute, setText } from './dom';
import { count, NONE, percent, rate, shortName, span } from './format';
import { ageNow, GRAVITY, liveness, outage, WORDS, type Line, type Liveness } from './liveness';
import type { PaneFrame } from './pane-frame';

interface HeaderEvents {
  pause(): void;
  link(): void;
  theme(): void;
  help(): void;
  tune(): void;
}

const MARKS = { ok: '●', warn: '▲', bad: '✖', plain: '○' };
const FRESH_MS = 1500; // a picture that was drawn so lately says the latency up to the screen; else the numbers do

const LATE_MS = 1000; // numbers come twice a second: later than this they are missing, and the age ticks by itself

interface Kpi {
  name: HTMLElement;
  value: HTMLElement;
  unit: HTMLElement;
  box: HTMLElement;
}

function kpi(name: string, unit: string, title: string): Kpi {
  const parts = { name: el('dt', {}, name), value: el('span', {}, NONE), unit: el('small', {}, unit) };
  return { ...parts, box: el('div', { class: 'kpi', title }, parts.name, el('dd', {}, parts.value, parts.unit)) };
}

export class Header {
  readonly element: HTMLElement;
  private readonly outage = el('p', { class: 'outage', hidden: true });
  private readonly mark = el('span', { class: 'mark', 'aria-hidden': 'true' });
  private readonly word = el('span', { role: 'status' });
  private readonly pill = el('span', { class: 'pill' }, this.mark, this.word);
  private readonly pause: HTMLButtonElement;
  private readonly tune: HTMLButtonElement;
  private readonly subject = el('p', { class: 'subject' }, el('b'), el('span'));
  private readonly badge = el('span', { class: 'badge' });
  private readonly frame = kpi('frame', '', 'Id of the newest message');
  private readonly rate = kpi('rate', 'Hz', 'Messages per second');
  private readonly hits = kpi('hit rate', '%', 'Hit rate of late');
  private readonly peaks = kpi('peaks', '', 'Peaks in the picture that is shown');
  private readonly latency = kpi('latency', 'ms', 'Age of the newest frame, up to the screen');
  private state: Liveness = 'connecting';

  constructor(events: HeaderEvents) {
    this.pause = el('button', { type: 'button', class: 'pause', 'aria-pressed': 'false', title: 'Hold the picture and the curves (Space)', onclick: () => events.pause() }, icon('pause'), 'Pause');
    this.tune = el('button', { type: 'button', 'aria-pressed': 'false', hidden: true, title: "The peak finder's parameters, mask and powder", onclick: () => events.tune() }, icon('tune'), 'Tune');
    const kpis = el('dl', { class: 'kpis', 'aria-label': 'Numbers' }, this.frame.box, this.rate.box, this.hits.box, this.peaks.box, this.latency.box);
    const row = el(
      'div',
      { class: 'header' },
      el('div', { class: 'brand' }, el('img', { src: 'icon.svg', alt: '', width: 24, height: 24 }), el('h1', {}, 'stream monitor')),
      this.pill,
      this.pause,
      this.subject,
      el('span', { class: 'spacer' }),
      kpis,
      el(
        'div',
        { class: 'switches' },
        this.badge,
        this.tune,
        iconButton('link', 'Copy a link to this view', () => events.link()),
        iconButton('theme', 'Dark or light', () => events.theme(), 't'),
        el('button', { type: 'button', class: 'icon-button', 'aria-label': 'Help: keys', title: 'Keys (?)', onclick: () => events.help() }, '?'),
      ),
    );
    this.element = el('header', {}, row, this.outage);
  }

  /** Five times a second: the latency ticks although nothing arrives. */
  update(model: Model, line: Line, pane: PaneFrame | null, paused: boolean, tuning: boolean, now_ms: number): void {
    const source = pane?.state.source ?? model.hello?.sources[0] ?? '';
    const numbers = model.source(source);
    this.state = liveness(line, numbers, model.numbers_ms, now_ms);
    setAttribute(this.pill, 'data-gravity', GRAVITY[this.state]);
    setText(this.mark, MARKS[GRAVITY[this.state]]);
    setText(this.word, WORDS[this.state]);
    const text = outage(line, now_ms);
    this.outage.hidden = text === null;
    if (text !== null) setText(this.outage, text);
    const [run, where] = this.subject.children;
    const offline = model.hello?.offline === true;
    setText(run, numbers?.stream ?? model.runs.get(source)?.stream ?? (model.hello ? 'no run yet' : ''));
    setText(where, source);
    this.subject.title = source;
    setAttribute(this.pause, 'aria-pressed', String(paused));
    this.pause.hidden = offline;
    this.tune.hidden = !(model.hello?.control && model.hello.role === 'operator');
    setAttribute(this.tune, 'aria-pressed', String(tuning));
    const operator = model.hello?.control === true && model.hello.role === 'operator';
    setText(this.badge, model.hello === null ? '' : operator ? 'operator' : 'read-only');
    this.badge.title = operator ? 'This page can change the peak finder' : 'This page cannot change anything';
    this.badge.hidden = model.hello === null;
    setText(this.frame.value, count(numbers && numbers.newest_id > 0 ? numbers.newest_id : null));
    setText(this.rate.value, rate(numbers?.rate_hz));
    setText(this.hits.value, percent(numbers?.hits?.hit_rate_of_late));
    setText(this.peaks.value, count(pane?.picture?.header.n_peaks));
    this.rate.box.hidden = this.latency.box.hidden = offline;
    this.hits.box.hidden = offline && !numbers?.hits;
    this.peaks.box.hidden = offline && (pane?.picture?.header.n_peaks ?? null) === null;
    setText(this.frame.name, offline ? 'frames' : 'frame');
    this.updateLatency(ageShown(model, pane, source, now_ms));
    setText(this.latency.name, this.state === 'live' || this.state === 'delayed' ? 'latency' : this.state === 'finished' ? 'last frame' : 'no frame for');
    document.title = titleOf(this.state, numbers?.stream ?? null, source);
  }

  private updateLatency(age_s: number | null): void {
    const [value, unit] = span(age_s);
    setText(this.latency.value, value);
    setText(this.latency.unit, unit);
    setAttribute(this.latency.box, 'data-state', GRAVITY[this.state] === 'ok' ? (age_s !== null && age_s > 1 ? 'warn' : null) : GRAVITY[this.state]);
  }
}

function titleOf(state: Liveness, stream: string | null, source: string): string {
  return [state === 'live' ? '' : WORDS[state], stream ?? shortName(source), 'stream monitor'].filter((part) => part !== '').join(' · ');
}

/** From exposure to screen where the newest frame is on the screen, otherwise the age of the newest message. */
function ageShown(model: Model, pane: PaneFrame | null, source: string, now_ms: number): number | null {
  const picture = pane?.picture;
  if (picture && picture.header.follows && picture.header.kind === 'frame' && picture.header.source === source && now_ms - pane.drawn_ms < FRESH_MS) {
    return picture.header.age_s + Math.max(0, pane.drawn_ms - picture.arrived_ms) / 1000;
  }
  const numbers = model.source(source);
  // between two numbers of a detector that runs, the newest frame is not the one that they were about
  return now_ms - model.numbers_ms < LATE_MS ? (numbers?.age_s ?? null) : ageNow(numbers, model.numbers_ms, now_ms);
}
