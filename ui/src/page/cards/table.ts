// Rows of a table that stay the same elements while their numbers change, so that a reader's place is kept.

import { el, setAttribute } from '../dom';

export interface Cell {
  text: string;
  /** Said aloud and shown as a drawing: never by colour alone. */
  state?: 'warn' | 'bad' | '';
  /** What the state means, for the hint and for who cannot see it. */
  why?: string;
}

export interface Heading {
  text: string;
  title: string;
}

export class Table {
  readonly element: HTMLTableElement;
  private readonly rows = el('tbody');
  private readonly head: HTMLTableRowElement;
  private headings = '';

  constructor(label: string) {
    this.head = el('tr');
    this.element = el('table', { 'aria-label': label }, el('thead', {}, this.head), this.rows);
  }

  set(headings: Heading[], rows: Cell[][]): void {
    const key = headings.map((heading) => heading.text).join('\n');
    if (key !== this.headings) {
      this.headings = key;
      this.head.replaceChildren(...headings.map(({ text, title }) => el('th', { scope: 'col', title }, text)));
      this.rows.replaceChildren();
    }
    while (this.rows.rows.length > rows.length) this.rows.deleteRow(-1);
    rows.forEach((cells, i) => {
      const row = this.rows.rows[i] ?? this.rows.appendChild(rowOf(cells.length));
      cells.forEach((cell, k) => setCell(row.cells[k] as HTMLTableCellElement, cell));
    });
  }
}

function rowOf(n: number): HTMLTableRowElement {
  return el('tr', {}, el('th', { scope: 'row' }), ...Array.from({ length: n - 1 }, () => el('td')));
}

const MARKS = { warn: '▲', bad: '✖' };

/** Writes a cell: its text, and where it is not well a mark before it and the reason as a hint. */
export function setCell(node: HTMLElement, { text, state, why }: Cell): void {
  const key = `${state ?? ''}\n${text}\n${why ?? ''}`;
  if (node.dataset.key === key) return;
  node.dataset.key = key;
  setAttribute(node, 'data-state', state || null);
  setAttribute(node, 'title', why ?? null);
  if (!state) node.textContent = text;
  else {
    node.replaceChildren(
      el('span', { class: 'mark', 'aria-hidden': 'true' }, MARKS[state]),
      text,
      el('span', { class: 'hidden-visually' }, ` (${why ?? (state === 'bad' ? 'bad' : 'attention')})`),
    );
  }
}
