// The region of interest as it is drawn, moved and resized: arithmetic only.

import type { Rect } from '../protocol';
import type { Shape } from './viewport';

/** Which edges a drag moves: -1 the lower one (left, top), 1 the upper one, 0 none. */
export interface Grip {
  x: -1 | 0 | 1;
  y: -1 | 0 | 1;
  /** All of it moves. */
  whole: boolean;
}

/** What is gripped at a place; `reach` in pixels of the picture. null: nothing of the region. */
export function gripAt([x0, y0, x1, y1]: Rect, x: number, y: number, reach: number): Grip | null {
  if (x < x0 - reach || x > x1 + reach || y < y0 - reach || y > y1 + reach) return null;
  const side = (at: number, low: number, high: number): -1 | 0 | 1 => {
    const toLow = Math.abs(at - low);
    const toHigh = Math.abs(at - high);
    if (Math.min(toLow, toHigh) > reach) return 0;
    return toLow < toHigh ? -1 : 1;
  };
  const grip = { x: side(x, x0, x1), y: side(y, y0, y1) };
  return { ...grip, whole: grip.x === 0 && grip.y === 0 };
}

/** The region after a drag by (dx, dy), in whole pixels of the picture, at least one each way. */
export function dragged(rect: Rect, grip: Grip, dx: number, dy: number, [height, width]: Shape): Rect {
  if (grip.whole) {
    const mx = Math.round(Math.max(-rect[0], Math.min(width - rect[2], dx)));
    const my = Math.round(Math.max(-rect[1], Math.min(height - rect[3], dy)));
    return [rect[0] + mx, rect[1] + my, rect[2] + mx, rect[3] + my];
  }
  const [x0, y0, x1, y1] = rect;
  return between(
    [grip.x === -1 ? x0 + dx : x0, grip.y === -1 ? y0 + dy : y0],
    [grip.x === 1 ? x1 + dx : x1, grip.y === 1 ? y1 + dy : y1],
    [height, width],
  );
}

/** The region between two places, in either order. */
export function between(a: [number, number], b: [number, number], [height, width]: Shape): Rect {
  const axis = (p: number, q: number, most: number): [number, number] => {
    const low = Math.max(0, Math.min(most - 1, Math.round(Math.min(p, q))));
    return [low, Math.max(low + 1, Math.min(most, Math.round(Math.max(p, q))))];
  };
  const [x0, x1] = axis(a[0], b[0], width);
  const [y0, y1] = axis(a[1], b[1], height);
  return [x0, y0, x1, y1];
}

export function cursorFor(grip: Grip | null): string {
  if (!grip) return '';
  if (grip.whole) return 'move';
  if (!grip.y) return 'ew-resize';
  if (!grip.x) return 'ns-resize';
  return grip.x === grip.y ? 'nwse-resize' : 'nesw-resize';
}
