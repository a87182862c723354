// Automatic contrast: what is shown lightest and darkest follows the picture, without flicker.

import type { PictureHeader } from '../protocol';

/** New pictures count for one part in so many. */
const SMOOTH_OVER = 5;
/** Changes smaller than this part are not worth a change of all colours. */
const DEAD_BAND = 0.02;
/** Highest end at least [counts]: fewer would show noise as signal. */
const LEAST_COUNTS = 4;
/** The highest end above the percentile 99.95. */
const HEADROOM = 1.5;

export function rangeFor(header: Pick<PictureHeader, 'percentiles' | 'scale' | 'offset'>): [number, number] {
  const high = HEADROOM * header.percentiles['99.95'];
  if (header.scale === 1 && header.offset === 0) return [0, Math.max(LEAST_COUNTS, high)];
  // Floats: no counts, and negative numbers are no accident.
  const low = Math.min(0, header.percentiles['1']);
  return [low, Math.max(high, low + LEAST_COUNTS * header.scale)];
}

export class AutoContrast {
  private key = '';
  private smooth: [number, number] = [0, LEAST_COUNTS];
  private shown: [number, number] = [0, LEAST_COUNTS];

  get range(): [number, number] {
    return this.shown;
  }

  /** Take note of a picture; the range begins anew with what is something else. */
  see(header: PictureHeader): void {
    const wanted = rangeFor(header);
    const key = `${header.source} ${header.kind} ${header.stream} ${header.follows}`;
    if (key !== this.key || !header.follows) {
      this.key = key;
      this.smooth = this.shown = wanted;
      return;
    }
    const next: [number, number] = [0, 1].map((i) => this.smooth[i] + (wanted[i] - this.smooth[i]) / SMOOTH_OVER) as never;
    this.smooth = next;
    const span = this.shown[1] - this.shown[0];
    if (next.some((end, i) => Math.abs(end - this.shown[i]) > DEAD_BAND * span)) this.shown = next;
  }
}
