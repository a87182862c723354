// The frame of a card: its title, which folds it, what it says now, and its tools. Which cards are folded is remembered.

import type { Column } from '../../charts/csv';
import { csv } from '../../charts/csv';
import { el, icon, iconButton, newId, setText } from '../dom';
import { rememberedSet, rememberSet } from '../memory';
import { copyText, fileName, saveCsv } from '../save';

export interface ShellOptions {
  name: string;
  title: string;
  /** Over the whole width of the column. */
  wide?: boolean;
  /** What is copied and saved; no such buttons without it. */
  columns?: () => Column[];
}

export class Shell {
  readonly element: HTMLElement;
  readonly body = el('div', { class: 'card-body' });
  /** Small controls beside the title. */
  readonly tools = el('span', { class: 'card-tools' });
  onUnfold: () => void = () => undefined;
  private readonly title: HTMLElement;
  private readonly value = el('span', { class: 'card-value' });
  private readonly fold: HTMLButtonElement;
  private readonly name: string;

  constructor(options: ShellOptions) {
    this.name = options.name;
    const id = newId('card');
    this.body.id = id;
    this.title = el('span', {}, options.title);
    this.fold = el('button', { type: 'button', class: 'card-fold', 'aria-controls': id, onclick: () => this.toggle() }, icon('fold'), this.title);
    const { columns } = options;
    if (columns) {
      this.tools.append(
        iconButton('copy', `Copy ${options.title} as CSV`, () => void copyText(csv(columns()), 'CSV')),
        iconButton('save', `Save ${options.title} as CSV`, () => saveCsv(fileName(options.name), columns())),
      );
    }
    this.element = el(
      'section',
      { class: `card${options.wide ? ' card-wide' : ''}`, 'data-card': options.name, 'aria-label': options.title },
      el('div', { class: 'card-head' }, el('h2', {}, this.fold), this.value, this.tools),
      this.body,
    );
    this.show(!rememberedSet('folded').has(options.name));
  }

  get folded(): boolean {
    return this.body.hidden !== false;
  }

  setTitle(text: string): void {
    setText(this.title, text);
  }

  setValue(text: string): void {
    setText(this.value, text);
  }

  private toggle(): void {
    const folded = rememberedSet('folded');
    if (this.folded) folded.delete(this.name);
    else folded.add(this.name);
    rememberSet('folded', folded);
    this.show(this.folded);
    if (!this.folded) this.onUnfold();
  }

  private show(open: boolean): void {
    this.body.hidden = !open;
    this.fold.setAttribute('aria-expanded', String(open));
    this.element.classList.toggle('card-folded', !open);
  }
}
