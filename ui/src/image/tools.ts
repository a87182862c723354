// Tools that take over the pointer: the region of interest and the polygon of a mask.

import type { Rect } from '../protocol';
import type { Drag, Place } from './gestures';
import { between, cursorFor, dragged, gripAt } from './region';
import type { Shape } from './viewport';

/** How near a pointer is to be to an edge or a corner [device-independent pixels]. */
const REACH = 8;

/** What the tools know of the pane; places in pixels of the picture. */
export interface Stage {
  toPicture(at: Place): [number, number];
  /** Pixels of the picture per device-independent pixel. */
  perPixel(): number;
  shape(): Shape | null;
  redraw(): void;
}

export class RegionTool {
  /** The next drag opens a region. */
  armed = false;

  constructor(
    private readonly stage: Stage,
    private readonly get: () => Rect | null,
    private readonly set: (roi: Rect | null) => void,
  ) {}

  press(at: Place): Drag | null {
    const shape = this.stage.shape();
    if (!shape) return null;
    const from = this.stage.toPicture(at);
    const roi = this.get();
    if (this.armed) {
      const open = (to: Place) => this.set(between(from, this.stage.toPicture(to), shape));
      return {
        move: open,
        end: (_to, moved) => {
          if (moved) this.armed = false;
          this.stage.redraw();
        },
      };
    }
    const grip = roi && gripAt(roi, ...from, REACH * this.stage.perPixel());
    if (!roi || !grip) return null;
    return {
      move: (to) => {
        const [x, y] = this.stage.toPicture(to);
        this.set(dragged(roi, grip, x - from[0], y - from[1], shape));
      },
      end: () => this.stage.redraw(),
    };
  }

  /** Without dragging: between two corners. */
  open(a: [number, number], b: [number, number]): void {
    const shape = this.stage.shape();
    if (shape) this.set(between(a, b, shape));
  }

  /** Which pointer says what a press would do. */
  cursor(at: Place): string {
    if (this.armed) return 'crosshair';
    const roi = this.get();
    return roi ? cursorFor(gripAt(roi, ...this.stage.toPicture(at), REACH * this.stage.perPixel())) : '';
  }

  /** Move or, with `resize`, stretch by keys. */
  nudge(dx: number, dy: number, resize: boolean): void {
    const roi = this.get();
    const shape = this.stage.shape();
    if (!roi || !shape) return;
    this.set(dragged(roi, resize ? { x: 1, y: 1, whole: false } : { x: 0, y: 0, whole: true }, dx, dy, shape));
  }
}

export class PolygonTool {
  corners: [number, number][] | null = null;
  private resolve: ((corners: [number, number][] | null) => void) | null = null;

  constructor(private readonly stage: Stage) {}

  draw(): Promise<[number, number][] | null> {
    this.finish(false);
    this.corners = [];
    this.stage.redraw();
    return new Promise((resolve) => {
      this.resolve = resolve;
    });
  }

  press(): Drag | null {
    if (!this.corners) return null;
    return {
      move: () => this.stage.redraw(),
      end: (to) => this.add(this.stage.toPicture(to)),
    };
  }

  /** A corner; on the first one, or twice on the same place, the polygon is complete. */
  add(corner: [number, number]): void {
    if (!this.corners) return;
    const near = ([x, y]: [number, number]) => Math.hypot(x - corner[0], y - corner[1]) <= REACH * this.stage.perPixel();
    const last = this.corners.at(-1);
    if (this.corners.length >= 3 && (near(this.corners[0]) || (last && near(last)))) return this.finish(true);
    if (!last || !near(last)) this.corners.push(corner);
    this.stage.redraw();
  }

  /** `keep` false: given up. */
  finish(keep: boolean): void {
    const corners = this.corners;
    if (!corners) return;
    this.corners = null;
    this.resolve?.(keep && corners.length >= 3 ? corners : null);
    this.resolve = null;
    this.stage.redraw();
  }
}
