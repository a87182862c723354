// Messages as the server sends them, for tests: whole ones, and whatever a test makes of them.

import type { PictureHeader } from '../src/protocol';

export interface Parts {
  header: Record<string, unknown>;
  body: Uint8Array;
}

/** A picture of 4 x 6 pixels, part of one of 20 x 30, with two peaks and a radial profile of three. */
export function parts(): Parts {
  const image = Uint16Array.from({ length: 24 }, (_, i) => i);
  const peaks = Float32Array.from([1.5, 2.5, 100, 3.5, 0.5, 50]);
  const radial = Float32Array.from([0, 1, 2, 10, 11, 12]);
  const body = new Uint8Array(96);
  body.set(new Uint8Array(image.buffer), 0);
  body.set(new Uint8Array(peaks.buffer), 48);
  body.set(new Uint8Array(radial.buffer), 72);
  const header: PictureHeader = {
    t: 'picture',
    pane: 1,
    seq: 7,
    source: 'p13/eiger',
    kind: 'frame',
    stream: 'run_1',
    id: 12,
    n_frames: 1,
    follows: true,
    age_s: 0.1,
    taken_s: 1.7e9,
    full: [20, 30],
    level: 1,
    x0: 4,
    y0: 2,
    shape: [4, 6],
    flag: 65535,
    scale: 1,
    offset: 0,
    percentiles: { '1': 0, '50': 1, '95': 3, '99.5': 8, '99.95': 20 },
    histogram: { first: 0, step: 0.1, counts: [5, 3, 1] },
    numbers: { maximum: 23, mean: 11.5, total: 276, n_good: 24, n_flagged: 0, n_masked: 0 },
    hit: true,
    n_peaks: 2,
    roi: null,
    blocks: [
      { name: 'image', codec: 'none', dtype: 'u2', shape: [4, 6], offset: 0, bytes: 48 },
      { name: 'peaks', codec: 'none', dtype: 'f4', shape: [2, 3], offset: 48, bytes: 24 },
      { name: 'radial', codec: 'none', dtype: 'f4', shape: [2, 3], offset: 72, bytes: 24 },
    ],
  };
  return { header: header as unknown as Record<string, unknown>, body };
}

export function message({ header, body }: Parts): ArrayBuffer {
  return withHeader(JSON.stringify(header), body);
}

export function withHeader(json: string, body: Uint8Array): ArrayBuffer {
  let text = new TextEncoder().encode(json);
  const padded = new Uint8Array(text.length + ((8 - ((text.length + 4) % 8)) % 8)).fill(32);
  padded.set(text);
  text = padded;
  const out = new Uint8Array(4 + text.length + body.length);
  new DataView(out.buffer).setUint32(0, text.length, true);
  out.set(text, 4);
  out.set(body, 4 + text.length);
  return out.buffer;
}
