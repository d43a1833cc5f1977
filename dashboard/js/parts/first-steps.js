// What to do next where there is no device yet: publish a reading, or let the service simulate devices.

import { t } from '../i18n.js';
import { empty, html } from './part.js';
import './publish-line.js';
import './simulations.js';

export function firstSteps() {
  return empty(
    t('first.title'),
    html`<p>${t('first.how')}</p>
      <fl-publish-line></fl-publish-line>
      <p>${t('first.login')}</p>
      <fl-simulations offer></fl-simulations>`,
  );
}
