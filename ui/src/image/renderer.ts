// What draws a tile of integers on a canvas. Two ways, same pixels: WebGL 2, and plain Canvas 2D where that is not to be
// had (remote desktops without a graphics card) or is lost on the way.

import type { Pool } from '../protocol';
import { Canvas2dRenderer } from './canvas2d';
import type { Colours, Rgb } from './colours';
import type { Frame } from './viewport';
import { Webgl2Renderer } from './webgl2';

/** A part of a picture; its pixels are 2^level pixels of the picture wide. */
export interface Tile {
  data: Uint16Array | Uint32Array;
  width: number;
  height: number;
  x0: number;
  y0: number;
  level: number;
  /** The number that stands for «no value». */
  flag: number;
}

export interface Drawing {
  frame: Frame;
  colours: Colours;
  pool: Pool;
  background: Rgb;
}

export interface Renderer {
  readonly name: 'webgl2' | 'canvas2d';
  readonly canvas: HTMLCanvasElement;
  setTile(tile: Tile | null): void;
  draw(drawing: Drawing): void;
  dispose(): void;
}

/** 'auto': WebGL where a graphics card does it. Without one, plain canvas takes less than half of the time. */
export type RendererChoice = 'auto' | 'webgl2' | 'canvas2d';

/** `lost` is called when the renderer can no longer draw: another one is to be made, on another canvas. */
export function makeRenderer(choice: RendererChoice, lost: () => void): Renderer {
  const canvas = document.createElement('canvas');
  if (choice !== 'canvas2d') {
    try {
      const renderer = Webgl2Renderer.make(canvas, choice === 'auto', lost);
      if (renderer) return renderer;
    } catch (error) {
      console.warn('no WebGL 2, plain canvas instead:', error);
    }
    // A canvas that once had a context of one kind gives none of another.
    return new Canvas2dRenderer(document.createElement('canvas'));
  }
  return new Canvas2dRenderer(canvas);
}
