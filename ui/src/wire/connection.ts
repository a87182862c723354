// The page's side of the connection. Keeps what each pane has wished for last, and says it again to a server that is new.

import type { Connection, ConnectionEvent } from '../interfaces';
import type { PaneWish, Picture, Request } from '../protocol';
import type { FromWorker, ToWorker } from './posts';

export class WorkerConnection implements Connection {
  private readonly worker: Worker;
  private readonly listeners: ((event: ConnectionEvent) => void)[] = [];
  private readonly wishes = new Map<number, PaneWish>();
  /** Pictures of this connection that are not acknowledged yet, as 'pane:seq': a new server knows nothing of older ones. */
  private readonly owed = new Set<string>();
  /** Panes that have stepped since their last wish. */
  private readonly stepped = new Set<number>();
  private isOpen = false;

  /** `wasm` false: unpack by TypeScript. */
  constructor({ wasm = true }: { wasm?: boolean } = {}) {
    this.worker = new Worker(new URL('worker.js', document.baseURI));
    this.worker.onmessage = ({ data }: MessageEvent<FromWorker>) => this.heard(data);
    this.worker.onerror = (event) => {
      this.tell({ type: 'closed', why: `the page's worker failed: ${event.message}`, retry_s: null });
    };
    const url = new URL('ws', document.baseURI);
    url.protocol = url.protocol.replace('http', 'ws');
    this.post({ type: 'open', url: url.href, wasm });
    document.addEventListener('visibilitychange', () => {
      this.send({ t: 'hide', hidden: document.hidden });
      if (!document.hidden) this.post({ type: 'wake' });
    });
    window.addEventListener('online', () => this.post({ type: 'wake' }));
    window.addEventListener('pageshow', () => this.post({ type: 'wake' }));
  }

  send(request: Request): void {
    if (request.t === 'pane') this.wishes.set(request.pane, request);
    if (request.t === 'close') this.wishes.delete(request.pane);
    if (request.t === 'step') this.stepped.add(request.pane);
    else if (request.t === 'pane') this.stepped.delete(request.pane);
    if (!this.isOpen) return;
    if (request.t === 'ack' && !this.owed.delete(`${request.pane}:${request.seq}`)) return;
    this.post({ type: 'send', request });
  }

  on(listener: (event: ConnectionEvent) => void): void {
    this.listeners.push(listener);
  }

  recycle(picture: Picture): void {
    const buffer = picture.image.buffer as ArrayBuffer;
    if (buffer.byteLength) this.post({ type: 'recycle', buffer }, [buffer]);
  }

  private heard(data: FromWorker): void {
    if (data.type === 'open') {
      this.isOpen = true;
      if (document.hidden) this.send({ t: 'hide', hidden: true });
      for (const wish of this.wishes.values()) this.send(wish);
    } else if (data.type === 'closed') {
      this.isOpen = false;
      this.owed.clear();
    } else if (data.type === 'picture') {
      const { picture, origin_ms } = data;
      picture.arrived_ms += origin_ms - performance.timeOrigin;
      this.owed.add(`${picture.header.pane}:${picture.header.seq}`);
      this.follow(picture);
      return this.tell({ type: 'picture', picture });
    }
    this.tell(data);
  }

  /** After a `step` the server shows a message that no wish has named: a new server is to show the same. */
  private follow({ header }: Picture): void {
    const wish = this.wishes.get(header.pane);
    if (!wish || header.follows || !this.stepped.has(header.pane)) return;
    this.wishes.set(header.pane, { ...wish, at: { stream: header.stream, id: header.id } });
  }

  private tell(event: ConnectionEvent): void {
    for (const listener of this.listeners) listener(event);
  }

  private post(message: ToWorker, transfer: Transferable[] = []): void {
    this.worker.postMessage(message, transfer);
  }
}
