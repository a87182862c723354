// What leaves the page: files and the clipboard.

import { csv, type Column } from '../charts/csv';
import { el } from './dom';
import { notice } from './notice';

const KEEP_MS = 10_000; // the browser reads the data after the click has returned

/** A name that every file system takes. */
export function fileName(...parts: (string | number)[]): string {
  return parts.map((part) => String(part).replaceAll(/[^\w.-]+/g, '_')).filter((part) => part !== '').join('-');
}

export function saveFile(name: string, content: Blob): void {
  const url = URL.createObjectURL(content);
  const link = el('a', { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  window.setTimeout(() => URL.revokeObjectURL(url), KEEP_MS);
  notice(`saved ${name}`);
}

export function saveCsv(name: string, columns: Column[]): void {
  saveFile(`${name}.csv`, new Blob([csv(columns)], { type: 'text/csv' }));
}

export async function copyText(text: string, what: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    if (!copyByHand(text)) return notice(`this browser does not let the page copy; save it instead`);
  }
  notice(`${what} copied`);
}

/** Over plain http from another host there is no clipboard, only this old way. */
function copyByHand(text: string): boolean {
  const area = el('textarea', { class: 'hidden-visually', 'aria-hidden': 'true' });
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand('copy');
  area.remove();
  return done;
}
