// From a number to a colour: f((value - lo) / (hi - lo)), 256 colours.
//
// Both renderers colour numbers below 65536 by the same table, so they show the same; larger ones, which only sums have,
// are computed.

import type { Scale } from '../interfaces';
import { colourMap } from './colourmaps';

export const TABLE_SIZE = 65536;

export interface Look {
  map: string;
  scale: Scale;
  range: readonly [number, number];
  /** Value = number * factor + offset. */
  factor: number;
  offset: number;
}

export type Rgb = readonly [number, number, number];

/** What stands for «no value»: a slate blue that no colour map has. */
export const NO_VALUE: Rgb = [70, 78, 110];

export function scaled(scale: Scale, value: number): number {
  if (scale === 'sqrt') return Math.sqrt(Math.max(0, value));
  if (scale === 'log') return Math.log1p(Math.max(0, value));
  return value;
}

export function unscaled(scale: Scale, y: number): number {
  if (scale === 'sqrt') return y * y;
  if (scale === 'log') return Math.expm1(y);
  return y;
}

/** As one number of a canvas: opaque, little-endian. */
export const packed = ([red, green, blue]: Rgb): number => ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;

export class Colours {
  /** Of each number below 65536, packed. */
  readonly table = new Uint32Array(TABLE_SIZE);
  /** Grows with each change: who has copied the table sees that it is old. */
  version = 0;
  private readonly map256 = new Uint32Array(256);
  private readonly scaledNumbers = new Float64Array(TABLE_SIZE);
  private look: Look | null = null;
  private low = 0;
  private perColour = 1;

  set(look: Look): void {
    const old = this.look;
    if (old && same(old, look)) return;
    this.look = { ...look, range: [...look.range] };
    if (!old || old.scale !== look.scale || old.factor !== look.factor || old.offset !== look.offset) {
      for (let i = 0; i < TABLE_SIZE; i++) this.scaledNumbers[i] = scaled(look.scale, i * look.factor + look.offset);
    }
    const map = colourMap(look.map);
    for (let i = 0; i < 256; i++) this.map256[i] = packed([map[3 * i], map[3 * i + 1], map[3 * i + 2]]);
    this.low = scaled(look.scale, look.range[0]);
    this.perColour = 255 / Math.max(1e-12, scaled(look.scale, look.range[1]) - this.low);
    for (let i = 0; i < TABLE_SIZE; i++) this.table[i] = this.map256[this.index(this.scaledNumbers[i])];
    this.version++;
  }

  /** What a shader needs to do the same: f, f(lo), colours per f. */
  get formula(): { scale: Scale; low: number; perColour: number; factor: number; offset: number } {
    const { scale, factor, offset } = this.look ?? { scale: 'linear' as const, factor: 1, offset: 0 };
    return { scale, low: this.low, perColour: this.perColour, factor, offset };
  }

  /** The 256 colours, packed. */
  get map(): Uint32Array<ArrayBuffer> {
    return this.map256;
  }

  ofNumber(number: number): number {
    if (number < TABLE_SIZE) return this.table[number];
    const { factor, offset } = this.formula;
    return this.ofValue(number * factor + offset);
  }

  ofValue(value: number): number {
    return this.map256[this.index(scaled(this.formula.scale, value))];
  }

  private index(y: number): number {
    return Math.max(0, Math.min(255, Math.floor((y - this.low) * this.perColour + 0.5)));
  }
}

function same(a: Look, b: Look): boolean {
  return (
    a.map === b.map &&
    a.scale === b.scale &&
    a.range[0] === b.range[0] &&
    a.range[1] === b.range[1] &&
    a.factor === b.factor &&
    a.offset === b.offset
  );
}
