// The panes side by side, and what they do together: hold and go on, step, follow again. Holding pins each pane to the
// message it shows, so that the server sends it nothing more; a powder is no message, there the page itself lets go by
// what comes.

import type { Connection, MakeImagePane, PaneState } from '../interfaces';
import type { Picture } from '../protocol';
import { el } from './dom';
import { defaultPane, isMessage, type PageState } from './hash';
import type { Model } from './model';
import { PaneFrame, type FrameEvents } from './pane-frame';
import type { Where } from './pane-navigation';

export class PaneGrid {
  readonly element = el('div', { class: 'panes' });
  readonly frames: PaneFrame[] = [];
  paused = false;
  activeIndex = 0;

  constructor(
    private readonly model: Model,
    private readonly connection: Connection,
    private readonly make: MakeImagePane,
    private readonly events: FrameEvents,
    private readonly renderer: 'auto' | 'webgl2' | 'canvas2d',
  ) {}

  get active(): PaneFrame | null {
    return this.frames[this.activeIndex] ?? null;
  }

  get most(): number {
    return this.model.hello?.panes ?? 4;
  }

  /** Opens what an address says; sources that are not watched are left out. */
  open(state: PageState): void {
    const sources = this.model.hello?.sources ?? [];
    const wanted = state.panes.filter((pane) => sources.includes(pane.source)).slice(0, this.most);
    while (this.frames.length) this.remove(this.frames[this.frames.length - 1], false);
    for (const pane of wanted.length ? wanted : [defaultPane(sources[0] ?? '')]) this.addPane(isMessage(pane.kind) ? pane : { ...pane, at: null });
    this.activeIndex = Math.min(state.active, this.frames.length - 1);
    for (const frame of this.frames) frame.chosen = frame.state.at !== null && !state.paused;
    this.paused = state.paused;
  }

  addPane(state: PaneState): PaneFrame | null {
    const free = Array.from({ length: this.most }, (_, i) => i).find((i) => !this.frames.some((frame) => frame.number === i));
    if (free === undefined) return null;
    const frame = new PaneFrame(free, this.connection, this.make, state, this.events, this.renderer);
    frame.setRun(this.model.runs.get(state.source) ?? null, this.isOffline);
    this.frames.push(frame);
    this.element.append(frame.element);
    frame.image.redraw(); // its colours are those of the place where it is now
    this.count();
    return frame;
  }

  /** Another pane beside one: the next source where there are several, otherwise the next kind. */
  addBeside(frame: PaneFrame): void {
    const sources = this.model.hello?.sources ?? [];
    const free = sources.find((source) => !this.frames.some((other) => other.state.source === source));
    const shown = this.frames.filter((other) => other.state.source === frame.state.source).map((other) => other.kind);
    const kinds = frame.run?.kinds ?? ['frame'];
    const kind = free ? frame.kind : (kinds.find((choice) => !shown.includes(choice)) ?? 'frame');
    const added = this.addPane({ ...frame.state, source: free ?? frame.state.source, kind, at: null, roi: null, range: null, view: free ? null : frame.state.view });
    if (added) this.activate(added);
    if (added && this.paused) this.hold();
  }

  remove(frame: PaneFrame, told = true): void {
    const i = this.frames.indexOf(frame);
    if (i < 0) return;
    this.frames.splice(i, 1);
    if (told) this.connection.send({ t: 'close', pane: frame.number });
    frame.dispose();
    this.activeIndex = Math.max(0, Math.min(this.activeIndex - (i < this.activeIndex ? 1 : 0), this.frames.length - 1));
    this.count();
  }

  activate(frame: PaneFrame): void {
    const i = this.frames.indexOf(frame);
    if (i >= 0) this.activeIndex = i;
  }

  /** A picture has come for some pane: drawn, or given back unseen. */
  take(picture: Picture): void {
    const { pane, seq, kind, source } = picture.header;
    const frame = this.frames.find((candidate) => candidate.number === pane);
    if (frame && frame.state.source === source && frame.kind === kind && !this.passesBy(frame, picture)) return frame.show(picture);
    this.connection.send({ t: 'ack', pane, seq });
    this.connection.recycle(picture);
  }

  /** Of a held powder only what shows another part of it is drawn: somebody zooms. */
  private passesBy(frame: PaneFrame, picture: Picture): boolean {
    if (!this.paused || isMessage(frame.kind) || !frame.picture) return false;
    const [a, b] = [picture.header, frame.picture.header];
    return a.kind === b.kind && a.level === b.level && a.x0 === b.x0 && a.y0 === b.y0 && a.shape.join() === b.shape.join();
  }

  // --- holding and going on

  hold(): void {
    this.paused = true;
    for (const frame of this.frames) {
      const shown = frame.shown;
      if (isMessage(frame.kind) && frame.state.at === null && shown) frame.choose({ at: shown });
    }
  }

  follow(): void {
    this.paused = false;
    for (const frame of this.frames) if (!frame.chosen) frame.choose({ at: null });
  }

  /** One pane follows again; the others as well, unless an older run was chosen there. */
  live(frame: PaneFrame): void {
    frame.chosen = false;
    if (frame.state.at !== null) frame.choose({ at: null });
    if (this.paused) this.follow();
  }

  step(frame: PaneFrame, by: -10 | -1 | 1 | 10): void {
    if (!isMessage(frame.kind)) return;
    if (!this.isOffline && !this.paused && !frame.chosen) this.hold();
    frame.image.step(by);
  }

  go(frame: PaneFrame, id: number): void {
    const stream = frame.shown?.stream ?? frame.run?.stream;
    if (!stream || !isMessage(frame.kind)) return;
    if (!this.isOffline && !this.paused && !frame.chosen) this.hold();
    frame.choose({ at: { stream, id } });
  }

  private get isOffline(): boolean {
    return this.model.hello?.offline === true;
  }

  where(frame: PaneFrame): Where {
    const numbers = this.model.source(frame.state.source);
    const offline = this.isOffline;
    const shown = frame.shown;
    const stream = shown?.stream ?? frame.state.at?.stream ?? null;
    const known = frame.run !== null && stream === frame.run.stream;
    const newest = Math.max(known && frame.run ? frame.run.last_id : 0, known && numbers && numbers.stream === stream ? numbers.newest_id : 0);
    return {
      shown: offline || this.paused || frame.state.at !== null,
      offline,
      paused: this.paused && !frame.chosen,
      stream,
      id: shown?.id ?? null,
      first_id: known && frame.run ? frame.run.first_id : null,
      last_id: known && newest > 0 ? newest : null,
      n_behind: known && shown ? Math.max(0, newest - shown.id) : null,
      steps: isMessage(frame.kind),
    };
  }

  private count(): void {
    this.element.dataset.panes = String(this.frames.length);
  }
}
