// What is under the pointer, or under the cursor that keys move: its text, and the questions to the server for it.

import type { Picture, Pixel, Pool, Run } from '../protocol';
import type { PixelWishes } from './asking';
import type { Place } from './gestures';
import { readout } from './readout';
import type { Shape } from './viewport';

/** After a new picture the exact pixel is asked for again; until the answer, or so long, the old text stays [ms]. */
const STALE_MS = 250;

/** What the cursor knows of its pane. */
export interface Below {
  picture: Picture | null;
  run: Run | null;
  pool: Pool;
}

export class Cursor {
  /** Device pixels. */
  pointer: Place | null = null;
  /** Set by keys [pixels of the picture]. */
  pixel: [number, number] | null = null;
  private answer: Pixel | null = null;
  private told: [number, number] | null = null;
  private stale_ms: number | null = null;

  constructor(
    private readonly wishes: PixelWishes,
    private readonly toPicture: (at: Place) => [number, number],
    private readonly below: () => Below,
    private readonly tell: (text: string) => void,
  ) {}

  point(at: Place | null): void {
    this.pointer = at;
    if (at) this.pixel = null;
    this.moved();
  }

  /** Move by keys, from where the pointer or the cursor is, or from `otherwise`. */
  step(dx: number, dy: number, otherwise: [number, number], shape: Shape): void {
    const [x, y] = this.under() ?? otherwise;
    const within = (at: number, most: number) => Math.max(0, Math.min(most - 1, at));
    this.pixel = [within(x + dx, shape[1]), within(y + dy, shape[0])];
    this.moved();
  }

  /** true if there was a cursor. */
  hide(): boolean {
    const was = this.pixel !== null;
    this.pixel = null;
    this.say();
    return was;
  }

  answered(pixel: Pixel): void {
    this.answer = pixel;
    this.say();
  }

  forget(): void {
    this.answer = null;
    this.wishes.moved(null);
  }

  /** The view was drawn: the picture may have moved below a pointer that rests. */
  drawn(): void {
    if (String(this.under()) !== String(this.told)) this.moved();
  }

  /** A new picture was drawn. */
  renewed(): void {
    this.wishes.renewed(this.inside());
    const now_ms = performance.now();
    this.stale_ms ??= now_ms;
    if (this.below().picture?.header.level === 0 || now_ms - this.stale_ms > STALE_MS) this.say();
  }

  private moved(): void {
    this.wishes.moved(this.inside());
    this.say();
  }

  private say(): void {
    this.stale_ms = null;
    this.told = this.under();
    this.tell(this.told ? readout(...this.told, { ...this.below(), answer: this.answer }) : '');
  }

  private under(): [number, number] | null {
    if (this.pixel) return this.pixel;
    if (!this.pointer) return null;
    const [x, y] = this.toPicture(this.pointer);
    return [Math.floor(x), Math.floor(y)];
  }

  private inside(): [number, number] | null {
    const at = this.under();
    const shape = this.below().picture?.header.full;
    return at && shape && at[0] >= 0 && at[1] >= 0 && at[0] < shape[1] && at[1] < shape[0] ? at : null;
  }
}
