// The routes of an operator: what they answer, or in words why not.

import type { Kind } from '../../protocol';

export interface Parameter {
  name: string;
  /** `bool`, `int`, `float`, `str` or `array`. */
  kind: string;
  value: unknown;
  default: unknown;
  minimum: number | null;
  maximum: number | null;
  unit: string | null;
  help: string | null;
}

export interface Parameters {
  group: string;
  version: number;
  parameters: Parameter[];
}

export interface Preview {
  n_peaks: number;
  hit: boolean;
  peaks: [number, number, number][];
}

export type Values = Record<string, unknown>;

export class ControlError extends Error {}

/** A preview reads and searches a frame: seconds on a busy machine, not minutes. */
const LIMIT_MS = 20_000;

async function ask<T>(path: string, body: unknown, signal?: AbortSignal): Promise<T> {
  const limit = AbortSignal.timeout(LIMIT_MS);
  let response: Response;
  try {
    response = await fetch(`control/${path}`, {
      ...(body === undefined ? {} : { method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json' } }),
      credentials: 'same-origin',
      cache: 'no-store',
      signal: signal ? AbortSignal.any([limit, signal]) : limit,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new ControlError(limit.aborted ? `no answer within ${LIMIT_MS / 1000} s` : 'the server does not answer');
  }
  const answer: unknown = await response.json().catch(() => null);
  if (response.ok && answer !== null) return answer as T;
  const said = (answer as { error?: unknown } | null)?.error;
  if (typeof said === 'string') throw new ControlError(said);
  throw new ControlError(response.status === 403 ? 'only an operator may do this' : `the server answered with status ${response.status}`);
}

export function parameters(source: string): Promise<Parameters> {
  return ask(`parameters?source=${encodeURIComponent(source)}`, undefined);
}

export function preview(of: { source: string; kind: Kind; stream: string; id: number; values: Values }, signal: AbortSignal): Promise<Preview> {
  return ask('preview', of, signal);
}

export function apply(source: string, values: Values): Promise<{ version: number }> {
  return ask('parameters', { source, values });
}

export function addMask(source: string, polygon: [number, number][], erase: boolean): Promise<{ n_masked: number; version: number }> {
  return ask('mask', { source, shapes: [{ polygon, erase }] });
}

export function resetPowder(source: string): Promise<unknown> {
  return ask('powder/reset', { source });
}
