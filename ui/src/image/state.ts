// What a pane is told to look like.

import type { PaneState } from '../interfaces';
import { COLOUR_MAPS, DEFAULT_MAP } from './colourmaps';
import { saneView } from './viewport';

/** Addresses are written by hand, too: what cannot be drawn is as if it was not said. */
export function saneState(state: PaneState): PaneState {
  const { range, map } = state;
  const drawable = range && range.every(Number.isFinite) && range[0] < range[1];
  return {
    ...state,
    view: saneView(state.view),
    range: drawable ? range : null,
    map: Object.hasOwn(COLOUR_MAPS, map) ? map : DEFAULT_MAP,
  };
}
