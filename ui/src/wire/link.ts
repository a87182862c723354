// One WebSocket after the other: opens, watches, closes, waits, opens again.

import { Backoff } from './backoff';

/** The server speaks twice a second; a connection that says nothing for so long is dead [s]. */
const SILENT_S = 20;
/** The same for a page that wakes up: there is somebody who waits [s]. */
const SILENT_ON_WAKING_S = 3;
const WATCH_EVERY_S = 2;

/** Status of a connection that the server ends with a reason, which will be the same soon: a rule was broken (1008), a
 * message was too long (1009), there are as many viewers as there may be (1013). */
const REFUSED = [1008, 1009, 1013];
/** No cookie, or that of another server. */
const NOT_LET_IN = 4401;
const NOT_LET_IN_TEXT = 'not let in: open the link with the token that the monitor has printed';
/** Ours, to the server: what it sent cannot be read. */
const UNREADABLE = 4002;

export interface LinkEvents {
  opened(): void;
  /** `retry_s` null: it makes no sense to try again. */
  closed(why: string, retry_s: number | null): void;
  text(text: string): void;
  binary(buffer: ArrayBuffer): void;
}

export class Link {
  private socket: WebSocket | null = null;
  private readonly backoff = new Backoff();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private opened_ms: number | null = null;
  private heard_ms = 0;
  private over = false;

  constructor(
    private readonly url: string,
    private readonly events: LinkEvents,
  ) {
    this.open();
    setInterval(() => this.watch(SILENT_S), WATCH_EVERY_S * 1000);
  }

  get isOpen(): boolean {
    return this.opened_ms !== null;
  }

  send(text: string): void {
    if (this.isOpen) this.socket?.send(text);
  }

  /** What came cannot be read: this connection ends, the next one may be better. */
  fail(why: string): void {
    this.socket?.close(UNREADABLE, why.slice(0, 80));
    this.lost(why, this.backoff.refused());
  }

  wake(): void {
    if (this.over) return;
    if (this.socket) return this.watch(SILENT_ON_WAKING_S);
    this.backoff.reset();
    this.open();
  }

  private open(): void {
    clearTimeout(this.timer);
    const socket = new WebSocket(this.url);
    this.socket = socket;
    this.opened_ms = null;
    this.heard_ms = performance.now();
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => {
      this.opened_ms = this.heard_ms = performance.now();
      this.events.opened();
    };
    socket.onmessage = (event: MessageEvent<string | ArrayBuffer>) => {
      this.heard_ms = performance.now();
      if (typeof event.data === 'string') this.events.text(event.data);
      else this.events.binary(event.data);
    };
    socket.onclose = (event) => void this.judge(event);
  }

  /** A dead peer says nothing, not even that it is gone: TCP would wait for many minutes. */
  private watch(limit_s: number): void {
    const silent_s = (performance.now() - this.heard_ms) / 1000;
    if (!this.socket || silent_s < limit_s) return;
    this.socket.close();
    this.lost(`nothing was heard for ${Math.round(silent_s)} s`, this.wait());
  }

  private async judge(event: CloseEvent): Promise<void> {
    const socket = this.socket;
    if (REFUSED.includes(event.code)) {
      return this.lost(event.reason || `refused with status ${event.code}`, this.backoff.refused());
    }
    if (event.code === NOT_LET_IN || (this.opened_ms === null && (await this.isForbidden()))) {
      this.over = true;
      if (socket === this.socket) this.lost(NOT_LET_IN_TEXT, null);
    } else if (socket === this.socket) this.lost(event.reason, this.wait());
  }

  /** A WebSocket does not say with which status it was refused; the page beside it does. */
  private async isForbidden(): Promise<boolean> {
    try {
      const page = new URL('./', this.url.replace(/^ws/, 'http'));
      const { status } = await fetch(page, { method: 'HEAD', cache: 'no-store', signal: AbortSignal.timeout(5000) });
      return status === 401 || status === 403;
    } catch {
      return false;
    }
  }

  private wait(): number {
    return this.backoff.after(this.opened_ms === null ? 0 : (performance.now() - this.opened_ms) / 1000);
  }

  private lost(why: string, retry_s: number | null): void {
    if (this.socket) this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket = null;
    this.opened_ms = null;
    if (retry_s !== null) this.timer = setTimeout(() => this.open(), retry_s * 1000);
    this.events.closed(why, retry_s);
  }
}
