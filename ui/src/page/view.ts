// What the cards are told when they are to show something: the model, and what the page looks at.

import type { PaneState } from '../interfaces';
import type { Geometry, Picture } from '../protocol';
import type { Timeline } from '../charts/timeline';
import type { RadialAxis } from '../charts/axes';
import type { Model } from './model';

export interface View {
  model: Model;
  /** The data source of the pane that is active. */
  source: string;
  /** The server's time now [s], as far as it is known. */
  time_s: number;
  now_ms: number;
  /** Paused: curves are held. */
  held: boolean;
  pane: PaneState | null;
  /** What the active pane shows. */
  picture: Picture | null;
  geometry: Geometry | null;
  roi: Timeline | null;
  axis: RadialAxis;
  log: boolean;
}

export interface Card {
  /** Whether it follows the picture, and not only the numbers. */
  readonly ofPicture?: boolean;
  readonly element: HTMLElement;
  update(view: View): void;
  /** After the theme has changed. */
  redraw?(): void;
}
