// What to do next where there is no device yet: publish a reading, or let the service simulate devices.

import { t } from '../i18n.js';
import { me } from '../session.js';
import { say } from './dialog.js';
import { icon } from './icons.js';
import { empty, html } from './part.js';
import './simulations.js';

/** A line for a terminal, with a button that copies it. @param {string} text */
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

/** The line with which anybody is a device of this service. @param {string} [uid] */
export function publishLine(uid = 'dev-01') {
  const host = location.hostname.replace(/^\[|\]$/g, '');
  return `mosquitto_pub -h ${host} -p 1883 -q 1 -t ${me()?.tenant ?? 't0'}/devices/${uid}/telemetry -m '{"temperature":21.5}'`;
}

export function firstSteps() {
  return empty(
    t('first.title'),
    html`<p>${t('first.how')}</p>
      ${commandLine(publishLine())}
      <p>${t('first.port')}</p>
      <fl-simulations offer></fl-simulations>`,
  );
}
