// How late a picture comes: compared with the short messages of the same connection, whose way was the shortest. The clocks
// of server and browser need not agree.

/** Short messages that are compared with; twice a second, so of the last minute. */
const MOST = 120;

export class Lateness {
  private readonly ways_s: number[] = [];

  /** A short message that was sent at `sent_s` of the server's clock has come at `came_s` of ours. */
  note(sent_s: number, came_s: number): void {
    this.ways_s.push(came_s - sent_s);
    if (this.ways_s.length > MOST) this.ways_s.shift();
  }

  /** null as long as there is nothing to compare with. */
  of(sent_s: number, came_s: number): number | null {
    if (!this.ways_s.length) return null;
    return Math.max(0, came_s - sent_s - Math.min(...this.ways_s));
  }
}
