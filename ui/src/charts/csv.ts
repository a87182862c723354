// Columns as comma-separated text: a header line with units in the names, a point in numbers, empty where nothing is known.

export interface Column {
  name: string;
  values: ArrayLike<number | null | undefined | string>;
}

function cell(value: number | null | undefined | string): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'number') return Number.isFinite(value) ? String(value) : '';
  // a spreadsheet takes a leading sign for a formula; names come from outside
  const text = /^[=+\-@\t]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function csv(columns: Column[]): string {
  const n = Math.max(0, ...columns.map((column) => column.values.length));
  const lines = [columns.map((column) => cell(column.name)).join(',')];
  for (let i = 0; i < n; i++) lines.push(columns.map((column) => cell(column.values[i])).join(','));
  return lines.join('\r\n') + '\r\n';
}
