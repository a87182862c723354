// Keys of the page. Those of a picture (f 1 a m r p, arrows) are the pane's; they go to the active one wherever the
// keyboard's focus is, as long as no field wants letters.

export interface KeyEvents {
  pause(): void;
  step(by: -10 | -1 | 1 | 10): void;
  theme(): void;
  help(): void;
  /** A key that the page does not know, for the active pane. */
  other(event: KeyboardEvent): void;
}

const STEPS: Record<string, -10 | -1 | 1 | 10> = { ',': -1, '.': 1, '[': -1, ']': 1, '<': -10, '>': 10, '{': -10, '}': 10, ';': -10, ':': 10 };

export function listenToKeys(events: KeyEvents): void {
  window.addEventListener('keydown', (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.altKey || event.metaKey) return;
    if (document.querySelector('dialog[open]')) return;
    const target = event.target instanceof Element ? event.target : null;
    if (target?.closest('input:not([type=range]), select, textarea, [contenteditable]')) return;
    if (event.key === ' ') {
      if (target?.closest('button, summary, a')) return; // there it presses what has the focus
      event.preventDefault();
      if (!event.repeat) events.pause();
      return;
    }
    const by = STEPS[event.key];
    if (by !== undefined) {
      event.preventDefault();
      return events.step(event.shiftKey && Math.abs(by) === 1 ? ((by * 10) as -10 | 10) : by);
    }
    if (event.key === 't') return events.theme();
    if (event.key === '?') return events.help();
    events.other(event);
  });
  // What was used with the pointer gives the focus back, so that Space goes on to hold the picture.
  let pointed = false;
  window.addEventListener('pointerdown', () => (pointed = true), true);
  window.addEventListener('keydown', () => (pointed = false), true);
  document.addEventListener('change', ({ target }) => {
    if (pointed && target instanceof HTMLSelectElement) target.blur();
  });
  document.addEventListener('click', (event) => {
    const button = event.target instanceof Element ? event.target.closest('button') : null;
    if (button && event.detail > 0 && !button.closest('dialog')) button.blur();
  });
}
