// What the page says of the connection and of the data behind it: connecting, waiting, live, delayed, silent, finished,
// reconnecting, closed. The server says how the data are; how old that word is, the page knows itself, with its own clock.

import type { Life, SourceNumbers } from '../protocol';
import { ticks } from './format';

export type Liveness = 'connecting' | Life | 'file' | 'reconnecting' | 'closed';

export interface Line {
  open: boolean;
  everOpen: boolean;
  /** performance.now() when it went away, and when it is tried again; null where it is not. */
  closed_ms: number;
  retry_ms: number | null;
  why: string;
  offline: boolean;
}

const DELAYED_S = 3; // numbers come twice a second
const SILENT_S = 10;

/** How it stands; `numbers` of the data source that is looked at, and when they came. */
export function liveness(line: Line, numbers: SourceNumbers | null, numbers_ms: number, now_ms: number): Liveness {
  if (!line.open) {
    if (line.retry_ms === null && line.why !== '') return 'closed';
    return line.everOpen ? 'reconnecting' : 'connecting';
  }
  if (line.offline) return 'file';
  if (numbers === null) return numbers_ms > 0 ? 'waiting' : 'connecting';
  const quiet_s = (now_ms - numbers_ms) / 1000;
  if (numbers.life === 'finished' || numbers.life === 'waiting') return numbers.life;
  if (quiet_s > SILENT_S || numbers.life === 'silent') return 'silent';
  return quiet_s > DELAYED_S || numbers.life === 'delayed' ? 'delayed' : 'live';
}

export const WORDS: Record<Liveness, string> = {
  connecting: 'connecting',
  waiting: 'waiting for data',
  live: 'live',
  delayed: 'delayed',
  silent: 'silent',
  finished: 'finished',
  file: 'from a file',
  reconnecting: 'reconnecting',
  closed: 'closed',
};

/** How grave it is, for the colour and the drawing beside the word. */
export const GRAVITY: Record<Liveness, 'ok' | 'warn' | 'bad' | 'plain'> = {
  connecting: 'plain',
  waiting: 'plain',
  live: 'ok',
  delayed: 'warn',
  silent: 'bad',
  finished: 'plain',
  file: 'plain',
  reconnecting: 'warn',
  closed: 'bad',
};

/** What to say below the header while the line is down; null while it is up. It ticks. */
export function outage(line: Line, now_ms: number): string | null {
  if (line.open || (!line.everOpen && line.why === '')) return null;
  const gone_s = (now_ms - line.closed_ms) / 1000;
  const why = line.why === '' ? '' : ` (${line.why})`;
  if (line.retry_ms === null) return `The server has closed the connection${why}. Load the page anew, from the address that the monitor printed.`;
  const wait_s = (line.retry_ms - now_ms) / 1000;
  const next = wait_s > 0.5 ? `next try in ${ticks(Math.ceil(wait_s))}` : 'trying again';
  const since = line.everOpen ? `The server is gone since ${ticks(gone_s)}${why}` : `The server does not answer${why}`;
  return `${since}; ${next}. What you see is old.`;
}

/** The age of the newest message now [s]: what the server said plus the time since; null where there is none. */
export function ageNow(numbers: SourceNumbers | null, numbers_ms: number, now_ms: number): number | null {
  if (numbers === null || numbers.age_s === null) return null;
  return numbers.age_s + Math.max(0, now_ms - numbers_ms) / 1000;
}
