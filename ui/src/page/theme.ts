// Dark or light: what the system prefers until somebody chooses, then what was chosen.

import { remember, remembered } from './memory';

export type Theme = 'dark' | 'light';

const prefersLight = () => window.matchMedia('(prefers-color-scheme: light)');

export function theme(): Theme {
  const chosen = remembered('theme');
  if (chosen === 'dark' || chosen === 'light') return chosen;
  return prefersLight().matches ? 'light' : 'dark';
}

export function applyTheme(): void {
  document.documentElement.dataset.theme = theme();
}

/** `changed` is called after the colours of the page have changed, by whatever. */
export function startTheme(changed: () => void): { toggle(): void } {
  const apply = () => {
    applyTheme();
    changed();
  };
  applyTheme();
  prefersLight().addEventListener('change', apply);
  return {
    toggle() {
      remember('theme', theme() === 'dark' ? 'light' : 'dark');
      apply();
    },
  };
}
