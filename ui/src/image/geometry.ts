// Where on the picture which resolution is.

import type { ResolutionAt } from '../interfaces';
import type { Geometry, Rect } from '../protocol';

/** Resolutions worth a ring [Å]: the usual ones first, then what fills the space between them. */
const USUAL_A = [10, 5, 3, 2.5, 2, 1.6];
const FURTHER_A = [1000, 500, 200, 100, 50, 30, 20, 15, 7, 4, 3.5, 2.2, 1.8, 1.4, 1.2, 1, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4];
/** Rings closer than this are one too many [pixels of the screen, device-independent]. */
const LEAST_DISTANCE = 38;
const MOST_RINGS = 8;

interface Known {
  beam: [number, number];
  pixel_m: [number, number];
  distance_m: number;
  wavelength_a: number;
}

function known(geometry: Geometry | null): Known | null {
  if (!geometry?.beam || !geometry.pixel_m || !geometry.distance_m || !geometry.wavelength_a) return null;
  return geometry as Known;
}

/** d at a place of the picture: λ / (2 sin(½ atan(r / distance))). */
export const resolutionAt: ResolutionAt = (geometry, x, y) => {
  const g = known(geometry);
  if (!g) return null;
  const r = Math.hypot((x - g.beam[0]) * g.pixel_m[0], (y - g.beam[1]) * g.pixel_m[1]);
  return r === 0 ? null : g.wavelength_a / (2 * Math.sin(Math.atan(r / g.distance_m) / 2));
};

/** Half axes of the ring of a resolution [pixels of the picture]; null where it is not on a flat detector. */
export function ringRadii(geometry: Geometry | null, d: number): [number, number] | null {
  const g = known(geometry);
  if (!g) return null;
  const sine = g.wavelength_a / (2 * d);
  if (sine >= Math.SQRT1_2) return null;
  const r = g.distance_m * Math.tan(2 * Math.asin(sine));
  return [r / g.pixel_m[0], r / g.pixel_m[1]];
}

export interface Ring {
  d: number;
  radii: [number, number];
}

/** The rings that can be seen in a part of the picture, not too many and not too close. */
export function chooseRings(geometry: Geometry | null, visible: Rect, zoom: number): Ring[] {
  const g = known(geometry);
  if (!g) return [];
  const [near, far] = distances(g, visible);
  const chosen: Ring[] = [];
  for (const d of [...USUAL_A, ...FURTHER_A]) {
    const radii = ringRadii(g as Geometry, d);
    if (!radii || radii[0] < near || radii[0] > far || radii[0] * zoom < LEAST_DISTANCE) continue;
    if (chosen.some((ring) => Math.abs(ring.radii[0] - radii[0]) * zoom < LEAST_DISTANCE)) continue;
    chosen.push({ d, radii });
    if (chosen.length === MOST_RINGS) break;
  }
  return chosen.sort((a, b) => a.radii[0] - b.radii[0]);
}

/** Nearest and farthest radius in a rectangle [pixels along x]. */
function distances(g: Known, [x0, y0, x1, y1]: Rect): [number, number] {
  const ratio = g.pixel_m[1] / g.pixel_m[0];
  const [bx, by] = g.beam;
  const dx = Math.max(x0 - bx, 0, bx - x1);
  const dy = Math.max(y0 - by, 0, by - y1) * ratio;
  const fx = Math.max(Math.abs(x0 - bx), Math.abs(x1 - bx));
  const fy = Math.max(Math.abs(y0 - by), Math.abs(y1 - by)) * ratio;
  return [Math.hypot(dx, dy), Math.hypot(fx, fy)];
}
