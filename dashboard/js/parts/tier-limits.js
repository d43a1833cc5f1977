// What a tier allows, as tables: requests, and what devices may send.

import { number, t, word } from '../i18n.js';
import { html } from './part.js';

/** @typedef {{ path: string, requests: number, window_s: number }} RateLimit */
/** @typedef {{ messages_per_s: number | null, bytes_per_s: number | null, connection_messages_per_s: number | null, connection_bytes_per_s: number | null, new_devices_per_s: number | null }} Ingest */
/** @typedef {{ tier: string, description: string | null, limits: RateLimit[], ingest: Ingest }} Tier */

export const INGEST = /** @type {const} */ ([
  'messages_per_s',
  'bytes_per_s',
  'connection_messages_per_s',
  'connection_bytes_per_s',
  'new_devices_per_s',
]);

/** A span of seconds in its largest whole unit. @param {number} seconds */
function span(seconds) {
  if (seconds === 1) return t('tiers.second');
  if (seconds === 60) return t('tiers.minute');
  if (seconds === 3600) return t('tiers.hour');
  return seconds === 86_400 ? t('tiers.day') : t('tiers.span', { n: seconds });
}

/** How many requests, in how long. @param {RateLimit} limit */
export const rate = ({ requests, window_s }) => t('tiers.rate', { n: requests, span: span(window_s) });

/** @param {RateLimit[]} limits */
export function requestLimits(limits) {
  if (limits.length === 0) return html`<p class="muted small">${t('tiers.requests.none')}</p>`;
  return html`<dl class="limits">
    ${limits.map(
      (limit) =>
        html`<div>
          <dt>${limit.path === '*' ? t('tiers.every') : html`<code>${limit.path}</code>`}</dt>
          <dd class="numeric">${rate(limit)}</dd>
        </div>`,
    )}
  </dl>`;
}

/** Bytes in the largest unit that leaves no rest. @param {number} n */
function bytes(n) {
  if (n % 1_048_576 === 0) return `${number(n / 1_048_576)} MiB`;
  return n % 1024 === 0 ? `${number(n / 1024)} KiB` : number(n);
}

/** @param {Ingest} ingest */
export const ingestLimits = (ingest) =>
  html`<dl class="limits">
    ${INGEST.map((name) => {
      const most = ingest[name];
      return html`<div>
        <dt>${word('tiers', name)}</dt>
        <dd class="numeric">
          ${most === null ? html`<span class="faint">${t('tiers.unlimited')}</span>` : name.includes('bytes') ? bytes(most) : number(most)}
        </dd>
      </div>`;
    })}
  </dl>`;
