// Colour maps: 256 colours each, from the smallest value to the largest.

import { LISTED } from './colourmaps_data';

/** 256 times red, green, blue. */
export type ColourMap = Uint8Array;

function grey(inverted: boolean): ColourMap {
  return Uint8Array.from({ length: 768 }, (_, i) => (inverted ? 255 - Math.floor(i / 3) : Math.floor(i / 3)));
}

/** Black, red, yellow, white: each of the three colours in turn. */
function heat(): ColourMap {
  return Uint8Array.from({ length: 768 }, (_, i) => Math.max(0, Math.min(255, 3 * Math.floor(i / 3) - 255 * (i % 3))));
}

const listed = (text: string): ColourMap => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));

export const DEFAULT_MAP = 'Grey inverted';

/** By name, in the order of the menu. */
export const COLOUR_MAPS: Readonly<Record<string, ColourMap>> = {
  'Grey inverted': grey(true),
  Grey: grey(false),
  Heat: heat(),
  ...Object.fromEntries(Object.entries(LISTED).map(([name, text]) => [name, listed(text)])),
};

export const colourMap = (name: string): ColourMap => COLOUR_MAPS[Object.hasOwn(COLOUR_MAPS, name) ? name : DEFAULT_MAP];

/** Whether most of a picture is light in it, so that what is drawn above must be dark. */
export const isLight = (name: string): boolean => colourMap(name)[0] > 127;
