// A short word at the lower edge that goes away by itself: «copied», «saved». What matters stands elsewhere, and stays.

import { el } from './dom';

const SHOWN_MS = 3000;

let box: HTMLElement | null = null;
let timer = 0;

export function notice(text: string): void {
  if (box === null) {
    box = el('p', { class: 'notice', hidden: true });
    document.body.append(box);
  }
  box.textContent = text;
  box.hidden = false;
  window.clearTimeout(timer);
  timer = window.setTimeout(() => box && (box.hidden = true), SHOWN_MS);
}
