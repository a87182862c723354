// How large a picture is asked for when the network is slow: all of the screen's pixels, half of them along each axis, or
// a quarter. Smaller pictures come sooner.

/** Pictures that come so much later than a short message would are too large [s]. */
const TOO_LATE_S = 0.25;
const IN_TIME_S = 0.1;
/** The mean counts about so many pictures, and so many are to be seen before a change. */
const MEAN_OVER = 4;
const LEAST = 0.25;
/** Larger pictures are tried again after so long [ms]; twice as long each time that it was in vain. */
const TRY_AFTER_MS = 5_000;
const TRY_AT_LAST_MS = 80_000;

export class Quality {
  value = 1;
  private mean_s = 0;
  private seen = 0;
  private changed_ms = -Infinity;
  private raised = false;
  private wait_ms = TRY_AFTER_MS;

  /** Take note of a picture's delay; true if the quality has changed. */
  see(late_s: number, now_ms: number): boolean {
    this.mean_s += (late_s - this.mean_s) / Math.min(++this.seen, MEAN_OVER);
    if (this.seen < MEAN_OVER) return false;
    if (this.mean_s > TOO_LATE_S && this.value > LEAST) {
      const inVain = this.raised && now_ms - this.changed_ms < TRY_AFTER_MS;
      this.wait_ms = inVain ? Math.min(TRY_AT_LAST_MS, 2 * this.wait_ms) : TRY_AFTER_MS;
      return this.change(this.value / 2, false, now_ms);
    }
    if (this.mean_s < IN_TIME_S && this.value < 1 && now_ms - this.changed_ms > this.wait_ms) {
      return this.change(this.value * 2, true, now_ms);
    }
    return false;
  }

  private change(value: number, raised: boolean, now_ms: number): true {
    Object.assign(this, { value, raised, changed_ms: now_ms, mean_s: 0, seen: 0 });
    return true;
  }
}
