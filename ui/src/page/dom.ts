// Elements in one expression. Text goes in as text, never as markup, and styles only through classes and CSSOM: the
// page's content security policy allows nothing else.

type Value = string | number | boolean | null | undefined | ((event: Event) => void);
export type Child = Node | string | null;

/** Makes an element: `on…` are listeners, true gives an empty attribute, false and null none. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, Value> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, '');
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  for (const child of children) if (child !== null) element.append(child);
  return element;
}

/** Sets a text only where it has changed: the page writes many of them five times a second. */
export function setText(node: Element, text: string): void {
  if (node.textContent !== text) node.textContent = text;
}

export function setAttribute(element: Element, name: string, value: string | null): void {
  if (value === null) element.removeAttribute(name);
  else if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

export interface Choice {
  value: string;
  text: string;
  title?: string;
}

/** Fills a list of choices, and leaves it alone where nothing has changed: it may be open. */
export function setChoices(select: HTMLSelectElement, choices: Choice[], value: string): void {
  const same =
    select.options.length === choices.length &&
    choices.every((c, i) => select.options[i].value === c.value && select.options[i].text === c.text);
  if (!same) select.replaceChildren(...choices.map((c) => el('option', { value: c.value, title: c.title ?? null }, c.text)));
  if (select.value !== value) select.value = value;
}

let lastNumber = 0;

/** An id that no other element of the page has. */
export function newId(word: string): string {
  lastNumber += 1;
  return `${word}-${lastNumber}`;
}

const SHAPES: Record<string, string> = {
  pause: 'M5 3v10M11 3v10',
  play: 'M4.5 2.5v11l9-5.5z',
  first: 'M3 3v10M13 3 6.5 8l6.5 5z',
  last: 'M13 3v10M3 3l6.5 5L3 13z',
  back: 'M10.5 3 5 8l5.5 5',
  forward: 'M5.5 3 11 8l-5.5 5',
  back10: 'M8 3 2.5 8 8 13M13.5 3 8 8l5.5 5',
  forward10: 'M8 3l5.5 5L8 13M2.5 3 8 8l-5.5 5',
  link: 'M6.5 9.5a3 3 0 0 0 4.2 0l2-2a3 3 0 0 0-4.2-4.2l-.9.9M9.5 6.5a3 3 0 0 0-4.2 0l-2 2a3 3 0 0 0 4.2 4.2l.9-.9',
  save: 'M8 2.5v7.5M4.8 7 8 10.2 11.2 7M3 13.5h10',
  copy: 'M5.5 5.5v-3h8v8h-3M2.5 5.5h8v8h-8z',
  add: 'M8 3v10M3 8h10',
  close: 'M4 4l8 8M12 4l-8 8',
  theme: 'M8 2.5a5.5 5.5 0 1 0 0 11zM8 2.5a5.5 5.5 0 0 1 0 11',
  fold: 'M4 6.5 8 10.5 12 6.5',
  tune: 'M3 4.5h6M12 4.5h1M9 3v3M3 11.5h1M7 11.5h6M4 10v3',
};

/** A small line drawing; the button around it carries the name. */
export function icon(name: keyof typeof SHAPES | string): SVGSVGElement {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  for (const [key, value] of [['viewBox', '0 0 16 16'], ['width', '16'], ['height', '16'], ['aria-hidden', 'true'], ['class', 'icon']]) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS(space, 'path');
  path.setAttribute('d', SHAPES[name] ?? '');
  svg.append(path);
  return svg;
}

/** A button with a drawing only; its name is read aloud and shown as a hint. */
export function iconButton(shape: string, name: string, onclick: () => void, key = ''): HTMLButtonElement {
  const title = key === '' ? name : `${name} (${key})`;
  return el('button', { type: 'button', class: 'icon-button', 'aria-label': name, title, onclick }, icon(shape));
}
