// What this browser remembers of how its user likes the page. It may refuse to: then the page forgets.

const PREFIX = 'beamstream-monitor.';

export function remembered(key: string): string | null {
  try {
    return localStorage.getItem(PREFIX + key);
  } catch {
    return null;
  }
}

export function remember(key: string, value: string): void {
  try {
    localStorage.setItem(PREFIX + key, value);
  } catch {
    // private windows and full disks: nothing is lost that matters
  }
}

/** Folded cards by name. */
export function rememberedSet(key: string): Set<string> {
  try {
    const names: unknown = JSON.parse(remembered(key) ?? '[]');
    return new Set(Array.isArray(names) ? names.filter((name) => typeof name === 'string').slice(0, 100) : []);
  } catch {
    return new Set();
  }
}

export function rememberSet(key: string, names: Set<string>): void {
  remember(key, JSON.stringify([...names]));
}
