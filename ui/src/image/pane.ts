// One picture with its tools: what is shown, what is asked for, what is drawn, what is acknowledged.

import type { Connection, ImagePane, MakeImagePane, PaneEvents, PaneState } from '../interfaces';
import type { Picture, PictureHeader, Pixel, Run } from '../protocol';
import { PixelWishes, Wishes, type Part } from './asking';
import { isLight } from './colourmaps';
import { Colours, type Rgb } from './colours';
import { AutoContrast } from './contrast';
import { make } from './dom';
import { Gestures, type Drag, type Place } from './gestures';
import { listenToKeys } from './keys';
import { drawOverlay } from './overlay';
import { readout, valueText } from './readout';
import { RegionBox } from './region_box';
import { makeRenderer, type Renderer, type RendererChoice, type Tile } from './renderer';
import { PolygonTool, RegionTool } from './tools';
import { Toolbar } from './toolbar';
import { frameOf, panned, toCanvas, toPicture, zoomedAt, type Canvas, type Frame, type Shape } from './viewport';

/** After a new picture the exact pixel is asked for again; until then, or so long, the old text stays [ms]. */
const STALE_TEXT_MS = 250;
/** A step that has shown nothing for so long will not [ms]. */
const STEP_MS = 2000;

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
  private readonly above = make('canvas', 'pane-overlay', { 'aria-hidden': 'true' });
  private readonly message = make('p', 'pane-message');
  private readonly regionBox = new RegionBox();
  private readonly toolbar: Toolbar;
  private readonly wishes: Wishes;
  private readonly pixelWishes: PixelWishes;
  private readonly region: RegionTool;
  private readonly polygon: PolygonTool;
  private readonly colours = new Colours();
  private readonly contrast = new AutoContrast();
  private readonly observer: ResizeObserver;
  private renderer: Renderer;
  private run: Run | null = null;
  private picture: Picture | null = null;
  /** Pictures that came since the last drawing: all of them are acknowledged by it. */
  private undrawn: Picture[] = [];
  private trial: Float32Array | null = null;
  private text: string | null = null;
  private answer: Pixel | null = null;
  /** Under the pointer [device pixels], or set by keys [pixels of the picture]. */
  private pointer: Place | null = null;
  private cursor: [number, number] | null = null;
  /** When a step was asked for that has shown nothing yet: until then no wish says where the pane stands. */
  private stepped_ms: number | null = null;
  /** A message that was asked for and has not come yet. */
  private due: PaneState['at'] = null;
  private textOld_ms = 0;
  private background: Rgb = [23, 26, 31];
  private request = 0;

  constructor(
    private readonly pane: number,
    private readonly connection: Connection,
    state: PaneState,
    private readonly events: PaneEvents,
    choice: RendererChoice,
  ) {
    this.state = { ...state };
    this.wishes = new Wishes(pane, connection);
    this.pixelWishes = new PixelWishes(pane, connection);
    const stage = {
      toPicture: (at: Place) => toPicture(this.frame(), ...at),
      perPixel: () => this.canvas().ratio / this.frame().scale,
      shape: () => this.shape(),
      redraw: () => this.schedule(),
    };
    this.region = new RegionTool(stage, () => this.state.roi, (roi) => this.set({ roi }));
    this.polygon = new PolygonTool(stage);
    this.toolbar = new Toolbar(this.state, {
      set: (changes) => this.set(changes),
      fit: () => this.fit(),
      oneToOne: () => this.oneToOne(),
      auto: (on) => this.set({ range: on ? null : this.range() }),
      region: (byKeyboard) => this.toggleRegion(byKeyboard),
    });
    this.renderer = makeRenderer(choice, () => this.replaceRenderer());
    this.placeCanvas();
    this.stage.append(this.above, this.regionBox.element, this.message);
    this.element.append(this.toolbar.element, this.stage);
    this.listen();
    this.observer = new ResizeObserver(() => this.changedView());
    this.observer.observe(this.stage);
    this.redraw();
  }

  set(changes: Partial<PaneState>): void {
    const other = ['source', 'kind'].some((key) => key in changes && changes[key as 'kind'] !== this.state[key as 'kind']);
    Object.assign(this.state, changes);
    if (other) this.forget();
    if ('at' in changes) {
      this.stepped_ms = null;
      this.due = this.state.at;
    }
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
      this.connection.send({ t: 'ack', pane: this.pane, seq: header.seq });
      return this.connection.recycle(picture);
    }
    const resized = String(this.shape()) !== String(header.full);
    const old = this.picture;
    this.undrawn.push(picture);
    this.picture = picture;
    this.text = null;
    this.contrast.see(header);
    this.renderer.setTile(tileOf(picture));
    if (old && !this.undrawn.includes(old)) this.connection.recycle(old);
    const stepped = this.follow(header);
    if (resized || stepped) this.changedView();
    else this.schedule();
  }

  showPixel(pixel: Pixel): void {
    this.answer = pixel;
    this.tellCursor();
  }

  showText(text: string | null): void {
    this.text = text;
    // There was no message to step to.
    if (text !== null) this.stepped_ms = null;
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
    const canvas = this.canvas();
    const frame = this.frame();
    this.zoomAt([canvas.width / 2, canvas.height / 2], 1 / frame.scale);
  }

  step(by: -10 | -1 | 1 | 10): void {
    this.stepped_ms = performance.now();
    this.due = null;
    this.connection.send({ t: 'step', pane: this.pane, by });
  }

  png(): Promise<Blob> {
    this.draw();
    const { width, height } = this.canvas();
    const both = make('canvas', '', { width: String(width), height: String(height) });
    const context = both.getContext('2d');
    context?.drawImage(this.renderer.canvas, 0, 0);
    context?.drawImage(this.above, 0, 0);
    return new Promise((resolve, reject) => {
      both.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('the browser made no PNG'))), 'image/png');
    });
  }

  redraw(): void {
    this.background = colourOf(getComputedStyle(this.stage).backgroundColor) ?? this.background;
    this.changedView();
  }

  dispose(): void {
    cancelAnimationFrame(this.request);
    this.request = -1;
    this.observer.disconnect();
    this.polygon.finish(false);
    this.pixelWishes.moved(null);
    this.wishes.dispose();
    this.renderer.dispose();
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

  private range(): [number, number] {
    return this.state.range ?? this.contrast.range;
  }

  // --- changes

  private forget(): void {
    for (const { header } of this.undrawn) this.connection.send({ t: 'ack', pane: this.pane, seq: header.seq });
    for (const picture of new Set([...this.undrawn, this.picture])) if (picture) this.connection.recycle(picture);
    this.undrawn = [];
    this.picture = null;
    this.answer = null;
    this.trial = null;
    this.text = null;
    this.renderer.setTile(null);
  }

  private changedView(): void {
    const shape = this.shape();
    if (!this.isStepping()) {
      this.wishes.update(this.state, shape && this.frame(), this.canvas(), shape, this.picture && partOf(this.picture));
    }
    this.schedule();
  }

  private isStepping(): boolean {
    return this.stepped_ms !== null && performance.now() - this.stepped_ms < STEP_MS;
  }

  /** After a step the server says where the pane stands; true if it has said something new. */
  private follow({ follows, stream, id }: PictureHeader): boolean {
    if (follows) return false;
    if (this.due && (this.due.stream !== stream || this.due.id !== id)) return false;
    this.due = null;
    const { at } = this.state;
    if (this.stepped_ms === null && at === null) return false;
    this.stepped_ms = null;
    if (at?.stream === stream && at.id === id) return false;
    this.state.at = { stream, id };
    this.events.changed({ ...this.state });
    return true;
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
    const shape = this.shape();
    if (!byKeyboard || !shape) {
      this.region.armed = true;
      return this.schedule();
    }
    // Nobody drags it open: a fifth of what is seen, in its middle.
    const { width, height } = this.canvas();
    const low = toPicture(this.frame(), 0.4 * width, 0.4 * height).map(Math.round);
    const high = toPicture(this.frame(), 0.6 * width, 0.6 * height).map(Math.round);
    this.set({ roi: [low[0], low[1], Math.max(low[0] + 1, high[0]), Math.max(low[1] + 1, high[1])] });
    this.stage.focus();
  }

  private replaceRenderer(): void {
    if (this.request < 0) return;
    const old = this.renderer;
    this.renderer = makeRenderer('canvas2d', () => {});
    this.placeCanvas();
    old?.canvas.remove();
    old?.dispose();
    if (this.picture) this.renderer.setTile(tileOf(this.picture));
    this.schedule();
  }

  private placeCanvas(): void {
    this.renderer.canvas.className = 'pane-image';
    this.renderer.canvas.setAttribute('aria-hidden', 'true');
    this.element.dataset.renderer = this.renderer.name;
    this.stage.prepend(this.renderer.canvas);
  }

  // --- drawing

  private schedule(): void {
    if (this.request === 0) this.request = requestAnimationFrame(() => this.draw());
  }

  private draw(): void {
    if (this.request < 0) return;
    cancelAnimationFrame(this.request);
    this.request = 0;
    const canvas = this.canvas();
    for (const layer of [this.renderer.canvas, this.above]) {
      if (layer.width !== canvas.width || layer.height !== canvas.height) {
        Object.assign(layer, { width: canvas.width, height: canvas.height });
      }
    }
    const { state, picture } = this;
    const frame = this.frame();
    const { scale: factor, offset } = picture?.header ?? { scale: 1, offset: 0 };
    this.colours.set({ map: state.map, scale: state.scale, range: this.range(), factor, offset });
    this.renderer.draw({ frame, colours: this.colours, pool: state.pool, background: this.background });
    const context = this.above.getContext('2d');
    if (context) {
      drawOverlay(context, {
        frame,
        canvas,
        geometry: this.run?.geometry ?? null,
        rings: state.rings && this.shape() !== null,
        peaks: state.peaks || this.trial ? (this.trial ?? picture?.peaks ?? null) : null,
        trial: this.trial !== null,
        tile: picture && tileOf(picture),
        text: (number) => valueText(number * factor + offset),
        roi: state.roi,
        polygon: this.polygon.corners,
        pointer: this.pointer && toPicture(frame, ...this.pointer),
        cursor: this.cursor,
        light: isLight(state.map),
      });
    }
    this.drawAround(frame, canvas);
    this.acknowledge();
  }

  /** Everything that is no canvas. */
  private drawAround(frame: Frame, canvas: Canvas): void {
    const { state, picture } = this;
    this.toolbar.update(state, frame.scale / canvas.ratio, this.region.armed);
    this.toolbar.showRange(this.range(), picture?.header.histogram ?? null, this.colours);
    const waiting = picture ? '' : `waiting for the first ${nameOf(state.kind)} of ${state.source || 'a data source'}`;
    this.message.textContent = this.text ?? waiting;
    this.message.hidden = !this.message.textContent;
    const corner = state.roi && toCanvas(frame, state.roi[2], state.roi[1]);
    this.regionBox.update(state.roi, picture?.header.roi ?? null, corner && [corner[0] / canvas.ratio, corner[1] / canvas.ratio]);
    this.element.dataset.drawn = picture ? `${picture.header.seq}` : '';
  }

  private acknowledge(): void {
    const drawn = this.undrawn;
    this.undrawn = [];
    for (const picture of drawn) {
      this.connection.send({ t: 'ack', pane: this.pane, seq: picture.header.seq });
      if (picture !== this.picture) this.connection.recycle(picture);
    }
    if (!drawn.length || !this.picture) return;
    this.events.drawn(this.picture);
    this.pixelWishes.renewed(this.underInside());
    this.textOld_ms ||= performance.now();
    if (performance.now() - this.textOld_ms > STALE_TEXT_MS || this.picture.header.level === 0) this.tellCursor();
  }

  // --- the cursor

  private under(): [number, number] | null {
    if (this.cursor) return this.cursor;
    if (!this.pointer) return null;
    const [x, y] = toPicture(this.frame(), ...this.pointer);
    return [Math.floor(x), Math.floor(y)];
  }

  private hover(at: Place | null): void {
    this.pointer = at;
    this.cursor = at ? null : this.cursor;
    this.stage.style.cursor = at ? (this.polygon.corners ? 'crosshair' : this.region.cursor(at)) : '';
    if (this.polygon.corners) this.schedule();
    this.pixelWishes.moved(this.underInside());
    this.tellCursor();
  }

  private underInside(): [number, number] | null {
    const at = this.under();
    const shape = this.picture?.header.full;
    return at && shape && at[0] >= 0 && at[1] >= 0 && at[0] < shape[1] && at[1] < shape[0] ? at : null;
  }

  private tellCursor(): void {
    this.textOld_ms = 0;
    const at = this.under();
    const { picture, answer, run, state } = this;
    this.events.cursor(at ? readout(...at, { picture, answer, run, pool: state.pool }) : '');
  }

  private moveCursor(dx: number, dy: number): void {
    const shape = this.shape();
    if (!shape) return;
    const { width, height } = this.canvas();
    const middle = toPicture(this.frame(), width / 2, height / 2).map(Math.floor);
    const [x, y] = this.under() ?? middle;
    const clamped = (at: number, most: number) => Math.max(0, Math.min(most - 1, at));
    this.cursor = [clamped(x + dx, shape[1]), clamped(y + dy, shape[0])];
    this.schedule();
    this.pixelWishes.moved(this.underInside());
    this.tellCursor();
  }

  // --- hands

  private listen(): void {
    new Gestures(this.stage, {
      pan: (dx, dy) => this.pan(dx, dy),
      zoomAt: (at, factor) => this.zoomAt(at, factor),
      doubleClicked: () => (this.polygon.corners ? this.polygon.finish(true) : this.fit()),
      hover: (at) => this.hover(at),
      press: (at): Drag | null => this.polygon.press() ?? this.region.press(at),
    });
    const middle = (): Place => [this.canvas().width / 2, this.canvas().height / 2];
    listenToKeys(this.stage, {
      panBy: (dx, dy) => this.pan(dx * this.canvas().ratio, dy * this.canvas().ratio),
      zoomBy: (factor) => this.zoomAt(this.cursor ? toCanvas(this.frame(), this.cursor[0] + 0.5, this.cursor[1] + 0.5) : middle(), factor),
      fit: () => this.fit(),
      oneToOne: () => this.oneToOne(),
      moveCursor: (dx, dy) => this.moveCursor(dx, dy),
      moveRegion: (dx, dy, resize) => this.region.nudge(dx, dy, resize),
      toggle: (what) => this.set({ [what]: !this.state[what] }),
      auto: () => this.set({ range: this.state.range ? null : this.range() }),
      enter: () => this.cursor && this.polygon.add([this.cursor[0] + 0.5, this.cursor[1] + 0.5]),
      escape: () => this.giveUp(),
    });
  }

  private giveUp(): boolean {
    const busy = this.polygon.corners !== null || this.region.armed || this.cursor !== null;
    this.polygon.finish(false);
    this.region.armed = false;
    this.cursor = null;
    this.schedule();
    this.tellCursor();
    return busy;
  }
}

function tileOf({ header, image }: Picture): Tile {
  const { shape, x0, y0, level, flag } = header;
  return { data: image, width: shape[1], height: shape[0], x0, y0, level, flag };
}

function partOf({ header }: Picture): Part {
  const { x0, y0, level, shape, full } = header;
  const end = (at: number, n: number, most: number) => Math.min(most, at + n * 2 ** level);
  return { rect: [x0, y0, end(x0, shape[1], full[1]), end(y0, shape[0], full[0])], level };
}

const nameOf = (kind: string): string => (kind === 'frame' || kind === 'hit' ? kind : `powder (${kind})`);

/** From `rgb(…)`, as browsers give computed colours. */
function colourOf(css: string): Rgb | null {
  const parts = css.match(/^rgba?\((\d+), (\d+), (\d+)/);
  return parts && [Number(parts[1]), Number(parts[2]), Number(parts[3])];
}
