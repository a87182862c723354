// The page: what the connection says goes into the model, pictures go to their panes, and twice a second all that stands
// around them is written anew.

import type { Connection, ConnectionEvent, MakeImagePane, PaneState } from '../interfaces';
import type { Answer, Run } from '../protocol';
import { makeCards } from './cards';
import { el } from './dom';
import { fromHash, toHash, type PageState } from './hash';
import { plural } from './format';
import { Header } from './header';
import { makeHelp } from './help';
import { listenToKeys } from './keys';
import type { Line } from './liveness';
import { Model } from './model';
import { notice } from './notice';
import type { PaneFrame } from './pane-frame';
import { PaneGrid } from './pane-grid';
import { copyText, fileName, saveFile } from './save';
import { startTheme } from './theme';
import { TuningPanel } from './tuning/panel';
import type { Card, View } from './view';

const TICK_MS = 200; // the latency ticks
const CARDS_MS = 500; // numbers come so often
const CURVES_MS = 250; // the profile follows the picture, at most so often
const HASH_MS = 400; // browsers allow some hundred changes of the address per minute

export class App {
  private readonly model = new Model();
  private readonly line: Line = { open: false, everOpen: false, closed_ms: performance.now(), retry_ms: null, why: '', offline: false };
  private readonly header: Header;
  private readonly grid: PaneGrid;
  private readonly cards: Card[];
  private readonly tuning: TuningPanel;
  private readonly help = makeHelp(() => {
    const { hello, numbers } = this.model;
    return [hello ? `beamstream ${hello.version}` : '', numbers ? plural(numbers.viewers, 'viewer') : ''].filter((part) => part !== '').join(' · ');
  });
  private state: PageState;
  private written = '';
  private hashTimer = 0;
  private cards_ms = -1e9;
  private curves_ms = -1e9;
  /** Until somebody chooses, the first hit changes the picture to hits. */
  private undecided = true;
  private decided = false;

  constructor(root: HTMLElement, connection: Connection, make: MakeImagePane, renderer: 'auto' | 'webgl2' | 'canvas2d') {
    this.state = fromHash(location.hash);
    this.undecided = this.state.panes.length === 0;
    const appearance = startTheme(() => this.redraw());
    this.header = new Header({
      pause: () => this.togglePause(),
      link: () => void copyText(this.writeHash(), 'link'),
      theme: () => appearance.toggle(),
      help: () => this.help.open(),
      tune: () => this.tuning.toggle(),
    });
    this.grid = new PaneGrid(this.model, connection, make, {
      changed: () => this.changed(),
      drawn: (frame) => this.drawn(frame),
      activated: (frame) => this.activate(frame),
      closed: (frame) => this.after(() => this.grid.remove(frame)),
      added: (frame) => this.after(() => this.grid.addBeside(frame)),
      step: (frame, by) => this.after(() => this.grid.step(frame, by)),
      go: (frame, id) => this.after(() => this.grid.go(frame, id)),
      live: (frame) => this.after(() => this.grid.live(frame)),
      png: (frame) => void this.savePng(frame),
    }, renderer);
    this.tuning = new TuningPanel(() => this.grid.active, () => this.grid.paused || this.line.offline || this.after(() => this.grid.hold()));
    this.cards = makeCards((change) => {
      Object.assign(this.state, change);
      this.after(() => undefined);
    });
    const column = el('section', { class: 'cards', 'aria-label': 'Numbers and charts', tabindex: 0 }, this.tuning.element, ...this.cards.map((card) => card.element));
    column.addEventListener('dismissed', () => this.update(true));
    root.append(this.header.element, el('main', { class: 'main' }, this.grid.element, column), this.help.element);
    listenToKeys({
      pause: () => this.togglePause(),
      step: (by) => this.grid.active && this.after(() => this.grid.active && this.grid.step(this.grid.active, by)),
      theme: () => appearance.toggle(),
      help: () => this.help.open(),
      other: (event) => this.passOn(event),
    });
    window.addEventListener('hashchange', () => this.readHash());
    connection.on((event) => this.heard(event));
    window.setInterval(() => this.update(), TICK_MS);
    this.update(true);
  }

  // --- what is heard

  private heard(event: ConnectionEvent): void {
    switch (event.type) {
      case 'open':
        Object.assign(this.line, { open: true, everOpen: true, why: '', retry_ms: null });
        this.model.opened();
        this.update(true);
        break;
      case 'closed': {
        const now_ms = performance.now();
        if (this.line.open) this.line.closed_ms = now_ms;
        Object.assign(this.line, { open: false, why: event.why, retry_ms: event.retry_s === null ? null : now_ms + 1000 * event.retry_s });
        this.update(true);
        break;
      }
      case 'answer':
        this.take(event.answer);
        break;
      case 'picture':
        this.grid.take(event.picture);
        break;
    }
  }

  private take(answer: Answer): void {
    this.model.take(answer, performance.now());
    if (answer.t === 'hello') {
      this.line.offline = answer.offline;
      const unknown = this.grid.frames.some((frame) => !answer.sources.includes(frame.state.source));
      if (!this.grid.frames.length || unknown) this.openPanes();
    } else if (answer.t === 'run') {
      for (const frame of this.grid.frames) if (frame.state.source === answer.source) frame.setRun(answer, this.line.offline);
      this.reconsider(answer);
    } else if (answer.t === 'px' || answer.t === 'gone') {
      const frame = this.grid.frames.find((candidate) => candidate.number === answer.pane);
      if (answer.t === 'px') frame?.image.showPixel(answer);
      else frame?.gone(answer);
    }
    if (answer.t === 'numbers') this.decide();
    if (answer.t !== 'px' && answer.t !== 'log') this.update(answer.t !== 'numbers' || performance.now() - this.cards_ms > CARDS_MS / 2);
  }

  /** Hits are what serial data are looked at for: shown as soon as there is one, unless somebody has chosen. */
  private decide(): void {
    const frame = this.grid.active;
    if (!this.undecided || !frame || this.grid.frames.length > 1) return;
    const hits = this.model.source(frame.state.source)?.hits;
    if (frame.kind !== 'frame' || frame.state.at !== null) this.undecided = false;
    else if (hits && hits.n_hits > 0 && frame.run?.kinds.includes('hit') && !this.line.offline) {
      this.undecided = false;
      this.decided = true;
      frame.chooseKind('hit');
    }
  }

  /** A run without a peak finder has no hits: what the page chose by itself it takes back. */
  private reconsider(run: Run): void {
    const frame = this.grid.active;
    if (!this.decided || !frame || frame.kind !== 'hit' || frame.state.source !== run.source || frame.state.at !== null || run.stream === null || run.kinds.includes('hit')) return;
    this.decided = false;
    this.undecided = true;
    frame.chooseKind('frame');
  }

  // --- what is done

  private togglePause(): void {
    if (this.line.offline) return;
    this.after(() => (this.grid.paused ? this.grid.follow() : this.grid.hold()));
  }

  private activate(frame: PaneFrame): void {
    if (this.grid.active === frame) return;
    this.after(() => this.grid.activate(frame));
  }

  private after(change: () => void): void {
    change();
    this.changed();
    this.update(true);
  }

  private drawn(frame: PaneFrame): void {
    if (frame === this.grid.active && performance.now() - this.curves_ms > CURVES_MS) this.updateCards(true);
    if (this.tuning.isOpen && frame === this.grid.active) this.tuning.pictureChanged();
  }

  private async savePng(frame: PaneFrame): Promise<void> {
    const header = frame.picture?.header;
    try {
      saveFile(`${fileName(header?.stream ?? 'picture', header?.kind ?? '', header?.id ?? '')}.png`, await frame.image.png());
    } catch (error) {
      notice(`no picture was saved: ${error instanceof Error ? error.message : String(error)}`);
    }
  }

  /** Keys of a picture work wherever the focus is: they are given to the active one as if it had it. */
  private passOn(event: KeyboardEvent): void {
    const element = this.grid.active?.image.element;
    if (!element || (event.target instanceof Node && element.contains(event.target)) || event.target instanceof HTMLInputElement) return;
    const scrolls = event.key.startsWith('Arrow') && event.target instanceof Element && event.target !== document.body;
    if (scrolls) return;
    const target = element.querySelector<HTMLElement>('.pane-stage') ?? element;
    const copy = new KeyboardEvent('keydown', { key: event.key, code: event.code, shiftKey: event.shiftKey, bubbles: false, cancelable: true });
    target.dispatchEvent(copy);
    if (copy.defaultPrevented) event.preventDefault();
  }

  // --- the address

  private openPanes(): void {
    this.grid.open(this.state);
    this.update(true);
  }

  private changed(): void {
    if (this.hashTimer === 0) this.hashTimer = window.setTimeout(() => this.writeHash(), HASH_MS);
  }

  /** Writes the state into the address, and returns the address. */
  private writeHash(): string {
    window.clearTimeout(this.hashTimer);
    this.hashTimer = 0;
    if (!this.grid.frames.length) return location.href;
    const panes: PaneState[] = this.grid.frames.map((frame) => {
      const { state } = frame;
      return state.at && frame.shown && frame.shown.stream === state.at.stream ? { ...state, at: frame.shown } : state;
    });
    this.state = { ...this.state, panes, active: this.grid.activeIndex, paused: this.grid.paused };
    this.written = toHash(this.state);
    if (location.hash !== this.written) history.replaceState(null, '', this.written);
    return location.href;
  }

  /** Somebody has put another address into this page. */
  private readHash(): void {
    if (location.hash === this.written || this.model.hello === null) return;
    this.state = fromHash(location.hash, this.grid.most);
    this.undecided = false;
    this.openPanes();
    this.changed();
  }

  // --- what is written

  private update(all = false): void {
    const now_ms = performance.now();
    this.header.update(this.model, this.line, this.grid.active, this.grid.paused, this.tuning.isOpen, now_ms);
    document.documentElement.dataset.line = this.line.open ? 'open' : 'closed';
    if (!all && now_ms - this.cards_ms < CARDS_MS) return;
    this.cards_ms = now_ms;
    const sources = this.model.hello?.sources ?? [];
    this.grid.frames.forEach((frame, i) =>
      frame.update(sources, this.model.source(frame.state.source), this.grid.where(frame), this.grid.frames.length, this.grid.most, i === this.grid.activeIndex),
    );
    this.tuning.update(this.model);
    this.updateCards();
  }

  /** All cards, or those only that are about the picture. */
  private updateCards(ofPicture = false): void {
    const now_ms = (this.curves_ms = performance.now());
    const view = this.view(now_ms);
    for (const card of this.cards) if (!ofPicture || card.ofPicture) card.update(view);
  }

  private view(now_ms: number): View {
    const { model, grid } = this;
    const active = grid.active;
    const source = active?.state.source ?? model.hello?.sources[0] ?? '';
    const since_s = (now_ms - model.numbers_ms) / 1000;
    return {
      model,
      source,
      time_s: model.numbers ? model.numbers.time_s + since_s : Date.now() / 1000,
      now_ms,
      held: grid.paused,
      pane: active?.state ?? null,
      picture: active?.picture ?? null,
      geometry: model.runs.get(source)?.geometry ?? null,
      roi: active?.roi ?? null,
      axis: this.state.axis,
      log: this.state.log,
    };
  }

  private redraw(): void {
    for (const frame of this.grid.frames) frame.image.redraw();
    for (const card of this.cards) card.redraw?.();
  }
}
