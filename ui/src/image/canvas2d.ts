// Draws a tile pixel by pixel: what a machine without a graphics card does fastest.

import { NO_VALUE, packed, type Colours } from './colours';
import type { Drawing, Renderer, Tile } from './renderer';
import { MOST_POOLED, spans, stride } from './spans';

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
      else {
        const narrow = tile.data instanceof Uint16Array && tile.flag === 0xffff;
        const poolRow = pool === 'mean' ? mean() : narrow ? largestOf16() : largest();
        drawPooled(tile, columns, rows, colours, empty, out, poolRow);
      }
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

/** Per pixel of the screen a number that is one more than what it shows, 0 where there is no value. */
type PoolRow = (tile: Tile, columns: Int32Array, y0: number, y1: number, out: Float64Array) => void;

function drawPooled(
  tile: Tile,
  columns: Int32Array,
  rows: Int32Array,
  colours: Colours,
  empty: number,
  out: Uint32Array,
  pool: PoolRow,
) {
  const { table } = colours;
  const w = columns.length / 2;
  const row = new Float64Array(w);
  for (let j = 0; 2 * j < rows.length; j++) {
    const y0 = rows[2 * j];
    const at = j * w;
    if (y0 < 0) {
      out.fill(empty, at, at + w);
      continue;
    }
    pool(tile, columns, y0, rows[2 * j + 1], row);
    for (let i = 0; i < w; i++) {
      const number = row[i] - 1;
      if (columns[2 * i] < 0) out[at + i] = empty;
      else if (number < 0) out[at + i] = bad;
      else out[at + i] = number < table.length ? table[number] : colours.ofNumber(number);
    }
  }
}

/** The largest number of each column of the rows first, then of the columns: memory is read in its order. */
function largest(): PoolRow {
  let line = new Float64Array(0);
  return ({ data, width, flag }, columns, y0, y1, out) => {
    if (line.length !== width) line = new Float64Array(width);
    else line.fill(0);
    const dy = stride(y0, y1);
    for (let y = y0; y < y1; y += dy) {
      for (let x = 0, at = y * width; x < width; x++, at++) {
        const number = data[at];
        if (number >= line[x] && number !== flag) line[x] = number + 1;
      }
    }
    for (let i = 0; i < out.length; i++) {
      const x0 = columns[2 * i];
      if (x0 < 0) continue;
      const x1 = columns[2 * i + 1];
      const dx = x1 - x0 > MOST_POOLED ? stride(x0, x1) : 1;
      let most = line[x0];
      for (let x = x0 + dx; x < x1; x += dx) if (line[x] > most) most = line[x];
      out[i] = most;
    }
  };
}

/** The same for 16 bits without a branch: in noise, each one would be guessed wrong half of the time. */
function largestOf16(): PoolRow {
  let line = new Int32Array(0);
  return (tile, columns, y0, y1, out) => {
    const { width } = tile;
    const data = tile.data as Uint16Array;
    if (line.length !== width) line = new Int32Array(width);
    else line.fill(0);
    const dy = stride(y0, y1);
    for (let y = y0; y < y1; y += dy) {
      for (let x = 0, at = y * width; x < width; x++, at++) {
        // One more than the number, 0 for the flag; then the larger of two without a question.
        const less = line[x] - ((data[at] + 1) & 0xffff);
        line[x] -= less & (less >> 31);
      }
    }
    for (let i = 0; i < out.length; i++) {
      const x0 = columns[2 * i];
      if (x0 < 0) continue;
      const x1 = columns[2 * i + 1];
      const dx = x1 - x0 > MOST_POOLED ? stride(x0, x1) : 1;
      let most = line[x0];
      for (let x = x0 + dx; x < x1; x += dx) {
        const less = most - line[x];
        most -= less & (less >> 31);
      }
      out[i] = most;
    }
  };
}

/** Rounded down, as the server does it. */
function mean(): PoolRow {
  let sums = new Float64Array(0);
  let counts = new Uint32Array(0);
  return ({ data, width, flag }, columns, y0, y1, out) => {
    if (sums.length !== width) [sums, counts] = [new Float64Array(width), new Uint32Array(width)];
    sums.fill(0);
    counts.fill(0);
    const dy = stride(y0, y1);
    for (let y = y0; y < y1; y += dy) {
      for (let x = 0, at = y * width; x < width; x++, at++) {
        const number = data[at];
        if (number === flag) continue;
        sums[x] += number;
        counts[x]++;
      }
    }
    for (let i = 0; i < out.length; i++) {
      const x0 = columns[2 * i];
      const x1 = columns[2 * i + 1];
      if (x0 < 0) continue;
      const dx = stride(x0, x1);
      let [sum, n] = [0, 0];
      for (let x = x0; x < x1; x += dx) {
        sum += sums[x];
        n += counts[x];
      }
      out[i] = n ? Math.floor(sum / n) + 1 : 0;
    }
  };
}
