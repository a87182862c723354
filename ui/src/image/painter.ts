// The two canvases of a pane, one above the other: the picture, and what is drawn over it.

import type { PaneState } from '../interfaces';
import type { Geometry, Picture } from '../protocol';
import { isLight } from './colourmaps';
import { Colours, type Rgb } from './colours';
import { make } from './dom';
import { drawOverlay } from './overlay';
import { valueText } from './readout';
import { makeRenderer, type Renderer, type RendererChoice, type Tile } from './renderer';
import { toPicture, type Canvas, type Frame } from './viewport';

export interface Painting {
  state: PaneState;
  range: [number, number];
  frame: Frame;
  canvas: Canvas;
  geometry: Geometry | null;
  picture: Picture | null;
  /** Peaks of a trial, in place of the picture's. */
  trial: Float32Array | null;
  polygon: readonly [number, number][] | null;
  /** Device pixels. */
  pointer: [number, number] | null;
  cursor: [number, number] | null;
}

export class Painter {
  readonly colours = new Colours();
  private readonly above = make('canvas', 'pane-overlay', { 'aria-hidden': 'true' });
  private renderer: Renderer;
  private tile: Tile | null = null;
  private background: Rgb = [23, 26, 31];
  private disposed = false;

  /** `replaced` is called when the picture is to be drawn anew by another renderer. */
  constructor(
    private readonly stage: HTMLElement,
    choice: RendererChoice,
    private readonly replaced: () => void,
  ) {
    this.renderer = makeRenderer(choice, () => this.replaceRenderer());
    stage.prepend(this.above);
    this.placeCanvas();
  }

  get rendererName(): Renderer['name'] {
    return this.renderer.name;
  }

  setPicture(picture: Picture | null): void {
    this.tile = picture && tileOf(picture);
    this.renderer.setTile(this.tile);
  }

  takeThemesColours(): void {
    this.background = colourOf(getComputedStyle(this.stage).backgroundColor) ?? this.background;
  }

  draw(painting: Painting): void {
    const { state, frame, canvas, picture, trial } = painting;
    for (const layer of [this.renderer.canvas, this.above]) {
      if (layer.width !== canvas.width || layer.height !== canvas.height) {
        Object.assign(layer, { width: canvas.width, height: canvas.height });
      }
    }
    const { scale: factor, offset } = picture?.header ?? { scale: 1, offset: 0 };
    this.colours.set({ map: state.map, scale: state.scale, range: painting.range, factor, offset });
    this.renderer.draw({ frame, colours: this.colours, pool: state.pool, background: this.background });
    const context = this.above.getContext('2d');
    if (!context) return;
    drawOverlay(context, {
      frame,
      canvas,
      geometry: painting.geometry,
      rings: state.rings,
      peaks: trial ?? (state.peaks ? (picture?.peaks ?? null) : null),
      trial: trial !== null,
      tile: this.tile,
      text: (number) => valueText(number * factor + offset),
      roi: state.roi,
      polygon: painting.polygon,
      pointer: painting.pointer && toPicture(frame, ...painting.pointer),
      cursor: painting.cursor,
      light: isLight(state.map),
    });
  }

  /** Both canvases as one; to be called in the same turn as `draw`: WebGL forgets its pixels after it. */
  png(): Promise<Blob> {
    const { width, height } = this.above;
    const both = make('canvas', '', { width: String(width), height: String(height) });
    const context = both.getContext('2d');
    context?.drawImage(this.renderer.canvas, 0, 0);
    context?.drawImage(this.above, 0, 0);
    return new Promise((resolve, reject) => {
      both.toBlob((blob) => (blob ? resolve(blob) : reject(new Error('the browser made no PNG'))), 'image/png');
    });
  }

  dispose(): void {
    this.disposed = true;
    this.renderer.dispose();
  }

  /** The graphics card was taken away, or is too small for this picture. */
  private replaceRenderer(): void {
    if (this.disposed) return;
    const old = this.renderer;
    this.renderer = makeRenderer('canvas2d', () => {});
    old.canvas.remove();
    old.dispose();
    this.placeCanvas();
    this.renderer.setTile(this.tile);
    this.replaced();
  }

  private placeCanvas(): void {
    const { canvas } = this.renderer;
    canvas.className = 'pane-image';
    canvas.setAttribute('aria-hidden', 'true');
    this.stage.prepend(canvas);
  }
}

function tileOf({ header, image }: Picture): Tile {
  const { shape, x0, y0, level, flag } = header;
  return { data: image, width: shape[1], height: shape[0], x0, y0, level, flag };
}

/** From `rgb(…)`, as browsers give computed colours. */
function colourOf(css: string): Rgb | null {
  const parts = css.match(/^rgba?\((\d+), (\d+), (\d+)/);
  return parts && [Number(parts[1]), Number(parts[2]), Number(parts[3])];
}
