// The worker that owns the connection: receives, checks and unpacks, so that the page never waits for it.

import type { Answer, Numbers } from '../protocol';
import { makeDecoder, type Decode } from './bslz4';
import { Lateness } from './lateness';
import { Link } from './link';
import { parseText } from './message';
import type { FromWorker, ToWorker } from './posts';
import { Pool, unpackPicture } from './unpack';

const TYPES = ['hello', 'run', 'numbers', 'history', 'histograms', 'receipt', 'log', 'px', 'gone'];

const page = self as unknown as {
  postMessage(message: FromWorker, transfer?: Transferable[]): void;
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
};

const pool = new Pool();
let link: Link | null = null;

page.onmessage = ({ data }) => {
  switch (data.type) {
    case 'open':
      link ??= connect(data.url, makeDecoder(data.wasm).decode);
      break;
    case 'send':
      link?.send(JSON.stringify(data.request));
      break;
    case 'recycle':
      pool.give(data.buffer);
      break;
    case 'wake':
      link?.wake();
      break;
  }
};

function connect(url: string, decode: Decode): Link {
  /** What cannot be read ends the connection, and is said; nothing of it reaches the page. */
  const guarded = (read: () => void) => {
    try {
      read();
    } catch (error) {
      link?.fail(`unreadable: ${error instanceof Error ? error.message : String(error)}`);
    }
  };
  const lateness = new Lateness();
  const clock_s = () => (performance.timeOrigin + performance.now()) / 1000;
  const note = (sent_s: unknown) => {
    if (typeof sent_s === 'number') lateness.note(sent_s, clock_s());
  };
  return new Link(url, {
    opened: () => page.postMessage({ type: 'open' }),
    closed: (why, retry_s) => page.postMessage({ type: 'closed', why, retry_s }),
    text: (text) =>
      guarded(() => {
        const answer = parseText(text);
        if (answer.t === 'numbers') note((answer as Partial<Numbers>).time_s);
        // A newer server may say more than this page knows: that is no flaw.
        if (TYPES.includes(answer.t)) page.postMessage({ type: 'answer', answer: answer as Answer });
      }),
    binary: (buffer) =>
      guarded(() => {
        const came_s = clock_s();
        const picture = unpackPicture(buffer, decode, pool, () => performance.now());
        picture.late_s = lateness.of(picture.header.taken_s + picture.header.age_s, came_s);
        const transfer: Transferable[] = [picture.image.buffer];
        for (const floats of [picture.peaks, picture.radial]) if (floats) transfer.push(floats.buffer);
        page.postMessage({ type: 'picture', picture, origin_ms: performance.timeOrigin }, transfer);
      }),
  });
}
