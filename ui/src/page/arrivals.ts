// How many pictures come, and how much they weigh: of the last three seconds.

const WINDOW_MS = 3000;

export class Arrivals {
  private list: { ms: number; bytes: number }[] = [];

  add(ms: number, bytes: number): void {
    this.list.push({ ms, bytes });
    this.forget(ms);
  }

  rate(now_ms: number): { hz: number; mb_s: number } {
    this.forget(now_ms);
    const seconds = WINDOW_MS / 1000;
    return { hz: this.list.length / seconds, mb_s: this.list.reduce((sum, one) => sum + one.bytes, 0) / 1e6 / seconds };
  }

  private forget(now_ms: number): void {
    while (this.list.length && this.list[0].ms < now_ms - WINDOW_MS) this.list.shift();
  }
}
