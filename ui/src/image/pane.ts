// One picture with its tools: what is shown, what is asked for, what is drawn, what is acknowledged.

import type { Connection, ImagePane, MakeImagePane, PaneEvents, PaneState } from '../interfaces';
import type { Picture, Pixel, Run } from '../protocol';
import { partOf, PixelWishes, Wishes } from './asking';
import { AutoContrast } from './contrast';
import { Cursor } from './cursor';
import { make } from './dom';
import { Following, STEP_MS } from './following';
import { Gestures, type Place } from './gestures';
import { listenToKeys } from './keys';
import { Painter } from './painter';
import { Quality } from './quality';
import { RegionBox } from './region_box';
import type { RendererChoice } from './renderer';
import { saneState } from './state';
import { PolygonTool, RegionTool } from './tools';
import { Toolbar } from './toolbar';
import { frameOf, panned, toCanvas, toPicture, zoomedAt, type Canvas, type Frame, type Shape } from './viewport';

export const makeImagePane: MakeImagePane = (pane, connection, state, events, { renderer }) =>
  new Pane(pane, connection, state, events, renderer);

class Pane implements ImagePane {
  readonly element = make('section', 'pane', { 'aria-label': 'Picture' });
  readonly state: PaneState;
  private readonly stage = make('div', 'pane-stage', {
    tabindex: '0',
    role: 'application',
    'aria-label': 'Picture: arrow keys pan, plus and minus zoom, shift and arrow keys move a cursor',
  });
  private readonly message = make('p', 'pane-message');
  private readonly regionBox = new RegionBox();
  private readonly toolbar: Toolbar;
  private readonly painter: Painter;
  private readonly wishes: Wishes;
  private readonly cursor: Cursor;
  private readonly region: RegionTool;
  private readonly polygon: PolygonTool;
  private readonly contrast = new AutoContrast();
  private readonly following = new Following();
  private readonly quality = new Quality();
  private readonly observer: ResizeObserver;
  private run: Run | null = null;
  private picture: Picture | null = null;
  /** Pictures that came since the last drawing: all of them are acknowledged by it. */
  private undrawn: Picture[] = [];
  private trial: Float32Array | null = null;
  private text: string | null = null;
  /** A wish that waits for a step to show something. */
  private held: ReturnType<typeof setTimeout> | undefined;
  /** The drawing that is due; -1 after the end. */
  private request = 0;

  constructor(
    private readonly pane: number,
    private readonly connection: Connection,
    state: PaneState,
    private readonly events: PaneEvents,
    choice: RendererChoice,
  ) {
    this.state = saneState(state);
    this.following.asked(state.at);
    this.wishes = new Wishes(pane, connection);
    const toPixel = (at: Place) => toPicture(this.frame(), ...at);
    const stage = {
      toPicture: toPixel,
      perPixel: () => this.canvas().ratio / this.frame().scale,
      shape: () => this.shape(),
      redraw: () => this.schedule(),
    };
    this.region = new RegionTool(stage, () => this.state.roi, (roi) => this.set({ roi }));
    this.polygon = new PolygonTool(stage);
    this.cursor = new Cursor(
      new PixelWishes(pane, connection),
      toPixel,
      () => ({ picture: this.picture, run: this.run, pool: this.state.pool }),
      (text) => events.cursor(text),
    );
    this.toolbar = new Toolbar(this.state, {
      set: (changes) => this.set(changes),
      fit: () => this.fit(),
      oneToOne: () => this.oneToOne(),
      auto: (on) => this.set({ range: on ? null : this.range() }),
      region: (byKeyboard) => this.toggleRegion(byKeyboard),
    });
    this.stage.append(this.regionBox.element, this.message);
    this.element.append(this.toolbar.element, this.stage);
    this.painter = new Painter(this.stage, choice, () => this.schedule());
    this.listen();
    this.observer = new ResizeObserver(() => this.changedView());
    this.observer.observe(this.stage);
    this.redraw();
  }

  set(changes: Partial<PaneState>): void {
    const other = (['source', 'kind'] as const).some((key) => key in changes && changes[key] !== this.state[key]);
    Object.assign(this.state, saneState({ ...this.state, ...changes }));
    if (other) this.forget();
    if ('at' in changes) this.following.asked(this.state.at);
    this.changedView();
    this.events.changed({ ...this.state });
  }

  setRun(run: Run | null): void {
    this.run = run;
    this.changedView();
  }

  show(picture: Picture): void {
    const { header } = picture;
    if (header.source !== this.state.source || header.kind !== this.state.kind) {
      // It was on its way while something else was chosen.
      this.acknowledge(picture);
      return this.connection.recycle(picture);
    }
    const resized = String(this.shape()) !== String(header.full);
    const old = this.picture;
    this.undrawn.push(picture);
    this.picture = picture;
    this.text = null;
    this.contrast.see(header);
    this.painter.setPicture(picture);
    if (old && !this.undrawn.includes(old)) this.connection.recycle(old);
    const at = this.following.take(header, this.state.at);
    if (at) {
      this.state.at = at;
      this.wishes.stands(at);
      this.events.changed({ ...this.state });
    }
    const { late_s } = picture;
    const adapted = header.follows && late_s != null && this.quality.see(late_s, performance.now());
    if (at || resized || adapted) this.changedView();
    else this.schedule();
  }

  showPixel(pixel: Pixel): void {
    this.cursor.answered(pixel);
  }

  showText(text: string | null): void {
    this.text = text;
    if (text !== null) this.following.gaveUp();
    this.schedule();
  }

  showTrial(peaks: [number, number, number][] | null): void {
    this.trial = peaks && Float32Array.from(peaks.flat());
    this.schedule();
  }

  drawPolygon(): Promise<[number, number][] | null> {
    this.region.armed = false;
    this.stage.focus();
    return this.polygon.draw();
  }

  fit(): void {
    this.set({ view: null });
  }

  oneToOne(): void {
    this.zoomAt(this.middle(), 1 / this.frame().scale);
  }

  step(by: -10 | -1 | 1 | 10): void {
    this.following.stepped();
    this.connection.send({ t: 'step', pane: this.pane, by });
  }

  png(): Promise<Blob> {
    this.draw();
    return this.painter.png();
  }

  redraw(): void {
    this.painter.takeThemesColours();
    this.changedView();
  }

  dispose(): void {
    cancelAnimationFrame(this.request);
    clearTimeout(this.held);
    this.request = -1;
    this.observer.disconnect();
    this.polygon.finish(false);
    this.cursor.forget();
    this.wishes.dispose();
    this.painter.dispose();
    this.element.remove();
  }

  // --- what is where

  private shape(): Shape | null {
    return this.picture?.header.full ?? this.run?.shape ?? null;
  }

  private canvas(): Canvas {
    const ratio = window.devicePixelRatio || 1;
    const { width, height } = this.stage.getBoundingClientRect();
    return { width: Math.round(width * ratio), height: Math.round(height * ratio), ratio };
  }

  private frame(): Frame {
    return frameOf(this.state.view, this.shape() ?? [1, 1], this.canvas());
  }

  private middle(): Place {
    const { width, height } = this.canvas();
    return [width / 2, height / 2];
  }

  private range(): [number, number] {
    return this.state.range ?? this.contrast.range;
  }

  // --- changes

  /** Nothing is left of another source or kind. */
  private forget(): void {
    for (const picture of this.undrawn) this.acknowledge(picture);
    for (const picture of new Set([...this.undrawn, this.picture])) if (picture) this.connection.recycle(picture);
    this.undrawn = [];
    this.picture = null;
    this.trial = null;
    this.text = null;
    this.cursor.forget();
    this.painter.setPicture(null);
  }

  private changedView(): void {
    clearTimeout(this.held);
    // A wish says where the pane stands, and would undo a step.
    if (this.following.isUnknown) this.held = setTimeout(() => this.changedView(), STEP_MS);
    else {
      const shape = this.shape();
      const have = this.picture && partOf(this.picture);
      // Who looks at one message waits for all of it.
      const quality = this.state.at ? 1 : this.quality.value;
      this.wishes.update(this.state, shape && this.frame(), this.canvas(), shape, have, quality);
    }
    this.schedule();
  }

  private zoomAt(at: Place, factor: number): void {
    const shape = this.shape();
    if (shape) this.set({ view: zoomedAt(this.state.view, shape, this.canvas(), at, factor) });
  }

  private pan(dx: number, dy: number): void {
    const shape = this.shape();
    if (shape) this.set({ view: panned(this.state.view, shape, this.canvas(), dx, dy) });
  }

  private toggleRegion(byKeyboard: boolean): void {
    if (this.region.armed || this.state.roi) {
      this.region.armed = false;
      return this.set({ roi: null });
    }
    if (!byKeyboard) {
      this.region.armed = true;
      return this.schedule();
    }
    const { width, height } = this.canvas();
    const corner = (part: number) => toPicture(this.frame(), part * width, part * height);
    this.region.open(corner(0.4), corner(0.6));
    this.stage.focus();
  }

  // --- drawing

  private schedule(): void {
    if (this.request === 0) this.request = requestAnimationFrame(() => this.draw());
  }

  private draw(): void {
    if (this.request < 0) return;
    cancelAnimationFrame(this.request);
    this.request = 0;
    const [canvas, frame, range] = [this.canvas(), this.frame(), this.range()];
    const { state, run, picture, trial } = this;
    const { pointer, pixel: cursor } = this.cursor;
    const geometry = this.shape() && run ? run.geometry : null;
    const polygon = this.polygon.corners;
    this.painter.draw({ state, range, frame, canvas, geometry, picture, trial, polygon, pointer, cursor });
    this.drawAround(frame, canvas);
    this.finishPictures();
    this.cursor.drawn();
  }

  /** Everything that is no canvas. */
  private drawAround(frame: Frame, canvas: Canvas): void {
    const { state, picture } = this;
    this.toolbar.update(state, frame.scale / canvas.ratio, this.region.armed);
    this.toolbar.showRange(this.range(), picture?.header.histogram ?? null, this.painter.colours);
    const waiting = picture ? '' : `waiting for the first ${nameOf(state.kind)} of ${state.source || 'a data source'}`;
    this.message.textContent = this.text ?? waiting;
    this.message.hidden = !this.message.textContent;
    const corner = state.roi && toCanvas(frame, state.roi[2], state.roi[1]);
    const place: Place | null = corner && [corner[0] / canvas.ratio, corner[1] / canvas.ratio];
    this.regionBox.update(state.roi, picture?.header.roi ?? null, place);
    this.element.dataset.quality = String(this.quality.value);
    this.element.dataset.renderer = this.painter.rendererName;
    this.element.dataset.drawn = picture ? String(picture.header.seq) : '';
  }

  private finishPictures(): void {
    const drawn = this.undrawn;
    this.undrawn = [];
    for (const picture of drawn) {
      this.acknowledge(picture);
      if (picture !== this.picture) this.connection.recycle(picture);
    }
    if (!drawn.length || !this.picture) return;
    this.events.drawn(this.picture);
    this.cursor.renewed();
  }

  private acknowledge({ header }: Picture): void {
    this.connection.send({ t: 'ack', pane: this.pane, seq: header.seq });
  }

  // --- hands

  private listen(): void {
    new Gestures(this.stage, {
      pan: (dx, dy) => this.pan(dx, dy),
      zoomAt: (at, factor) => this.zoomAt(at, factor),
      doubleClicked: () => (this.polygon.corners ? this.polygon.finish(true) : this.fit()),
      hover: (at) => this.hover(at),
      press: (at) => this.polygon.press() ?? this.region.press(at),
    });
    listenToKeys(this.stage, {
      panBy: (dx, dy) => this.pan(dx * this.canvas().ratio, dy * this.canvas().ratio),
      zoomBy: (factor) => this.zoomAt(this.focus(), factor),
      fit: () => this.fit(),
      oneToOne: () => this.oneToOne(),
      moveCursor: (dx, dy) => this.moveCursor(dx, dy),
      moveRegion: (dx, dy, resize) => this.region.nudge(dx, dy, resize),
      toggle: (what) => this.set({ [what]: !this.state[what] }),
      auto: () => this.set({ range: this.state.range ? null : this.range() }),
      enter: () => this.cursor.pixel && this.polygon.add([this.cursor.pixel[0] + 0.5, this.cursor.pixel[1] + 0.5]),
      escape: () => this.giveUp(),
    });
  }

  /** Where keys zoom: at the cursor, or in the middle. */
  private focus(): Place {
    const { pixel } = this.cursor;
    return pixel ? toCanvas(this.frame(), pixel[0] + 0.5, pixel[1] + 0.5) : this.middle();
  }

  private hover(at: Place | null): void {
    this.stage.style.cursor = at ? (this.polygon.corners ? 'crosshair' : this.region.cursor(at)) : '';
    if (this.polygon.corners || this.cursor.pixel) this.schedule();
    this.cursor.point(at);
  }

  private moveCursor(dx: number, dy: number): void {
    const shape = this.shape();
    if (!shape) return;
    const [x, y] = toPicture(this.frame(), ...this.middle());
    this.cursor.step(dx, dy, [Math.floor(x), Math.floor(y)], shape);
    this.schedule();
  }

  private giveUp(): boolean {
    const busy = this.polygon.corners !== null || this.region.armed;
    this.polygon.finish(false);
    this.region.armed = false;
    this.schedule();
    return this.cursor.hide() || busy;
  }
}

const nameOf = (kind: string): string => (kind === 'frame' || kind === 'hit' ? kind : `powder (${kind})`);
