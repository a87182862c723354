// What a pane asks the server for: the part of the picture that it shows, and single pixels. Never more often than needed.

import type { Connection, PaneState } from '../interfaces';
import type { PaneWish, Rect } from '../protocol';
import { covers, levelFor, visibleRect, wishFor, type Canvas, type Frame, type Shape } from './viewport';

/** A wish waits for so long for the next change [ms]. */
const SETTLE_MS = 60;
const PIXEL_SETTLE_MS = 80;
/** Asked for before anything is known of the picture: all of it. */
const ALL: Rect = [0, 0, 65536, 65536];
/** A region so many times larger than needed is asked for anew: its pixels cost more than the asking. */
const TOO_LARGE = 4;

export class Wishes {
  /** Part of the screen's pixels that are asked for, along each axis: less where the network is slow. */
  quality = 1;
  private sent: PaneWish | null = null;
  private next: PaneWish | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly pane: number,
    private readonly connection: Connection,
  ) {}

  /** Ask for what is shown, soon, unless it was asked for; `shape` null while the picture's is not known. */
  update(state: PaneState, frame: Frame | null, canvas: Canvas, shape: Shape | null): void {
    if (!canvas.width || !canvas.height) return;
    const part = frame && shape ? wishFor(frame, canvas, shape) : { rect: ALL, canvas: sizeOf(canvas) };
    const wish: PaneWish = {
      t: 'pane',
      pane: this.pane,
      source: state.source,
      kind: state.kind,
      rect: part.rect,
      canvas: part.canvas.map((n) => Math.max(1, Math.round(n * this.quality))) as [number, number],
      masked: state.mask,
      pool: state.pool,
      full: state.full,
      roi: state.roi,
      at: state.at,
    };
    const old = this.sent;
    if (old && alike(old, wish) && this.suffices(old, wish, frame, canvas, shape)) {
      clearTimeout(this.timer);
      this.next = null;
      return;
    }
    this.next = wish;
    clearTimeout(this.timer);
    if (old) this.timer = setTimeout(() => this.flush(), SETTLE_MS);
    else this.flush();
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.connection.send({ t: 'close', pane: this.pane });
  }

  private flush(): void {
    if (!this.next) return;
    this.connection.send(this.next);
    this.sent = this.next;
    this.next = null;
  }

  private suffices(old: PaneWish, wish: PaneWish, frame: Frame | null, canvas: Canvas, shape: Shape | null): boolean {
    if (wish.full) return true;
    if (!frame || !shape) return String(old.canvas) === String(wish.canvas);
    const width = ({ rect }: PaneWish) => rect[2] - rect[0];
    const area = ({ rect }: PaneWish) => (rect[2] - rect[0]) * (rect[3] - rect[1]);
    return (
      covers(old.rect, visibleRect(frame, canvas), shape) &&
      levelFor(old.canvas[0] / width(old)) === levelFor(wish.canvas[0] / width(wish)) &&
      area(old) < TOO_LARGE * area(wish)
    );
  }
}

const sizeOf = (canvas: Canvas): [number, number] => [canvas.width, canvas.height];

/** All but the part. */
function alike(a: PaneWish, b: PaneWish): boolean {
  const rest = ({ rect: _r, canvas: _c, ...others }: PaneWish) => JSON.stringify(others);
  return rest(a) === rest(b);
}

/** Asks for the pixel under the cursor once that rests. */
export class PixelWishes {
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly pane: number,
    private readonly connection: Connection,
  ) {}

  /** `at` null: there is none. */
  update(at: [number, number] | null, wait_ms = PIXEL_SETTLE_MS): void {
    clearTimeout(this.timer);
    if (!at) return;
    this.timer = setTimeout(() => this.connection.send({ t: 'px', pane: this.pane, x: at[0], y: at[1] }), wait_ms);
  }
}
