// All that the server has said, in one place: answers go in, the header and the cards read it. Nothing here draws, and
// whatever piles up is bounded: the page stays open for weeks.

import type {
  Answer, BufferNumbers, GroupNumbers, Hello, Histograms, LogEntry, Numbers, Receipt, Run, SourceNumbers,
} from '../protocol';
import { Timeline } from '../charts/timeline';

const MOST_LOG = 500;
const MOST_RECEIPTS = 20;
const LAG_MEMORY_S = 10; // a lag has to grow for so long before it is called growing
const BEHIND = 50; // frames: facts of the field, half a second at 100 Hz

export type Trend = 'fine' | 'behind' | 'growing';

export class Model {
  hello: Hello | null = null;
  readonly runs = new Map<string, Run>();
  numbers: Numbers | null = null;
  /** performance.now() when the numbers came. */
  numbers_ms = 0;
  readonly timelines = new Map<string, Timeline>();
  readonly histograms = new Map<string, Histograms>();
  receipts: Receipt[] = [];
  log: LogEntry[] = [];
  /** Counts up with each change of the log, which is long: it is drawn only then. */
  logVersion = 0;
  private lags = new Map<string, { time_s: number; lag: number }[]>();
  private before = new Map<string, { frames: number; saturated: number }>();
  private dismissed = new Set<string>();
  private freshLog = true;

  /** The connection is there (again): the server sends its whole log and history anew. */
  opened(): void {
    this.freshLog = true;
  }

  take(answer: Answer, now_ms: number): void {
    switch (answer.t) {
      case 'hello':
        this.hello = answer;
        break;
      case 'run':
        this.takeRun(answer);
        break;
      case 'numbers':
        this.takeNumbers(answer, now_ms);
        break;
      case 'history': {
        const rows = answer.time_s.map((_, i) => [answer.rate_hz[i], answer.age_s[i], answer.hit_rate[i], null]);
        this.timeline(answer.source).load(answer.time_s, rows);
        break;
      }
      case 'histograms':
        this.histograms.set(answer.source, answer);
        break;
      case 'receipt': {
        const key = receiptKey(answer);
        if (this.dismissed.has(key)) break;
        this.receipts = [answer, ...this.receipts.filter((old) => receiptKey(old) !== key)].slice(0, MOST_RECEIPTS);
        break;
      }
      case 'log':
        this.log = [...(this.freshLog ? [] : this.log), ...answer.entries].slice(-MOST_LOG);
        this.freshLog = false;
        this.logVersion += 1;
        break;
    }
  }

  dismiss(receipt: Receipt): void {
    this.dismissed.add(receiptKey(receipt));
    this.receipts = this.receipts.filter((old) => old !== receipt);
  }

  timeline(source: string): Timeline {
    let line = this.timelines.get(source);
    if (!line) {
      line = new Timeline(['rate_hz', 'age_s', 'hit_rate', 'saturated']);
      this.timelines.set(source, line);
    }
    return line;
  }

  source(source: string): SourceNumbers | null {
    return this.numbers?.sources[source] ?? null;
  }

  get groups(): GroupNumbers[] {
    return this.numbers?.groups ?? [];
  }

  get buffer(): BufferNumbers | null {
    return this.numbers?.buffer ?? null;
  }

  /** Whether a group keeps up: fine up to 50 messages behind, growing where the lag has only risen for some seconds. */
  trend(group: GroupNumbers): Trend {
    if (group.lag_messages <= BEHIND) return 'fine';
    const past = this.lags.get(groupKey(group)) ?? [];
    if (past.length < 4 || past[past.length - 1].time_s - past[0].time_s < LAG_MEMORY_S / 2) return 'behind';
    return group.lag_messages > past[0].lag * 1.05 + BEHIND / 5 ? 'growing' : 'behind';
  }

  private takeRun(run: Run): void {
    const old = this.runs.get(run.source);
    this.runs.set(run.source, run);
    if (old && old.stream !== run.stream) {
      this.histograms.delete(run.source);
      this.before.delete(run.source);
    }
  }

  private takeNumbers(numbers: Numbers, now_ms: number): void {
    this.numbers = numbers;
    this.numbers_ms = now_ms;
    for (const [source, of] of Object.entries(numbers.sources)) {
      const line = this.timeline(source);
      line.push(numbers.time_s, [of.rate_hz, of.age_s, of.hits?.hit_rate_of_late ?? null, this.saturated(source, of)]);
    }
    const seen = new Set<string>();
    for (const group of numbers.groups) {
      const key = groupKey(group);
      seen.add(key);
      const past = this.lags.get(key) ?? [];
      past.push({ time_s: numbers.time_s, lag: group.lag_messages });
      while (past[0].time_s < numbers.time_s - LAG_MEMORY_S || past[0].time_s > numbers.time_s) past.shift();
      this.lags.set(key, past);
    }
    for (const key of this.lags.keys()) if (!seen.has(key)) this.lags.delete(key);
  }

  /** The share of frames with saturated pixels among those that came since the last numbers; null where none came. */
  private saturated(source: string, of: SourceNumbers): number | null {
    if (of.hits === null) return null;
    const before = this.before.get(source);
    this.before.set(source, { frames: of.hits.n_frames, saturated: of.hits.n_frames_saturated });
    const frames = of.hits.n_frames - (before?.frames ?? 0);
    const saturated = of.hits.n_frames_saturated - (before?.saturated ?? 0);
    return before && frames > 0 && saturated >= 0 ? Math.min(1, saturated / frames) : null;
  }
}

function receiptKey(receipt: Receipt): string {
  return `${receipt.source}\n${receipt.stream}`;
}

function groupKey(group: GroupNumbers): string {
  return `${group.source}\n${group.stream}\n${group.name}`;
}
