// The keys, in a dialog.

import { el } from './dom';

const KEYS: [string, string][] = [
  ['Space', 'hold the picture and the curves, and back to live'],
  [', and .', 'one message back or forth; with shift ten'],
  ['[ and ]', 'the same'],
  ['f, 1', 'fit; one pixel to one pixel'],
  ['+ and −', 'zoom; the wheel zooms at the pointer'],
  ['arrows', 'pan; with shift they move a cursor that reads pixels'],
  ['a', 'automatic contrast'],
  ['m, r, p', 'mask, resolution rings, peaks'],
  ['t', 'dark or light'],
  ['?', 'this list'],
];

/** `about` says what stands at its end, when it is opened. */
export function makeHelp(about: () => string): { element: HTMLDialogElement; open(): void } {
  const list = el('dl', { class: 'keys' });
  for (const [key, what] of KEYS) list.append(el('div', {}, el('dt', {}, el('kbd', {}, key)), el('dd', {}, what)));
  const end = el('p', { class: 'nothing-here' });
  const dialog = el('dialog', { 'aria-labelledby': 'help-title' });
  dialog.append(
    el('h2', { id: 'help-title' }, 'Keys'),
    list,
    el('p', { class: 'nothing-here' }, 'Double click fits the picture. The address of the page holds all of the view: copy it to show somebody the same.'),
    end,
    el('form', { method: 'dialog' }, el('button', { autofocus: true }, 'Close')),
  );
  return {
    element: dialog,
    open() {
      end.textContent = about();
      if (!dialog.open) dialog.showModal();
    },
  };
}
