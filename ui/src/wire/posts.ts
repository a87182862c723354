// What the worker and the page's side of the connection say to each other.

import type { Answer, Picture, Request } from '../protocol';

export type ToWorker =
  | { type: 'open'; url: string; wasm: boolean }
  | { type: 'send'; request: Request }
  | { type: 'recycle'; buffer: ArrayBuffer }
  /** The page is seen again, or the network is back: do not wait, and do not trust a connection that is still. */
  | { type: 'wake' };

export type FromWorker =
  | { type: 'open' }
  | { type: 'closed'; why: string; retry_s: number | null }
  | { type: 'answer'; answer: Answer }
  /** `arrived_ms` is of the worker's clock, which began at `origin_ms`. */
  | { type: 'picture'; picture: Picture; origin_ms: number };
