// Elements in one line each.

type Attributes = Record<string, string>;

export function make<K extends keyof HTMLElementTagNameMap>(
  name: K,
  className: string,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(name);
  if (className) element.className = className;
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export function button(text: string, title: string, clicked: (event: MouseEvent) => void): HTMLButtonElement {
  const element = make('button', 'pane-button', { type: 'button', title }, text);
  element.addEventListener('click', clicked);
  return element;
}

export function pressed(element: HTMLButtonElement, on: boolean): void {
  element.setAttribute('aria-pressed', String(on));
}

export function select(label: string, options: readonly [string, string][], chosen: (value: string) => void) {
  const element = make('select', 'pane-select', { 'aria-label': label, title: label });
  for (const [value, text] of options) element.add(new Option(text, value));
  element.addEventListener('change', () => chosen(element.value));
  return element;
}
