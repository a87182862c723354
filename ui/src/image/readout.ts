// What is under the cursor, as text.

import type { Geometry, Picture, Pixel, Pool, Run } from '../protocol';
import { resolutionAt } from './geometry';

/** Numbers as people read them: whole ones whole, others to five digits. */
export function valueText(value: number): string {
  if (Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1e-3 && size < 1e6 ? String(Number(value.toPrecision(5))) : value.toExponential(3);
}

/** What the picture that is shown says of a pixel; null where it has none. */
export function numberAt({ header, image }: Picture, x: number, y: number): number | null {
  const column = Math.floor((x - header.x0) / 2 ** header.level);
  const row = Math.floor((y - header.y0) / 2 ** header.level);
  if (column < 0 || row < 0 || column >= header.shape[1] || row >= header.shape[0]) return null;
  return image[row * header.shape[1] + column];
}

export interface Under {
  picture: Picture | null;
  /** The server's last answer. */
  answer: Pixel | null;
  run: Run | null;
  pool: Pool;
}

/** Text for the pixel (x, y), for example `x 12  y 40  5  d 2.31 Å`. */
export function readout(x: number, y: number, { picture, answer, run, pool }: Under): string {
  if (!picture) return '';
  const { header } = picture;
  const [height, width] = header.full;
  if (x < 0 || y < 0 || x >= width || y >= height) return 'outside the picture';
  const here = answer && answer.x === x && answer.y === y ? answer : null;
  const parts = [`x ${x}`, `y ${y}`, valueOf(picture, x, y, pool, here?.id === header.id ? here : null)];
  const d = here?.d ?? dAt(run?.geometry ?? null, x, y);
  if (d !== null) parts.push(`d ${d.toPrecision(4)} Å`);
  if (here?.raw) parts.push(`fs ${here.raw.fs}  ss ${here.raw.ss}  ${here.raw.panel}`.trimEnd());
  return parts.join('   ');
}

function valueOf(picture: Picture, x: number, y: number, pool: Pool, exact: Pixel | null): string {
  if (exact) return exact.value === null ? (exact.why ?? 'no value') : valueText(exact.value);
  const { header } = picture;
  const number = numberAt(picture, x, y);
  if (number === null) return '…';
  if (number === header.flag) return 'no value';
  const value = valueText(number * header.scale + header.offset);
  if (header.level === 0) return value;
  return pool === 'max' ? `≤ ${value}` : `≈ ${value}`;
}

/** At the middle of the pixel. */
const dAt = (geometry: Geometry | null, x: number, y: number) => geometry && resolutionAt(geometry, x + 0.5, y + 0.5);
