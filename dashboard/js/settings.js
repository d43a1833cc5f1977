// What a viewer has chosen in this browser: the theme, the language, the metrics of charts.

/**
 * @param {string} key
 * @returns {string | null}
 */
export function kept(key) {
  try {
    return localStorage.getItem(`fleetlog.${key}`);
  } catch {
    return null;
  }
}

/**
 * Keeps a choice; `null` forgets it. A browser that keeps nothing forgets it with the page.
 * @param {string} key
 * @param {string | null} value
 */
export function keep(key, value) {
  try {
    if (value === null) localStorage.removeItem(`fleetlog.${key}`);
    else localStorage.setItem(`fleetlog.${key}`, value);
  } catch {
    // Storage is full or forbidden.
  }
}

/** @returns {'system' | 'light' | 'dark'} */
export function theme() {
  const chosen = kept('theme');
  return chosen === 'light' || chosen === 'dark' ? chosen : 'system';
}

/** @param {'system' | 'light' | 'dark'} chosen */
export function chooseTheme(chosen) {
  keep('theme', chosen === 'system' ? null : chosen);
  if (chosen === 'system') delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  document.dispatchEvent(new CustomEvent('theme'));
}

/** Whether the page is dark now. */
export function isDark() {
  const chosen = theme();
  return chosen === 'system' ? matchMedia('(prefers-color-scheme: dark)').matches : chosen === 'dark';
}
