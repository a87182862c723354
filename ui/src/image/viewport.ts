// Which part of the picture is seen: arithmetic only.
//
// A view is what goes into the address: its centre in pixels of the picture, and how many device-independent pixels a
// pixel is wide; null fits the picture in. A frame is that for a canvas of so many device pixels: the origin is rounded
// to whole device pixels, so that panning moves a picture without changing it.

import type { PaneState } from '../interfaces';
import type { Rect } from '../protocol';

export type View = NonNullable<PaneState['view']>;

export interface Canvas {
  /** [device pixels] */
  width: number;
  height: number;
  /** Device pixels per device-independent pixel. */
  ratio: number;
}

export interface Frame {
  /** Where the picture's corner lies [device pixels]. */
  left: number;
  top: number;
  /** Device pixels per pixel of the picture. */
  scale: number;
}

export const MOST_ZOOM = 96;
/** Below half of what fits there is nothing to see. */
const LEAST_OF_FIT = 0.5;

/** (height, width) of the picture. */
export type Shape = readonly [number, number];

/** A view that can be drawn, of one that came from an address; null where there is none in it. */
export function saneView(view: View | null): View | null {
  if (!view || ![view.x, view.y, view.zoom].every(Number.isFinite) || view.zoom <= 0) return null;
  return { x: view.x, y: view.y, zoom: Math.min(MOST_ZOOM, Math.max(1 / MOST_ZOOM, view.zoom)) };
}

export function fitView([height, width]: Shape, canvas: Canvas): View {
  const zoom = Math.min(canvas.width / width, canvas.height / height) / canvas.ratio;
  return { x: width / 2, y: height / 2, zoom: Math.min(MOST_ZOOM, zoom) };
}

export function frameOf(view: View | null, shape: Shape, canvas: Canvas): Frame {
  const { x, y, zoom } = view ?? fitView(shape, canvas);
  const scale = zoom * canvas.ratio;
  return {
    left: Math.round(canvas.width / 2 - x * scale),
    top: Math.round(canvas.height / 2 - y * scale),
    scale,
  };
}

export const toPicture = (frame: Frame, x: number, y: number): [number, number] => [
  (x - frame.left) / frame.scale,
  (y - frame.top) / frame.scale,
];

export const toCanvas = (frame: Frame, x: number, y: number): [number, number] => [
  frame.left + x * frame.scale,
  frame.top + y * frame.scale,
];

/** What of the picture is seen, may reach beyond it. */
export function visibleRect(frame: Frame, canvas: Canvas): Rect {
  const [x0, y0] = toPicture(frame, 0, 0);
  const [x1, y1] = toPicture(frame, canvas.width, canvas.height);
  return [x0, y0, x1, y1];
}

/** Zoom by a factor so that the place under (px, py) [device pixels] stays. */
export function zoomedAt(view: View | null, shape: Shape, canvas: Canvas, at: [number, number], factor: number): View {
  const old = view ?? fitView(shape, canvas);
  const fit = fitView(shape, canvas).zoom;
  const zoom = Math.min(MOST_ZOOM, Math.max(Math.min(1, fit) * LEAST_OF_FIT, old.zoom * factor));
  // From the frame as it is drawn, rounded: what is seen under the cursor stays.
  const [x, y] = toPicture(frameOf(old, shape, canvas), ...at);
  const scale = zoom * canvas.ratio;
  return inside({ x: x - (at[0] - canvas.width / 2) / scale, y: y - (at[1] - canvas.height / 2) / scale, zoom }, shape);
}

/** Move by device pixels. */
export function panned(view: View | null, shape: Shape, canvas: Canvas, dx: number, dy: number): View {
  const old = view ?? fitView(shape, canvas);
  const scale = old.zoom * canvas.ratio;
  return inside({ x: old.x - dx / scale, y: old.y - dy / scale, zoom: old.zoom }, shape);
}

/** The centre stays on the picture: nobody gets lost. */
function inside(view: View, [height, width]: Shape): View {
  return {
    x: Math.max(0, Math.min(width, view.x)),
    y: Math.max(0, Math.min(height, view.y)),
    zoom: view.zoom,
  };
}

/** 2 to the power of this is how wide pixels may be that are not wider than a device pixel. */
export const levelFor = (scale: number): number => Math.max(0, Math.floor(Math.log2(1 / scale) + 1e-9));

/** The rectangle to ask for, in whole pixels, and the canvas that it fills. The server adds a margin for small moves. */
export function wishFor(frame: Frame, canvas: Canvas, [height, width]: Shape): { rect: Rect; canvas: [number, number] } {
  const [x0, y0, x1, y1] = visibleRect(frame, canvas);
  const rect: Rect = [
    Math.max(0, Math.min(width - 1, Math.floor(x0))),
    Math.max(0, Math.min(height - 1, Math.floor(y0))),
    Math.max(1, Math.min(width, Math.ceil(x1))),
    Math.max(1, Math.min(height, Math.ceil(y1))),
  ];
  // Rounded down: half a pixel more of canvas would be the next larger level, four times the pixels.
  const pixels = (from: number, to: number) => Math.max(1, Math.floor((to - from) * frame.scale + 1e-6));
  return { rect, canvas: [pixels(rect[0], rect[2]), pixels(rect[1], rect[3])] };
}

/** Whether what was asked for covers what is seen of the picture. */
export function covers(rect: Rect, visible: Rect, [height, width]: Shape): boolean {
  return (
    rect[0] <= Math.max(0, visible[0]) &&
    rect[1] <= Math.max(0, visible[1]) &&
    rect[2] >= Math.min(width, visible[2]) &&
    rect[3] >= Math.min(height, visible[3])
  );
}
