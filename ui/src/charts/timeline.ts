// What happened in the last minutes, at most ten of them: rows of numbers by time, bounded, with a break in the curve where
// nothing was heard.

const BREAK_S = 5; // numbers come twice a second: ten of them missing is a silence to be seen
const MOST_ROWS = 4000; // 10 min at 2 Hz is 1200; whatever is sent, the page's memory stays flat

export type Row = (number | null)[];

export class Timeline {
  readonly names: readonly string[];
  readonly window_s: number;
  private times: number[] = [];
  private rows: Row[] = [];

  constructor(names: readonly string[], window_s = 600) {
    this.names = names;
    this.window_s = window_s;
  }

  get length(): number {
    return this.times.length;
  }

  get lastTime(): number | null {
    return this.times.length ? this.times[this.times.length - 1] : null;
  }

  push(time_s: number, row: Row, break_s = BREAK_S): void {
    if (!Number.isFinite(time_s)) return;
    const last = this.lastTime;
    if (last !== null && time_s <= last) {
      if (time_s > last - BREAK_S) return; // sent twice, or out of order by a little
      this.clear(); // the server's clock was set back: what was there lies in its future
    } else if (last !== null && time_s - last > break_s) {
      this.add(last + (time_s - last) / 2, this.names.map(() => null));
    }
    this.add(time_s, this.names.map((_, i) => (Number.isFinite(row[i] as number) ? row[i] : null)));
    this.trim(time_s);
  }

  /** Takes a history from the server: it knows better from its first row on, what is older is kept. */
  load(times: number[], rows: Row[]): void {
    const n = times.findIndex((time) => Number.isFinite(time));
    if (n < 0) return;
    let keep = this.times.length;
    while (keep > 0 && this.times[keep - 1] >= times[n]) keep -= 1;
    this.times.length = keep;
    this.rows.length = keep;
    const steps = times.slice(1).map((time, i) => time - times[i]).filter((step) => step > 0).sort((a, b) => a - b);
    const break_s = Math.max(BREAK_S, 3 * (steps[steps.length >> 1] ?? 0)); // it may be coarser than what comes live
    times.forEach((time, i) => this.push(time, rows[i], break_s));
  }

  clear(): void {
    this.times = [];
    this.rows = [];
  }

  /** Time and one list per name, copies: [times, first, second, …]. */
  columns(...names: string[]): [number[], ...(number | null)[][]] {
    const which = (names.length ? names : this.names).map((name) => this.names.indexOf(name));
    return [this.times.slice(), ...which.map((i) => this.rows.map((row) => row[i] ?? null))];
  }

  /** The newest number of that name, null where it is not known. */
  latest(name: string): number | null {
    const i = this.names.indexOf(name);
    return this.rows.length ? this.rows[this.rows.length - 1][i] ?? null : null;
  }

  private add(time_s: number, row: Row): void {
    this.times.push(time_s);
    this.rows.push(row);
  }

  private trim(now_s: number): void {
    let n = Math.max(0, this.times.length - MOST_ROWS);
    while (n < this.times.length && this.times[n] < now_s - this.window_s) n += 1;
    if (n) {
      this.times.splice(0, n);
      this.rows.splice(0, n);
    }
  }
}

/** The stretch of time to show: at least one minute, at most the window, ending now. */
export function timeRange(times: number[], window_s: number, now_s: number): [number, number] {
  const end = Math.max(now_s, times.length ? times[times.length - 1] : now_s);
  const since = times.length ? end - times[0] : 0;
  return [end - Math.min(window_s, Math.max(60, since)), end];
}
