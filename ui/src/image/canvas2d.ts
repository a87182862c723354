// Draws a tile pixel by pixel: what a machine without a graphics card does fastest.

import { NO_VALUE, packed, type Colours } from './colours';
import type { Drawing, Renderer, Tile } from './renderer';
import { spans, stride } from './spans';

export class Canvas2dRenderer implements Renderer {
  readonly name = 'canvas2d';
  private readonly context: CanvasRenderingContext2D;
  private tile: Tile | null = null;
  private pixels: ImageData | null = null;

  constructor(readonly canvas: HTMLCanvasElement) {
    const context = canvas.getContext('2d', { alpha: false });
    if (!context) throw new Error('this browser has neither WebGL 2 nor Canvas 2D');
    this.context = context;
  }

  setTile(tile: Tile | null): void {
    this.tile = tile;
  }

  draw({ frame, colours, pool, background }: Drawing): void {
    const { width, height } = this.canvas;
    if (!width || !height) return;
    if (this.pixels?.width !== width || this.pixels.height !== height) {
      this.pixels = this.context.createImageData(width, height);
    }
    const out = new Uint32Array(this.pixels.data.buffer);
    const empty = packed(background);
    const tile = this.tile;
    if (!tile) out.fill(empty);
    else {
      const pixel = frame.scale * 2 ** tile.level;
      const columns = spans(width, frame.left, pixel, Math.round(tile.x0 / 2 ** tile.level), tile.width);
      const rows = spans(height, frame.top, pixel, Math.round(tile.y0 / 2 ** tile.level), tile.height);
      if (pixel >= 1) drawSingle(tile, columns, rows, colours, empty, out);
      else if (pool === 'max') drawPooled(tile, columns, rows, colours, empty, out, largest);
      else drawPooled(tile, columns, rows, colours, empty, out, mean);
    }
    this.context.putImageData(this.pixels, 0, 0);
  }

  dispose(): void {
    this.tile = null;
    this.pixels = null;
  }
}

const bad = packed(NO_VALUE);

/** At most one pixel of the tile per pixel of the screen. Rows that show the same are copied. */
function drawSingle(tile: Tile, columns: Int32Array, rows: Int32Array, colours: Colours, empty: number, out: Uint32Array) {
  const { data, width, flag } = tile;
  const { table } = colours;
  const w = columns.length / 2;
  for (let j = 0; 2 * j < rows.length; j++) {
    const row = rows[2 * j];
    const at = j * w;
    if (row < 0) {
      out.fill(empty, at, at + w);
      continue;
    }
    if (j && rows[2 * j - 2] === row) {
      out.copyWithin(at, at - w, at);
      continue;
    }
    for (let i = 0; i < w; i++) {
      const column = columns[2 * i];
      if (column < 0) out[at + i] = empty;
      else {
        const number = data[row * width + column];
        out[at + i] = number === flag ? bad : number < table.length ? table[number] : colours.ofNumber(number);
      }
    }
  }
}

type PoolPixels = (tile: Tile, x0: number, x1: number, y0: number, y1: number) => number;

function drawPooled(
  tile: Tile,
  columns: Int32Array,
  rows: Int32Array,
  colours: Colours,
  empty: number,
  out: Uint32Array,
  pool: PoolPixels,
) {
  const { table } = colours;
  const w = columns.length / 2;
  for (let j = 0; 2 * j < rows.length; j++) {
    const y0 = rows[2 * j];
    const y1 = rows[2 * j + 1];
    const at = j * w;
    if (y0 < 0) {
      out.fill(empty, at, at + w);
      continue;
    }
    for (let i = 0; i < w; i++) {
      const x0 = columns[2 * i];
      if (x0 < 0) out[at + i] = empty;
      else {
        const number = pool(tile, x0, columns[2 * i + 1], y0, y1);
        out[at + i] = number < 0 ? bad : number < table.length ? table[number] : colours.ofNumber(number);
      }
    }
  }
}

/** -1 where none has a value. */
function largest({ data, width, flag }: Tile, x0: number, x1: number, y0: number, y1: number): number {
  const dx = stride(x0, x1);
  const dy = stride(y0, y1);
  let most = -1;
  for (let y = y0; y < y1; y += dy) {
    for (let at = y * width + x0, end = y * width + x1; at < end; at += dx) {
      const number = data[at];
      if (number > most && number !== flag) most = number;
    }
  }
  return most;
}

/** Rounded down, as the server does it; -1 where none has a value. */
function mean({ data, width, flag }: Tile, x0: number, x1: number, y0: number, y1: number): number {
  const dx = stride(x0, x1);
  const dy = stride(y0, y1);
  let sum = 0;
  let n = 0;
  for (let y = y0; y < y1; y += dy) {
    for (let at = y * width + x0, end = y * width + x1; at < end; at += dx) {
      const number = data[at];
      if (number === flag) continue;
      sum += number;
      n++;
    }
  }
  return n ? Math.floor(sum / n) : -1;
}
