// Where the parts of the page meet. `wire/` and `image/` know nothing of cards and charts, `page/` nothing of pixels.

import type { Answer, Geometry, Kind, Picture, Pixel, Pool, Rect, Request, Run } from './protocol';

/** The connection to the server; wire/connection.ts. Reconnects by itself, and says what state it is in. */
export interface Connection {
  send(request: Request): void;
  on(listener: (event: ConnectionEvent) => void): void;
  /** Unused picture memory goes back to the worker. */
  recycle(picture: Picture): void;
}

export type ConnectionEvent =
  | { type: 'open' }
  /** `why` is what the server said, or '' where it just went away; `retry_s` null where it makes no sense to try again. */
  | { type: 'closed'; why: string; retry_s: number | null }
  | { type: 'answer'; answer: Answer }
  | { type: 'picture'; picture: Picture };

export type Scale = 'linear' | 'sqrt' | 'log';

/** How a pane looks: all of it goes into the address, so that a link reproduces a view. */
export interface PaneState {
  source: string;
  kind: Kind;
  /** null: fit. Centre in pixels of the picture, and device-independent pixels per pixel. */
  view: { x: number; y: number; zoom: number } | null;
  map: string;
  scale: Scale;
  /** null: automatic. */
  range: [number, number] | null;
  mask: boolean;
  pool: Pool;
  full: boolean;
  rings: boolean;
  peaks: boolean;
  roi: Rect | null;
  at: { stream: string; id: number } | null;
}

/** One picture with its tools; image/pane.ts. It asks for what it shows, and acknowledges what it has drawn. */
export interface ImagePane {
  readonly element: HTMLElement;
  readonly state: PaneState;
  /** Changes some of it; the pane asks the server for what it then needs. */
  set(state: Partial<PaneState>): void;
  setRun(run: Run | null): void;
  /** Pictures and pixels for this pane; the page routes them by `pane`. */
  show(picture: Picture): void;
  showPixel(pixel: Pixel): void;
  showText(text: string | null): void;
  /** Peaks of a trial of the peak finder, in place of the picture's; null: the picture's again. */
  showTrial(peaks: [number, number, number][] | null): void;
  /** A polygon is drawn with the pointer; resolves with its corners, or null if it was given up. */
  drawPolygon(): Promise<[number, number][] | null>;
  fit(): void;
  oneToOne(): void;
  step(by: -10 | -1 | 1 | 10): void;
  /** What is on the screen, overlays included, as a PNG. */
  png(): Promise<Blob>;
  /** After the page's theme or size has changed. */
  redraw(): void;
  dispose(): void;
}

export interface PaneEvents {
  /** Something of the state has changed, by the user or by `set`. */
  changed(state: PaneState): void;
  /** A picture was drawn. */
  drawn(picture: Picture): void;
  /** What is under the cursor, as text for the status bar; '' where it is nowhere. */
  cursor(text: string): void;
}

export type MakeImagePane = (
  pane: number,
  connection: Connection,
  state: PaneState,
  events: PaneEvents,
  options: { renderer: 'auto' | 'webgl2' | 'canvas2d' },
) => ImagePane;

/** d at a radius [pixels of the picture], in Å; null where the geometry does not say it. image/geometry.ts */
export type ResolutionAt = (geometry: Geometry, x: number, y: number) => number | null;
