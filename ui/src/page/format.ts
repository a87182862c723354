// Numbers as people read them at a distance: few digits, no jumping widths, the same in every language.

export const NONE = '–';
const THIN = '\u202f';

/** 1234567 → «1 234 567». */
export function count(n: number | null | undefined): string {
  if (n === null || n === undefined || !Number.isFinite(n)) return NONE;
  return String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, THIN);
}

/** With about three digits: 0.125, 4.52, 42.5, 1 235. */
export function number(value: number | null | undefined): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const size = Math.abs(value);
  if (size === 0) return '0';
  if (size >= 1e7 || size < 1e-3) return value.toExponential(2).replace('e+', 'e');
  if (size >= 999.5) return (value < 0 ? '-' : '') + count(size);
  return value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : size >= 0.9995 ? 2 : 3);
}

/** Hertz with a place after the point below 1000. */
export function rate(hz: number | null | undefined): string {
  if (hz === null || hz === undefined || !Number.isFinite(hz)) return NONE;
  return hz >= 999.95 ? count(hz) : hz.toFixed(1);
}

/** 0.425 → «42.5». */
export function percent(fraction: number | null | undefined): string {
  if (fraction === null || fraction === undefined || !Number.isFinite(fraction)) return NONE;
  return (100 * fraction).toFixed(1);
}

const DECIMAL = ['B', 'kB', 'MB', 'GB', 'TB', 'PB'];

export function bytes(n: number | null | undefined): string {
  if (n === null || n === undefined || !Number.isFinite(n)) return NONE;
  let value = n;
  let i = 0;
  while (value >= 999.5 && i < DECIMAL.length - 1) {
    value /= 1000;
    i += 1;
  }
  return `${i === 0 || value >= 99.95 ? value.toFixed(0) : value.toFixed(1)} ${DECIMAL[i]}`;
}

const pad = (n: number) => String(Math.floor(n)).padStart(2, '0');

/** A span of time as [number, unit], so that both can be set apart: «19» «ms», «1.4» «s», «2:05» «min», «3:12» «h». */
export function span(seconds: number | null | undefined): [string, string] {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return [NONE, ''];
  const s = Math.max(0, seconds);
  if (s < 0.9995) return [(1000 * s).toFixed(0), 'ms'];
  if (s < 60) return [Math.min(59.9, s).toFixed(1), 's'];
  if (s < 3600) return [`${Math.floor(s / 60)}:${pad(s % 60)}`, 'min'];
  if (s < 86400) return [`${Math.floor(s / 3600)}:${pad((s % 3600) / 60)}`, 'h'];
  return [`${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)}`, 'h'];
}

export function duration(seconds: number | null | undefined): string {
  return span(seconds).join(' ').trim();
}

/** Whole seconds, for what ticks once a second: «12 s», «2:05 min». */
export function ticks(seconds: number): string {
  const s = Math.max(0, Math.floor(seconds));
  return s < 60 ? `${s} s` : duration(s);
}

/** Seconds since 1970 as the time of day here. */
export function clock(time_s: number, withSeconds = true): string {
  const date = new Date(time_s * 1000);
  if (Number.isNaN(date.getTime())) return NONE;
  return `${pad(date.getHours())}:${pad(date.getMinutes())}${withSeconds ? `:${pad(date.getSeconds())}` : ''}`;
}

/** The day as well, where it is not today. */
export function moment(time_s: number, now_s = Date.now() / 1000): string {
  const [date, today] = [new Date(time_s * 1000), new Date(now_s * 1000)];
  if (Number.isNaN(date.getTime())) return NONE;
  const day = `${date.getFullYear()}-${pad(date.getMonth() + 1)}-${pad(date.getDate())}`;
  return date.toDateString() === today.toDateString() ? clock(time_s) : `${day} ${clock(time_s)}`;
}

/** The last part of an address: what a narrow column has room for. */
export function shortName(address: string): string {
  return address.split('/').pop() || address;
}

/** Addresses as choices: their last parts, as long as these tell them apart. */
export function shortNames(addresses: string[]): string[] {
  const names = addresses.map(shortName);
  return new Set(names).size === names.length ? names : addresses;
}

/** 1 → «1 frame», 2 → «2 frames». */
export function plural(n: number, word: string): string {
  return `${count(n)} ${word}${n === 1 ? '' : 's'}`;
}
