// Labels as people read and write them: `key=value`, one a line.

import { Problem } from '../api.js';
import { t } from '../i18n.js';
import { html } from './part.js';

/** @param {Record<string, string>} labels */
export function labelList(labels) {
  return html`<div class="labels">
    ${Object.entries(labels).map(([key, value]) => html`<span class="label">${key}=${value}</span>`)}
  </div>`;
}

/** @param {Record<string, string>} labels */
export const labelText = (labels) =>
  Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join('\n');

/**
 * The labels of a text. A line without `=` is refused here, because it would be lost.
 * @param {string} text
 * @returns {Record<string, string>}
 */
export function labelsOf(text) {
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);
  return Object.fromEntries(
    lines.map((line) => {
      const at = line.indexOf('=');
      if (at < 1) throw new Problem(422, { code: 'invalid', detail: t('labels.wrong', { line }) });
      return [line.slice(0, at).trim(), line.slice(at + 1).trim()];
    }),
  );
}
