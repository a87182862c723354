// Pointers and the wheel on a picture: pan, pinch, zoom, hover, and drags that a tool takes over.

export type Place = [number, number];

/** A drag that is something else than panning. */
export interface Drag {
  move(to: Place): void;
  /** `moved` false: it was a click. */
  end(at: Place, moved: boolean): void;
}

/** All places in device pixels of the picture's canvas. */
export interface GestureHost {
  pan(dx: number, dy: number): void;
  zoomAt(at: Place, factor: number): void;
  doubleClicked(at: Place): void;
  /** null: the pointer has left. */
  hover(at: Place | null): void;
  /** A pointer goes down: null leaves it to panning. */
  press(at: Place): Drag | null;
}

/** Movement below this is a click [device-independent pixels]. */
const CLICK = 3;
/** Zoom per unit of the wheel; a notch of a mouse is about 100. */
const PER_WHEEL = 0.0015;
/** Two fingers on a pad come as a wheel with ctrl, in small numbers. */
const PER_PINCH = 0.01;
const LINE = 30;

export class Gestures {
  private readonly down = new Map<number, Place>();
  private drag: Drag | null = null;
  private start: Place = [0, 0];
  private moved = false;

  constructor(
    private readonly element: HTMLElement,
    private readonly host: GestureHost,
  ) {
    element.addEventListener('wheel', (event) => this.wheel(event), { passive: false });
    element.addEventListener('pointerdown', (event) => this.press(event));
    element.addEventListener('pointermove', (event) => this.move(event));
    element.addEventListener('pointerup', (event) => this.release(event));
    element.addEventListener('pointercancel', (event) => this.release(event));
    element.addEventListener('pointerleave', () => {
      if (!this.down.size) host.hover(null);
    });
    element.addEventListener('dblclick', (event) => host.doubleClicked(this.place(event)));
  }

  private place(event: MouseEvent): Place {
    const box = this.element.getBoundingClientRect();
    const ratio = window.devicePixelRatio;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    const delta = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? event.deltaY * LINE : event.deltaY;
    this.host.zoomAt(this.place(event), Math.exp(-delta * (event.ctrlKey ? PER_PINCH : PER_WHEEL)));
  }

  private press(event: PointerEvent): void {
    if (event.button !== 0) return;
    this.element.setPointerCapture(event.pointerId);
    const at = this.place(event);
    this.down.set(event.pointerId, at);
    if (this.down.size === 1) {
      this.start = at;
      this.moved = false;
      this.drag = this.host.press(at);
    } else this.drag = null; // a second finger: it is a pinch
  }

  private move(event: PointerEvent): void {
    const at = this.place(event);
    const before = this.down.get(event.pointerId);
    if (!before) return this.host.hover(at);
    const far = Math.hypot(at[0] - this.start[0], at[1] - this.start[1]);
    this.moved ||= far > CLICK * window.devicePixelRatio;
    if (this.down.size === 2) this.pinch(event.pointerId, before, at);
    else if (this.drag) this.drag.move(at);
    else this.host.pan(at[0] - before[0], at[1] - before[1]);
    this.down.set(event.pointerId, at);
    this.host.hover(at);
  }

  private pinch(id: number, before: Place, at: Place): void {
    const other = [...this.down].find(([key]) => key !== id)?.[1];
    if (!other) return;
    const middle: Place = [(at[0] + other[0]) / 2, (at[1] + other[1]) / 2];
    this.host.pan((at[0] - before[0]) / 2, (at[1] - before[1]) / 2);
    const was = Math.hypot(before[0] - other[0], before[1] - other[1]);
    if (was > 0) this.host.zoomAt(middle, Math.hypot(at[0] - other[0], at[1] - other[1]) / was);
  }

  private release(event: PointerEvent): void {
    if (!this.down.delete(event.pointerId)) return;
    this.drag?.end(this.place(event), this.moved);
    this.drag = null;
    if (event.pointerType === 'touch' && !this.down.size) this.host.hover(null);
  }
}
