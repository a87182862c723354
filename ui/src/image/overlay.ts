// What is drawn above the pixels: rings, beam, peaks, region, polygon, cursor, printed values.

import type { Geometry, Rect } from '../protocol';
import { chooseRings } from './geometry';
import type { Tile } from './renderer';
import { toCanvas, visibleRect, type Canvas, type Frame } from './viewport';

/** From this width on there is room for a number in a pixel [device-independent pixels]. */
const VALUES_FROM = 44;
/** Rings around peaks: at least so large [device-independent pixels], and so many pixels of the picture. */
const PEAK_RADIUS = 5;
const PEAK_PIXELS = 4;
const LABEL_FONT = '500 12px system-ui, sans-serif';
/** Height of a number for the width of its pixel [device-independent pixels]. */
const valueHeight = (zoom: number) => Math.min(14, zoom / 4);

export interface Shown {
  frame: Frame;
  canvas: Canvas;
  geometry: Geometry | null;
  rings: boolean;
  /** Triples x, y, intensity; null: none, or not wanted. */
  peaks: ArrayLike<number> | null;
  /** They are of a trial. */
  trial: boolean;
  tile: Tile | null;
  /** What a number of the tile says. */
  text: (number: number) => string;
  roi: Rect | null;
  /** Corners that were set, and the pointer. */
  polygon: readonly [number, number][] | null;
  pointer: [number, number] | null;
  /** Pixel under the cursor that keys move. */
  cursor: [number, number] | null;
  /** The colour map is light where there is little: what is drawn above is dark. */
  light: boolean;
}

const INK = {
  light: { ring: 'rgba(20, 90, 200, .55)', label: '#1450a0', halo: 'rgba(255, 255, 255, .9)', peak: '#d01f7c', trial: '#0a7d2c' },
  dark: { ring: 'rgba(120, 200, 255, .6)', label: '#9fd4ff', halo: 'rgba(0, 0, 0, .85)', peak: '#35e07a', trial: '#ff9df0' },
};
const BEAM = '#e0402f';
const REGION = '#f0a020';

export function drawOverlay(context: CanvasRenderingContext2D, shown: Shown): void {
  const { canvas } = shown;
  const ratio = canvas.ratio;
  // Everything is drawn in device-independent pixels.
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, canvas.width / ratio, canvas.height / ratio);
  const at = (x: number, y: number): [number, number] => {
    const [cx, cy] = toCanvas(shown.frame, x, y);
    return [cx / ratio, cy / ratio];
  };
  drawValues(context, shown, at);
  if (shown.rings) drawRings(context, shown, at);
  drawPeaks(context, shown, at);
  if (shown.roi) drawRegion(context, shown.roi, at);
  if (shown.polygon) drawPolygon(context, shown.polygon, shown.pointer, at);
  if (shown.cursor) drawCursor(context, shown.cursor, shown.frame.scale / ratio, at);
}

type At = (x: number, y: number) => [number, number];

function drawRings(context: CanvasRenderingContext2D, { geometry, frame, canvas, light }: Shown, at: At): void {
  if (!geometry?.beam) return;
  const ink = light ? INK.light : INK.dark;
  const zoom = frame.scale / canvas.ratio;
  const [x, y] = at(...geometry.beam);
  context.font = LABEL_FONT;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  for (const { d, radii } of chooseRings(geometry, visibleRect(frame, canvas), zoom)) {
    const [rx, ry] = radii.map((r) => r * zoom);
    context.lineWidth = 1.2;
    context.strokeStyle = ink.ring;
    context.setLineDash([6, 5]);
    context.beginPath();
    context.ellipse(x, y, rx, ry, 0, 0, 2 * Math.PI);
    context.stroke();
    context.setLineDash([]);
    const place = labelPlace(x, y, rx, ry, canvas.width / canvas.ratio, canvas.height / canvas.ratio);
    if (place) haloed(context, `${d} Å`, ...place, ink.label, ink.halo);
  }
  context.lineWidth = 1.5;
  context.strokeStyle = BEAM;
  context.beginPath();
  for (const [dx, dy] of [[9, 0], [0, 9]]) {
    context.moveTo(x - dx, y - dy);
    context.lineTo(x + dx, y + dy);
  }
  context.stroke();
}

/** On the ring, where it can be read: to the upper right, else elsewhere on the circle. */
function labelPlace(x: number, y: number, rx: number, ry: number, width: number, height: number): [number, number] | null {
  for (let i = 0; i < 24; i++) {
    // 45°, then 30° and 60°, 15° and 75°, … both ways round.
    const angle = -Math.PI / 4 + (i % 2 ? 1 : -1) * Math.ceil(i / 2) * (Math.PI / 12);
    const lx = x + rx * Math.cos(angle);
    const ly = y + ry * Math.sin(angle);
    if (lx > 24 && lx < width - 24 && ly > 12 && ly < height - 12) return [lx, ly];
  }
  return null;
}

function haloed(context: CanvasRenderingContext2D, text: string, x: number, y: number, ink: string, halo: string): void {
  context.lineWidth = 4;
  context.lineJoin = 'round';
  context.strokeStyle = halo;
  context.strokeText(text, x, y);
  context.fillStyle = ink;
  context.fillText(text, x, y);
}

function drawPeaks(context: CanvasRenderingContext2D, { peaks, trial, light, frame, canvas }: Shown, at: At): void {
  if (!peaks) return;
  const ink = light ? INK.light : INK.dark;
  const zoom = frame.scale / canvas.ratio;
  const r = Math.max(PEAK_RADIUS, PEAK_PIXELS * zoom);
  const width = canvas.width / canvas.ratio + r;
  const height = canvas.height / canvas.ratio + r;
  context.lineWidth = 1.5;
  context.strokeStyle = trial ? ink.trial : ink.peak;
  context.beginPath();
  for (let i = 0; i + 2 < peaks.length; i += 3) {
    const [x, y] = at(peaks[i], peaks[i + 1]);
    if (x < -r || y < -r || x > width || y > height) continue;
    if (trial) context.rect(x - r, y - r, 2 * r, 2 * r);
    else {
      context.moveTo(x + r, y);
      context.arc(x, y, r, 0, 2 * Math.PI);
    }
  }
  context.stroke();
}

/** Numbers in the pixels, where they are wide enough. */
function drawValues(context: CanvasRenderingContext2D, { frame, canvas, tile, text }: Shown, at: At): void {
  const zoom = frame.scale / canvas.ratio;
  if (!tile || tile.level > 0 || zoom < VALUES_FROM) return;
  const [x0, y0, x1, y1] = visibleRect(frame, canvas);
  context.font = `${valueHeight(zoom)}px ui-monospace, monospace`;
  context.textAlign = 'center';
  context.textBaseline = 'middle';
  context.lineWidth = 3;
  context.lineJoin = 'round';
  context.strokeStyle = 'rgba(0, 0, 0, .8)';
  context.fillStyle = '#fff';
  for (let y = Math.max(tile.y0, Math.floor(y0)); y < Math.min(tile.y0 + tile.height, y1); y++) {
    for (let x = Math.max(tile.x0, Math.floor(x0)); x < Math.min(tile.x0 + tile.width, x1); x++) {
      const number = tile.data[(y - tile.y0) * tile.width + x - tile.x0];
      const place = at(x + 0.5, y + 0.5);
      const value = number === tile.flag ? '×' : text(number);
      context.strokeText(value, ...place, zoom - 2);
      context.fillText(value, ...place, zoom - 2);
    }
  }
}

function drawRegion(context: CanvasRenderingContext2D, [x0, y0, x1, y1]: Rect, at: At): void {
  const [left, top] = at(x0, y0);
  const [right, bottom] = at(x1, y1);
  context.lineWidth = 3;
  context.strokeStyle = 'rgba(0, 0, 0, .5)';
  context.strokeRect(left, top, right - left, bottom - top);
  context.lineWidth = 1.5;
  context.strokeStyle = REGION;
  context.strokeRect(left, top, right - left, bottom - top);
  context.fillStyle = REGION;
  for (const x of [left, (left + right) / 2, right]) {
    for (const y of [top, (top + bottom) / 2, bottom]) {
      if (x !== (left + right) / 2 || y !== (top + bottom) / 2) context.fillRect(x - 3, y - 3, 6, 6);
    }
  }
}

function drawPolygon(
  context: CanvasRenderingContext2D,
  corners: readonly [number, number][],
  pointer: [number, number] | null,
  at: At,
): void {
  const points = corners.map((corner) => at(...corner));
  if (pointer) points.push(at(...pointer));
  if (!points.length) return;
  context.beginPath();
  points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
  context.closePath();
  context.fillStyle = 'rgba(240, 160, 32, .25)';
  context.fill();
  context.lineWidth = 2;
  context.strokeStyle = REGION;
  context.stroke();
  context.fillStyle = REGION;
  for (const [x, y] of points) context.fillRect(x - 3, y - 3, 6, 6);
}

function drawCursor(context: CanvasRenderingContext2D, [x, y]: [number, number], zoom: number, at: At): void {
  const [left, top] = at(x, y);
  const edge = Math.max(zoom, 1);
  const reach = Math.max(10, edge / 2 + 6);
  for (const [width, ink] of [[4, 'rgba(0, 0, 0, .7)'], [1.5, '#fff']] as const) {
    context.lineWidth = width;
    context.strokeStyle = ink;
    context.strokeRect(left - 1, top - 1, edge + 2, edge + 2);
    context.beginPath();
    for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      context.moveTo(left + edge / 2 + dx * (edge / 2 + 3), top + edge / 2 + dy * (edge / 2 + 3));
      context.lineTo(left + edge / 2 + dx * (edge / 2 + reach), top + edge / 2 + dy * (edge / 2 + reach));
    }
    context.stroke();
  }
}
