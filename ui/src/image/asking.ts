// What a pane asks the server for: the part of the picture that it shows, and single pixels. Never more often than needed.

import type { Connection, PaneState } from '../interfaces';
import type { PaneWish, Picture, Rect } from '../protocol';
import { covers, levelFor, visibleRect, wishFor, type Canvas, type Frame, type Shape } from './viewport';

/** The wish for another part waits for so long for the next move [ms], and no longer than the second in all. */
const SETTLE_MS = 60;
const LONGEST_MS = 150;
const PIXEL_SETTLE_MS = 80;
const PIXEL_AGAIN_MS = 200;
/** Asked for before anything is known of the picture: all of it. */
const ALL: Rect = [0, 0, 65536, 65536];
/** A region so many times larger than needed is asked for anew: its pixels cost more than the asking. */
const TOO_LARGE = 4;

/** What has come: the part of the picture, and from which level. */
export interface Part {
  rect: Rect;
  level: number;
}

export function partOf({ header }: Pick<Picture, 'header'>): Part {
  const { x0, y0, level, shape, full } = header;
  const end = (at: number, n: number, most: number) => Math.min(most, at + n * 2 ** level);
  return { rect: [x0, y0, end(x0, shape[1], full[1]), end(y0, shape[0], full[0])], level };
}

export class Wishes {
  private sent: PaneWish | null = null;
  private next: PaneWish | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private since_ms = 0;

  constructor(
    private readonly pane: number,
    private readonly connection: Connection,
  ) {}

  /**
   * Ask for what is shown, unless it was asked for or is there.
   *
   * `shape`: null while the picture's is not known; `quality`: the part of the screen's pixels along each axis.
   */
  update(
    state: PaneState,
    frame: Frame | null,
    canvas: Canvas,
    shape: Shape | null,
    have: Part | null,
    quality = 1,
  ): void {
    if (!canvas.width || !canvas.height || !state.source) return;
    const part = frame && shape ? wishFor(frame, canvas, shape) : { rect: ALL, canvas: sizeOf(canvas) };
    const wish: PaneWish = {
      t: 'pane',
      pane: this.pane,
      source: state.source,
      kind: state.kind,
      rect: part.rect,
      canvas: part.canvas.map((n) => Math.max(1, Math.floor(n * quality))) as [number, number],
      masked: state.mask,
      pool: state.pool,
      full: state.full,
      roi: state.roi,
      at: state.at,
    };
    const old = this.sent;
    if (!old || !alike(old, wish)) return this.flush(wish);
    if (this.suffices(old, wish, frame, canvas, shape, have)) {
      clearTimeout(this.timer);
      this.next = null;
      return;
    }
    const now_ms = Date.now();
    if (!this.next) this.since_ms = now_ms;
    this.next = wish;
    clearTimeout(this.timer);
    const wait_ms = Math.min(SETTLE_MS, this.since_ms + LONGEST_MS - now_ms);
    this.timer = setTimeout(() => this.flush(), Math.max(0, wait_ms));
  }

  /** The pane has stepped to a message: the server knows, it was its answer. */
  stands(at: PaneState['at']): void {
    if (this.sent) this.sent = { ...this.sent, at };
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.connection.send({ t: 'close', pane: this.pane });
  }

  private flush(wish = this.next): void {
    clearTimeout(this.timer);
    this.next = null;
    if (!wish) return;
    this.connection.send(wish);
    this.sent = wish;
  }

  private suffices(
    old: PaneWish,
    wish: PaneWish,
    frame: Frame | null,
    canvas: Canvas,
    shape: Shape | null,
    have: Part | null,
  ): boolean {
    if (String(old.roi) !== String(wish.roi)) return false;
    if (wish.full) return true;
    if (!frame || !shape) return String(old.canvas) === String(wish.canvas);
    const area = ({ rect }: PaneWish) => (rect[2] - rect[0]) * (rect[3] - rect[1]);
    const visible = visibleRect(frame, canvas);
    return (
      levelOf(old) === levelOf(wish) &&
      area(old) < TOO_LARGE * area(wish) &&
      (covers(old.rect, visible, shape) ||
        (have !== null && have.level <= levelOf(wish) && covers(have.rect, visible, shape)))
    );
  }
}

const levelOf = ({ canvas, rect }: PaneWish): number => levelFor(canvas[0] / (rect[2] - rect[0]));

const sizeOf = (canvas: Canvas): [number, number] => [canvas.width, canvas.height];

/** All but what changes while something is dragged. */
function alike(a: PaneWish, b: PaneWish): boolean {
  const rest = ({ rect: _rect, canvas: _canvas, roi: _roi, ...others }: PaneWish) => JSON.stringify(others);
  return rest(a) === rest(b);
}

/** Asks for the pixel under the cursor once that rests, and again for each new picture, but not too often. */
export class PixelWishes {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private asked_ms = 0;

  constructor(
    private readonly pane: number,
    private readonly connection: Connection,
  ) {}

  /** The cursor has moved; `at` null: there is none. */
  moved(at: [number, number] | null): void {
    clearTimeout(this.timer);
    if (at) this.timer = setTimeout(() => this.ask(at), PIXEL_SETTLE_MS);
  }

  /** There is a new picture below the cursor. */
  renewed(at: [number, number] | null): void {
    if (at && performance.now() - this.asked_ms >= PIXEL_AGAIN_MS) this.ask(at);
  }

  private ask([x, y]: [number, number]): void {
    clearTimeout(this.timer);
    this.asked_ms = performance.now();
    this.connection.send({ t: 'px', pane: this.pane, x, y });
  }
}
