// Fields for parameters, built from what the server declares of them: kind, bounds, unit, help.

import { el, newId, setAttribute } from '../dom';
import type { Parameter, Values } from './control';

interface Field {
  parameter: Parameter;
  input: HTMLInputElement;
  row: HTMLElement;
}

const isTruth = (parameter: Parameter) => parameter.kind === 'bool';
const isWhole = (parameter: Parameter) => parameter.kind === 'int';
const isText = (parameter: Parameter) => parameter.kind === 'str' || parameter.kind === 'array';

const NO_BOUND = 1e6; // a bound so far away keeps nobody from anything

/** What stands between the bounds of a parameter, for the hint beside its field. */
export function boundsText({ minimum: low, maximum: high, unit, default: standard }: Parameter): string {
  const [minimum, maximum] = [low, high].map((bound) => (bound === null || Math.abs(bound) >= NO_BOUND ? null : bound));
  const range = minimum !== null && maximum !== null ? `${minimum} to ${maximum}` : minimum !== null ? `from ${minimum}` : maximum !== null ? `up to ${maximum}` : '';
  const usual = standard === null || standard === undefined ? '' : `default ${String(standard)}`;
  return [`${range} ${range === '' ? '' : (unit ?? '')}`.trim(), usual].filter((part) => part !== '').join(', ');
}

/** The value of a field as the server wants it, or a sentence that says what is wrong. */
export function parse(parameter: Parameter, text: string): { value: unknown } | { error: string } {
  if (isText(parameter)) return { value: text === '' && parameter.default === null ? null : text };
  if (text.trim() === '') return parameter.default === null ? { value: null } : { error: `${parameter.name}: a number is needed` };
  const value = Number(text);
  if (!Number.isFinite(value)) return { error: `${parameter.name}: ‘${text}’ is no number` };
  if (isWhole(parameter) && !Number.isInteger(value)) return { error: `${parameter.name}: a whole number is needed` };
  if (parameter.minimum !== null && value < parameter.minimum) return { error: `${parameter.name}: at least ${parameter.minimum}` };
  if (parameter.maximum !== null && value > parameter.maximum) return { error: `${parameter.name}: at most ${parameter.maximum}` };
  return { value };
}

function isChanged({ parameter, input }: Field): boolean {
  return isTruth(parameter) ? input.checked !== parameter.value : input.value !== textOf(parameter.value);
}

export class ParameterForm {
  readonly element = el('div', { class: 'fields' });
  private fields: Field[] = [];

  constructor(private readonly changed: () => void) {}

  set(parameters: Parameter[]): void {
    this.fields = parameters.filter(({ kind, value }) => kind !== 'array' || value !== null).map((parameter) => this.field(parameter));
    this.element.replaceChildren(...this.fields.map((field) => field.row));
  }

  /** The values that differ from what the group uses, or what is wrong with the first field that is. */
  values(): { values: Values } | { error: string } {
    const values: Values = {};
    let wrong: string | null = null;
    for (const field of this.fields) {
      const { parameter, input } = field;
      const read = isTruth(parameter) ? { value: input.checked } : parse(parameter, input.value);
      const error = isChanged(field) && 'error' in read ? read.error : null;
      setAttribute(input, 'aria-invalid', error === null ? null : 'true');
      wrong ??= error;
      if (isChanged(field) && 'value' in read) values[parameter.name] = read.value;
    }
    return wrong === null ? { values } : { error: wrong };
  }

  /** Which fields differ from what the group uses. */
  get changes(): string[] {
    return this.fields.filter(isChanged).map(({ parameter }) => parameter.name);
  }

  reset(): void {
    for (const field of this.fields) this.write(field, field.parameter.value);
    this.changed();
  }

  private write({ parameter, input, row }: Field, value: unknown): void {
    if (isTruth(parameter)) input.checked = value === true;
    else input.value = textOf(value);
    row.classList.remove('field-changed');
  }

  private field(parameter: Parameter): Field {
    const [id, hint] = [newId('parameter'), newId('hint')];
    const type = isTruth(parameter) ? 'checkbox' : isText(parameter) ? 'text' : 'number';
    const input = el('input', {
      id,
      type,
      'aria-describedby': hint,
      min: parameter.minimum,
      max: parameter.maximum,
      step: isWhole(parameter) ? 1 : 'any',
      autocomplete: 'off',
      disabled: parameter.kind === 'array', // a field has no room for one
    });
    const label = el('label', { for: id, title: parameter.help }, parameter.name.replaceAll('_', ' '));
    const row = el('div', { class: 'field' }, label, input, el('span', { class: 'unit' }, parameter.unit ?? ''), el('p', { class: 'hint', id: hint }, [parameter.help ?? '', boundsText(parameter)].filter((part) => part !== '').join(' · ')));
    const field = { parameter, input, row };
    this.write(field, parameter.value);
    input.addEventListener('input', () => {
      row.classList.toggle('field-changed', this.changes.includes(parameter.name));
      this.changed();
    });
    return field;
  }
}

function textOf(value: unknown): string {
  return value === null || value === undefined ? '' : String(value);
}
