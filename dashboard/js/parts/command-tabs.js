// The two lists of commands: single ones, and batches of them.

import { t } from '../i18n.js';
import { html, nothing } from './part.js';

/** @param {'commands' | 'batches'} here */
export const commandTabs = (here) =>
  html`<nav class="tabs" aria-label=${t('nav.commands')}>
    <a href="/app/commands" aria-current=${here === 'commands' ? 'page' : nothing}>${t('nav.commands')}</a>
    <a href="/app/commands/batches" aria-current=${here === 'batches' ? 'page' : nothing}>${t('batches')}</a>
  </nav>`;
