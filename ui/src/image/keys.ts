// Keys on a picture: everything that the pointer can do.

export interface KeyHost {
  /** Device-independent pixels. */
  panBy(dx: number, dy: number): void;
  zoomBy(factor: number): void;
  fit(): void;
  oneToOne(): void;
  /** Pixels of the picture. */
  moveCursor(dx: number, dy: number): void;
  moveRegion(dx: number, dy: number, resize: boolean): void;
  toggle(what: 'mask' | 'rings' | 'peaks'): void;
  auto(): void;
  enter(): void;
  /** true if there was something to give up. */
  escape(): boolean;
}

const PAN = 60;
const ZOOM = 1.25;
const ARROWS: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, -1],
  ArrowDown: [0, 1],
};

export function listenToKeys(element: HTMLElement, host: KeyHost): void {
  element.addEventListener('keydown', (event) => {
    if (!handle(event, host)) return;
    event.preventDefault();
    // The page has keys of its own, some of them the same.
    event.stopPropagation();
  });
}

function handle(event: KeyboardEvent, host: KeyHost): boolean {
  if (event.ctrlKey || event.metaKey) return false;
  const arrow = ARROWS[event.key];
  if (arrow && event.altKey) return done(host.moveRegion(...arrow, event.shiftKey));
  if (arrow && event.shiftKey) return done(host.moveCursor(...arrow));
  if (arrow) return done(host.panBy(-arrow[0] * PAN, -arrow[1] * PAN));
  if (event.altKey) return false;
  switch (event.key) {
    case '+':
    case '=':
      return done(host.zoomBy(ZOOM));
    case '-':
      return done(host.zoomBy(1 / ZOOM));
    case 'f':
      return done(host.fit());
    case '1':
      return done(host.oneToOne());
    case 'm':
      return done(host.toggle('mask'));
    case 'r':
      return done(host.toggle('rings'));
    case 'p':
      return done(host.toggle('peaks'));
    case 'a':
      return done(host.auto());
    case 'Enter':
      return done(host.enter());
    case 'Escape':
      return host.escape();
  }
  return false;
}

const done = (_: void): boolean => true;
