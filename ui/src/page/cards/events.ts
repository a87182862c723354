// What has happened: the log of changes of state, and the receipts of runs that have ended.

import type { LogEntry, Receipt } from '../../protocol';
import { el, icon, setText } from '../dom';
import { bytes, count, moment, shortName } from '../format';
import type { Card, View } from '../view';
import { saveFile, fileName } from '../save';
import { Shell } from './shell';
import { setCell, type Cell } from './table';

const SHOWN = 200;
const MARK = { info: '', warning: '▲', error: '✖' };

export class LogCard implements Card {
  private readonly shell = new Shell({
    name: 'log',
    title: 'Log',
    wide: true,
    columns: () => [
      { name: 'time_s', values: this.entries.map((entry) => entry.time_s) },
      { name: 'level', values: this.entries.map((entry) => entry.level) },
      { name: 'text', values: this.entries.map((entry) => entry.text) },
    ],
  });
  private readonly list = el('ol', { class: 'log', tabindex: 0, 'aria-label': 'Changes of state, newest first' });
  private entries: LogEntry[] = [];
  private version = -1;

  constructor() {
    this.shell.body.append(this.list);
  }

  get element(): HTMLElement {
    return this.shell.element;
  }

  update({ model }: View): void {
    if (model.logVersion === this.version) return;
    this.version = model.logVersion;
    this.entries = model.log;
    this.list.replaceChildren(...this.entries.slice(-SHOWN).reverse().map(entryOf));
    const bad = this.entries.filter((entry) => entry.level !== 'info').length;
    this.shell.setValue(bad ? `${count(bad)} to look at` : '');
  }
}

function entryOf({ time_s, level, text }: LogEntry): HTMLLIElement {
  return el(
    'li',
    { 'data-level': level },
    el('time', { datetime: new Date(time_s * 1000).toISOString() }, moment(time_s)),
    el('span', {}, ...(MARK[level] ? [el('span', { class: 'mark', 'aria-hidden': 'true' }, MARK[level]), el('span', { class: 'hidden-visually' }, `${level}: `)] : []), text),
  );
}

const SHOWN_RECEIPTS = 3;

/** Receipts, newest first, until they are dismissed: at most three, and how many more. */
export class ReceiptCards implements Card {
  readonly element = el('div', { class: 'receipts card-wide' });
  private shown: Receipt[] = [];
  private readonly more = el('p', { class: 'nothing-here' });

  update({ model }: View): void {
    const receipts = model.receipts.slice(0, SHOWN_RECEIPTS);
    const more = model.receipts.length - receipts.length;
    setText(this.more, more ? `and ${count(more)} more ended before` : '');
    this.more.hidden = more === 0;
    this.element.hidden = receipts.length === 0;
    if (receipts.length === this.shown.length && receipts.every((receipt, i) => receipt === this.shown[i])) return;
    this.shown = receipts;
    this.element.replaceChildren(
      ...receipts.map((receipt) =>
        receiptCard(receipt, (model.hello?.sources.length ?? 1) > 1, () => {
          model.dismiss(receipt);
          this.element.dispatchEvent(new CustomEvent('dismissed', { bubbles: true }));
        }),
      ),
      this.more,
    );
  }
}

type Values = Record<string, unknown>;

const numberOf = (values: Values, key: string) => (typeof values[key] === 'number' ? (values[key] as number) : null);
const textOf = (values: Values, key: string) => (typeof values[key] === 'string' ? (values[key] as string) : null);

/** What a receipt says, in the order in which people ask; what it does not know or what is zero by nature is left out. */
export function receiptFacts(values: Values): [string, Cell][] {
  const facts: [string, Cell][] = [];
  const [received, expected] = [numberOf(values, 'received'), numberOf(values, 'expected')];
  facts.push(['received', { text: expected === null ? count(received) : `${count(received)} of ${count(expected)}` }]);
  for (const key of ['n_missing', 'dropped', 'incomplete']) {
    const n = numberOf(values, key) ?? 0;
    if (n > 0 || key === 'n_missing') facts.push([key === 'n_missing' ? 'missing' : key, n > 0 ? { text: count(n), state: 'bad', why: 'lost' } : { text: '0' }]);
  }
  const ranges = Array.isArray(values.missing) ? (values.missing as unknown[]) : [];
  if (ranges.length) facts.push(['ids missing', { text: rangesText(ranges) }]);
  for (const key of ['duplicated', 'late', 'expired', 'declined']) {
    const n = numberOf(values, key) ?? 0;
    if (n > 0) facts.push([key, { text: count(n) }]);
  }
  const written = numberOf(values, 'written');
  if (written !== null) facts.push(['written', written === received ? { text: count(written) } : { text: count(written), state: 'bad', why: 'not as many as were received' }]);
  const file = textOf(values, 'file');
  if (file) facts.push(['file', { text: shortName(file), why: file }]);
  facts.push(['data', { text: bytes(numberOf(values, 'payload_bytes')) }]);
  const checksum = textOf(values, 'checksum');
  if (checksum) facts.push(['checksum', { text: checksum }]);
  return facts;
}

function rangesText(ranges: unknown[]): string {
  const words = ranges.slice(0, 4).map((range) => {
    const [first, last] = Array.isArray(range) ? range : [range, range];
    return first === last ? String(first) : `${first}–${last}`;
  });
  return words.join(', ') + (ranges.length > 4 ? ` and ${ranges.length - 4} more` : '');
}

function receiptCard(receipt: Receipt, several: boolean, dismiss: () => void): HTMLElement {
  const values = receipt.receipt;
  const verdict = values.clean === true ? 'ok' : values.clean === false ? 'bad' : null;
  const state = textOf(values, 'state') ?? 'ended';
  const list = el('dl', { class: 'facts facts-2' });
  for (const [name, cell] of receiptFacts(values)) {
    const value = el('dd');
    setCell(value, cell);
    list.append(el('div', { class: cell.text.length > 14 ? 'fact-wide' : '' }, el('dt', {}, name), value));
  }
  const save = () => saveFile(`${fileName(receipt.stream, 'receipt')}.json`, new Blob([JSON.stringify(values, null, 2)], { type: 'application/json' }));
  return el(
    'section',
    { class: 'card card-wide receipt', 'data-state': verdict, 'aria-label': `Receipt of ${receipt.source}/${receipt.stream}` },
    el(
      'div',
      { class: 'card-head' },
      el('h2', { title: `${receipt.source}/${receipt.stream}` }, `${several ? `${shortName(receipt.source)}/` : ''}${receipt.stream} has ended`),
      el('span', { class: 'card-value' }, verdict === 'ok' ? `✔ ${state}, all there` : verdict === 'bad' ? `✖ ${state}` : state),
      el(
        'span',
        { class: 'card-tools' },
        el('button', { type: 'button', class: 'icon-button', 'aria-label': `Save the receipt of ${receipt.stream}`, title: 'Save as JSON', onclick: save }, icon('save')),
        el('button', { type: 'button', class: 'icon-button', 'aria-label': `Dismiss the receipt of ${receipt.stream}`, title: 'Dismiss', onclick: dismiss }, icon('close')),
      ),
    ),
    list,
  );
}
