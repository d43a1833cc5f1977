// A line for a terminal, with a button that copies it.

import { t } from '../i18n.js';
import { say } from './dialog.js';
import { icon } from './icons.js';
import { html } from './part.js';

/** @param {string} text */
export function commandLine(text) {
  const copy = async () => {
    await navigator.clipboard?.writeText(text);
    say(t('copied'));
  };
  return html`<div class="command-line">
    <code>${text}</code
    ><button class="plain square" aria-label=${t('copy')} title=${t('copy')} @click=${copy}>${icon('copy')}</button>
  </div>`;
}
