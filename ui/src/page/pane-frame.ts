// What surrounds one picture: which source, run and kind it shows, what it says of the picture, and the way through the
// messages. The picture itself, its tools and what it asks the server for are the pane's own.

import type { Connection, ImagePane, MakeImagePane, PaneState } from '../interfaces';
import type { Gone, Kind, Picture, Run, SourceNumbers } from '../protocol';
import { Timeline } from '../charts/timeline';
import { el, icon, iconButton, setAttribute, setChoices, setText } from './dom';
import { count, duration, number, shortName, shortNames } from './format';
import { isMessage, KINDS } from './hash';
import { PaneNavigation, type Where } from './pane-navigation';
import { Arrivals } from './arrivals';
import { ROI_NAMES } from './cards/over-time';

export interface FrameEvents {
  changed(frame: PaneFrame): void;
  drawn(frame: PaneFrame, picture: Picture): void;
  activated(frame: PaneFrame): void;
  closed(frame: PaneFrame): void;
  added(frame: PaneFrame): void;
  step(frame: PaneFrame, by: -10 | -1 | 1 | 10): void;
  go(frame: PaneFrame, id: number): void;
  live(frame: PaneFrame): void;
  png(frame: PaneFrame): void;
}

const NEWEST = '';

export class PaneFrame {
  readonly number: number;
  readonly image: ImagePane;
  readonly element: HTMLElement;
  picture: Picture | null = null;
  drawn_ms = 0;
  run: Run | null = null;
  /** The statistics of the region in what was drawn. */
  readonly roi = new Timeline(ROI_NAMES);
  /** A run was chosen by hand: going back to live leaves it alone. */
  chosen = false;
  private sought = '';
  private roiKey = '';
  private readonly events: FrameEvents;
  private readonly source = el('select', { 'aria-label': 'Data source' });
  private readonly runs = el('select', { 'aria-label': 'Run' });
  private readonly kinds = el('select', { 'aria-label': 'What is shown' });
  private readonly cursor = el('span', { class: 'status-cursor' });
  private readonly facts = el('span', { class: 'status-facts' });
  private readonly flow = el('span', { class: 'status-flow' });
  private readonly add: HTMLButtonElement;
  private readonly close: HTMLButtonElement;
  private readonly navigation: PaneNavigation;
  private readonly arrivals = new Arrivals();
  private text: string | null = null;

  constructor(pane: number, connection: Connection, make: MakeImagePane, state: PaneState, events: FrameEvents, renderer: 'auto' | 'webgl2' | 'canvas2d') {
    this.number = pane;
    this.events = events;
    this.image = make(pane, connection, state, {
      changed: () => events.changed(this),
      drawn: (picture) => this.onDrawn(picture),
      cursor: (text) => setText(this.cursor, text),
    }, { renderer });
    this.navigation = new PaneNavigation({
      step: (by) => events.step(this, by),
      go: (id) => events.go(this, id),
      live: () => events.live(this),
    });
    this.add = iconButton('add', 'Another picture beside this one', () => events.added(this));
    this.close = iconButton('close', 'Close this picture', () => events.closed(this));
    const png = el('button', { type: 'button', class: 'png', 'aria-label': 'Save as PNG', title: 'Save what is on the screen as PNG', onclick: () => events.png(this) }, icon('save'), el('span', {}, 'PNG'));
    this.source.addEventListener('change', () => this.choose({ source: this.source.value, at: null, view: null, roi: null, range: null }));
    this.kinds.addEventListener('change', () => this.chooseKind(this.kinds.value as Kind));
    this.runs.addEventListener('change', () => this.chooseRun(this.runs.value));
    this.element = el(
      'section',
      { class: 'frame', 'aria-label': `Picture ${pane + 1}` },
      el('div', { class: 'frame-bar' }, this.source, this.kinds, this.runs, el('span', { class: 'spacer' }), png, this.add, this.close),
      this.image.element,
      this.navigation.element,
      el('div', { class: 'status' }, this.cursor, el('span', { class: 'spacer' }), this.facts, this.flow),
    );
    this.image.element.classList.add('frame-image');
    this.image.element.setAttribute('role', 'group'); // the frame is the landmark
    for (const type of ['pointerdown', 'focusin']) this.element.addEventListener(type, () => events.activated(this));
  }

  get state(): PaneState {
    return this.image.state;
  }

  get kind(): Kind {
    return this.state.kind;
  }

  /** The id that is shown, of the stream that is shown. */
  get shown(): { stream: string; id: number } | null {
    return this.picture ? { stream: this.picture.header.stream, id: this.picture.header.id } : this.state.at;
  }

  choose(state: Partial<PaneState>): void {
    if (state.source !== undefined && state.source !== this.state.source) {
      this.picture = null;
      this.chosen = false;
    }
    this.image.set(state);
  }

  chooseKind(kind: Kind): void {
    this.choose({ kind, ...(isMessage(kind) ? {} : { at: null }) });
  }

  private chooseRun(stream: string): void {
    this.chosen = stream !== NEWEST;
    if (!this.chosen) return this.events.live(this);
    this.sought = '';
    const now = this.run?.stream === stream;
    if (!isMessage(this.kind)) this.choose({ kind: 'frame' });
    this.choose({ at: { stream, id: now && this.run ? Math.max(1, this.run.last_id) : 1 } });
  }

  setRun(run: Run | null, offline = false): void {
    // a file is read from its beginning, and has no newest message
    if (offline && run?.stream && this.state.at === null && isMessage(this.kind)) this.choose({ at: { stream: run.stream, id: run.first_id } });
    this.run = run;
    this.image.setRun(run);
  }

  show(picture: Picture): void {
    this.setText(null);
    this.image.show(picture);
  }

  gone(gone: Gone): void {
    const { at } = this.state;
    if (gone.stream !== at?.stream || gone.id !== at.id || !this.seek()) this.setText(gone.why);
  }

  /** A run was chosen that begins later, or not with a hit: what it begins with is the next one. Once for each run. */
  private seek(): boolean {
    const { at } = this.state;
    if (!this.chosen || at?.id !== 1 || this.sought === at.stream) return false;
    this.sought = at.stream;
    this.image.step(1);
    return true;
  }

  /** A text over the picture; null: none. */
  setText(text: string | null): void {
    if (text === this.text) return;
    this.text = text;
    this.image.showText(text);
  }

  /** Twice a second: choices, facts, and where it stands among the messages. */
  update(sources: string[], numbers: SourceNumbers | null, where: Where, n_panes: number, most: number, active: boolean): void {
    const names = shortNames(sources);
    setChoices(this.source, sources.map((source, i) => ({ value: source, text: names[i], title: source })), this.state.source);
    this.source.title = this.state.source;
    this.source.hidden = sources.length < 2;
    const kinds = KINDS.filter(({ value }) => value === this.kind || !this.run || this.run.kinds.includes(value));
    setChoices(this.kinds, kinds.map(({ value, text }) => ({ value, text: where.offline ? text.replace('latest ', '') : text })), this.kind);
    this.updateRuns(where);
    this.add.disabled = n_panes >= most;
    this.close.hidden = n_panes < 2;
    this.element.classList.toggle('frame-active', active && n_panes > 1);
    setAttribute(this.element, 'aria-current', active && n_panes > 1 ? 'true' : null);
    if (!this.picture && this.text === null) this.setText(this.waiting(numbers));
    this.navigation.update(where);
    this.updateFacts(numbers);
  }

  dispose(): void {
    this.image.dispose();
    this.element.remove();
  }

  private waiting(numbers: SourceNumbers | null): string | null {
    if (this.state.at) return null;
    if (!numbers || numbers.n_received === 0) return `waiting for the first frame of ${shortName(this.state.source)}`;
    return this.kind === 'hit' || this.kind.startsWith('hits') ? 'no hit yet' : null;
  }

  private updateRuns(where: Where): void {
    const run = this.run;
    const newest = run?.stream ?? null;
    const names = run?.streams ?? [];
    const at = this.state.at?.stream;
    const others = at && !names.includes(at) ? [at] : [];
    const follow = where.offline ? `${newest ?? 'file'}` : newest ? `newest run (${newest})` : 'newest run';
    setChoices(
      this.runs,
      [
        { value: NEWEST, text: follow },
        ...[...others, ...names].map((name) => ({ value: name, text: name === newest && !where.offline ? `${name}, page through` : name })),
      ],
      this.chosen && at ? at : NEWEST,
    );
    this.runs.hidden = where.offline && names.length < 2;
  }

  private updateFacts(numbers: SourceNumbers | null): void {
    const header = this.picture?.header;
    if (!header) {
      setText(this.facts, '');
      setText(this.flow, '');
      return;
    }
    const word = isMessage(header.kind) ? `${count(header.id)}` : `${count(header.n_frames)} frames`;
    const hit = header.hit === null || !isMessage(header.kind) ? '' : header.hit ? `hit, ${count(header.n_peaks)} peaks` : 'no hit';
    const older = numbers?.stream && numbers.stream !== header.stream ? header.stream : ''; // the new run has none of this kind yet
    setText(this.facts, [older, word, hit, `max ${number(header.numbers.maximum)}`, `mean ${number(header.numbers.mean)}`].filter(Boolean).join(' · '));
    const { hz, mb_s } = this.arrivals.rate(performance.now());
    setText(this.flow, header.follows ? `${hz.toFixed(1)} Hz · ${mb_s.toFixed(1)} MB/s` : '');
    const age_s = header.age_s + (performance.now() - (this.picture as Picture).arrived_ms) / 1000;
    setAttribute(this.flow, 'data-state', header.follows && header.kind === 'frame' && age_s > 1 && numbers?.life !== 'finished' ? 'warn' : null);
    setAttribute(this.flow, 'title', `the picture is ${duration(age_s)} old`);
  }

  private onDrawn(picture: Picture): void {
    this.picture = picture;
    this.drawn_ms = performance.now();
    this.arrivals.add(picture.arrived_ms, picture.bytes);
    const { roi, stream } = picture.header;
    const key = roi ? `${stream} ${picture.header.kind} ${roi.rect.join()}` : '';
    if (key !== this.roiKey) this.roi.clear();
    this.roiKey = key;
    if (roi) this.roi.push(Date.now() / 1000, [roi.mean, roi.total, roi.maximum]);
    if (this.kind === 'hit' && picture.header.hit === false && !picture.header.follows) this.seek();
    this.events.drawn(this, picture);
  }
}
