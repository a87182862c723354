// Which pixels of a tile a pixel of the screen shows, along one axis. Both renderers use the same spans.
//
// Policy: where a screen pixel shows more than one pixel of the tile, it shows as many as every other one, so that noise
// looks the same everywhere, and enough that none is left out: a Bragg peak of one pixel is never lost, but may be seen in
// two. Where it shows less than one, the one below its middle counts.

/**
 * Pairs (first, end) for each of n screen pixels; first is -1 where there is nothing.
 *
 * origin: where the picture begins on the screen [device pixels]; width: of one of the tile's pixels [device pixels];
 * skipped: how many of them lie between the two beginnings; length: how many the tile has.
 */
export function spans(n: number, origin: number, width: number, skipped: number, length: number): Int32Array {
  const out = new Int32Array(2 * n);
  const pooled = width < 1;
  const many = pooled ? Math.ceil(1 / width - 1e-6) : 1;
  for (let i = 0; i < n; i++) {
    // Counted from the picture's beginning: rounding does not depend on the tile.
    const first = Math.floor((i + (pooled ? 0 : 0.5) - origin) / width) - skipped;
    const end = Math.min(first + many, length);
    const shows = end > Math.max(0, first);
    out[2 * i] = shows ? Math.max(0, first) : -1;
    out[2 * i + 1] = shows ? end : -1;
  }
  return out;
}

/** Of more pixels than this, along an axis, only every second, third, … is pooled: for a moment, until the server has sent
 * a smaller level. */
export const MOST_POOLED = 16;

export const stride = (first: number, end: number): number => Math.ceil((end - first) / MOST_POOLED);
