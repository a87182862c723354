// The state of the page in its address, so that a link shows the same view: only what differs from the defaults, and
// whatever is unreadable, out of range or unknown is left out rather than believed; an address comes from anywhere.

import type { PaneState, Scale } from '../interfaces';
import type { Kind, Rect } from '../protocol';
import { RADIAL_AXES, type RadialAxis } from '../charts/axes';

export interface PageState {
  panes: PaneState[];
  /** Which pane the header, the profile and the steps are about. */
  active: number;
  paused: boolean;
  axis: RadialAxis;
  log: boolean;
}

export const KINDS: { value: Kind; text: string }[] = [
  { value: 'frame', text: 'latest frame' },
  { value: 'hit', text: 'latest hit' },
  { value: 'sum', text: 'powder sum' },
  { value: 'max', text: 'powder max' },
  { value: 'hits-sum', text: 'powder sum of hits' },
  { value: 'hits-max', text: 'powder max of hits' },
];

const SCALES: Scale[] = ['linear', 'sqrt', 'log'];
const MOST_LETTERS = 8000; // four panes with all that can be said are below 2000
const MOST_NAME = 400;

export function defaultPane(source = ''): PaneState {
  return {
    source,
    kind: 'frame',
    view: null,
    map: 'Grey inverted',
    scale: 'sqrt',
    range: null,
    mask: true,
    pool: 'max',
    full: false,
    rings: true,
    peaks: true,
    roi: null,
    at: null,
  };
}

export function defaultPage(): PageState {
  return { panes: [], active: 0, paused: false, axis: 'q', log: false };
}

/** Whether a picture of that kind is one message, which can be paged through; a powder is made of many. */
export function isMessage(kind: Kind): boolean {
  return kind === 'frame' || kind === 'hit';
}

// --- to text

const short = (value: number) => String(Number(value.toPrecision(7)));

function paneText(pane: PaneState): string {
  const plain = defaultPane();
  const fields: [string, string][] = [['s', pane.source]];
  if (pane.kind !== plain.kind) fields.push(['k', pane.kind]);
  if (pane.view) fields.push(['v', [pane.view.x, pane.view.y, pane.view.zoom].map(short).join(',')]);
  if (pane.map !== plain.map) fields.push(['m', pane.map]);
  if (pane.scale !== plain.scale) fields.push(['c', pane.scale]);
  if (pane.range) fields.push(['r', pane.range.map(short).join(',')]);
  const switches = (pane.mask ? '' : 'm') + (pane.rings ? '' : 'r') + (pane.peaks ? '' : 'p') + (pane.full ? 'f' : '');
  if (switches) fields.push(['o', switches + (pane.pool === 'mean' ? 'a' : '')]);
  else if (pane.pool === 'mean') fields.push(['o', 'a']);
  if (pane.roi) fields.push(['i', pane.roi.map(short).join(',')]);
  if (pane.at) fields.push(['t', `${pane.at.id},${pane.at.stream}`]);
  return fields.map(([key, value]) => `${key}=${encode(value)}`).join('&');
}

/** Letters that read well in an address stay as they are. */
function encode(text: string): string {
  return encodeURIComponent(text).replaceAll('%2C', ',').replaceAll('%2F', '/').replaceAll('%20', '+');
}

export function toHash(state: PageState): string {
  const plain = defaultPage();
  const page: string[] = [];
  if (state.axis !== plain.axis) page.push(`x=${encode(state.axis)}`);
  if (state.log) page.push('l=1');
  if (state.paused) page.push('p=1');
  if (state.active !== 0) page.push(`a=${state.active}`);
  return `#${[page.join('&'), ...state.panes.map(paneText)].join(';')}`;
}

// --- from text

function fieldsOf(text: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const part of text.split('&')) {
    const at = part.indexOf('=');
    if (at < 1) continue;
    try {
      fields.set(part.slice(0, at), decodeURIComponent(part.slice(at + 1).replaceAll('+', ' ')));
    } catch {
      continue; // half of an escape
    }
  }
  return fields;
}

/** Exactly n finite numbers within ±1e9, or null. */
function numbersOf(text: string | undefined, n: number): number[] | null {
  if (text === undefined) return null;
  const parts = text.split(',');
  if (parts.length !== n || parts.some((part) => !/^-?\d+(\.\d+)?(e[+-]?\d+)?$/.test(part))) return null;
  const values = parts.map(Number);
  return values.every((value) => Number.isFinite(value) && Math.abs(value) <= 1e9) ? values : null;
}

function paneOf(text: string): PaneState | null {
  const fields = fieldsOf(text);
  const source = fields.get('s');
  if (!source || source.length > MOST_NAME) return null;
  const pane = defaultPane(source);
  const kind = KINDS.find((choice) => choice.value === fields.get('k'));
  if (kind) pane.kind = kind.value;
  const view = numbersOf(fields.get('v'), 3);
  if (view && view[2] > 0) pane.view = { x: view[0], y: view[1], zoom: view[2] };
  const map = fields.get('m');
  if (map && /^[\w ]{1,40}$/.test(map)) pane.map = map;
  const scale = SCALES.find((choice) => choice === fields.get('c'));
  if (scale) pane.scale = scale;
  const range = numbersOf(fields.get('r'), 2);
  if (range && range[0] < range[1]) pane.range = [range[0], range[1]];
  const switches = fields.get('o') ?? '';
  pane.mask = !switches.includes('m');
  pane.rings = !switches.includes('r');
  pane.peaks = !switches.includes('p');
  pane.full = switches.includes('f');
  if (switches.includes('a')) pane.pool = 'mean';
  const roi = numbersOf(fields.get('i'), 4);
  if (roi && roi[0] < roi[2] && roi[1] < roi[3]) pane.roi = roi as Rect;
  const at = /^(\d{1,15}),(.+)$/s.exec(fields.get('t') ?? '');
  if (at && at[2].length <= MOST_NAME) pane.at = { id: Number(at[1]), stream: at[2] };
  return pane;
}

/** Reads an address; whatever it is, a valid state comes out, with at most `most` panes and perhaps none. */
export function fromHash(hash: string, most = 4): PageState {
  const state = defaultPage();
  if (hash.length > MOST_LETTERS) return state;
  const [page, ...panes] = hash.replace(/^#/, '').split(';');
  const fields = fieldsOf(page);
  const axis = RADIAL_AXES.find((choice) => choice.value === fields.get('x'));
  if (axis) state.axis = axis.value;
  state.log = fields.get('l') === '1';
  state.panes = panes.map(paneOf).filter((pane) => pane !== null).slice(0, most);
  state.paused = fields.get('p') === '1' && state.panes.length > 0;
  const active = Number(fields.get('a') ?? 0);
  if (Number.isInteger(active) && active > 0 && active < state.panes.length) state.active = active;
  return state;
}
