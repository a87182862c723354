// How long to wait before the next try: twice as long each time, but not for ever.

const FIRST_S = 0.5;
const LONGEST_S = 10;
/** A connection that lasted so long was a good one: the next wait is short again [s]. */
const GOOD_AFTER_S = 5;

export class Backoff {
  private next_s = FIRST_S;

  /** The wait after a connection that was open for so long; 0 if it never was. */
  after(lasted_s: number): number {
    if (lasted_s >= GOOD_AFTER_S) this.next_s = FIRST_S;
    const wait_s = this.next_s;
    this.next_s = Math.min(LONGEST_S, 2 * wait_s);
    return wait_s;
  }

  /** The server has said no: asking again soon would be the same. */
  refused(): number {
    this.next_s = LONGEST_S;
    return LONGEST_S;
  }

  reset(): void {
    this.next_s = FIRST_S;
  }
}
