// A batch of commands in figures: how many are in each state, as a bar and as words, and for whom it is.

import { svg } from '../../vendor/lit/index.js';
import { number, t, word } from '../i18n.js';
import { html, nothing } from './part.js';

/** @typedef {{ waiting: number, requested: number, sent: number, acked: number, failed: number, timed_out: number, cancelled: number }} Counts */
/**
 * @typedef {{
 *   batch_id: string, selector: { labels?: Record<string, string>, devices?: string[] }, cmd: string, params: any,
 *   status: string, requested_by: string, requested_at: string, expires_at: string, rate_per_s: number,
 *   abort_after_failures: number | null, devices: number, commands: Counts, ended_at: string | null, cancelled_by:
 *   string | null, cancel_reason: string | null, position: number
 * }} Batch
 */

/** The states of a batch's commands, in the order of the bar. */
export const STATES = /** @type {const} */ ([
  'acked',
  'failed',
  'timed_out',
  'cancelled',
  'sent',
  'requested',
  'waiting',
]);

/** A batch in one of these states may still be steered. */
export const isOpen = (/** @type {string} */ status) => ['running', 'paused'].includes(status);

/** How many commands have ended. @param {Counts} counts */
export const ended = (counts) => counts.acked + counts.failed + counts.timed_out + counts.cancelled;

/** The share of each state as a bar. @param {Batch} batch */
export function bar({ commands, devices }) {
  const share = (/** @type {number} */ count) => (devices ? (count * 1000) / devices : 0);
  let from = 0;
  const parts = STATES.filter((state) => state !== 'waiting' && commands[state]).map((state) => {
    const width = share(commands[state]);
    const part = { state, from, width };
    from += width;
    return part;
  });
  const label = STATES.filter((state) => commands[state])
    .map((state) => `${number(commands[state])} ${word('batch.count', state)}`)
    .join(', ');
  return html`<svg class="batch-bar" viewBox="0 0 1000 10" preserveAspectRatio="none" role="img" aria-label=${label}>
    <rect class="is-waiting" width="1000" height="10"></rect>
    ${parts.map(({ state, from: x, width }) => rect(state, x, width))}
  </svg>`;
}

/** @param {string} state @param {number} x @param {number} width */
const rect = (state, x, width) => svg`<rect class=${`is-${state}`} x=${x} width=${width} height="10"></rect>`;

/** For whom a batch is, in a few words. @param {Batch} batch */
export function chosen({ selector }) {
  if (selector.labels)
    return html`<span class="labels"
      >${Object.entries(selector.labels).map(([key, value]) => html`<span class="label">${key}=${value}</span>`)}</span
    >`;
  const [first] = selector.devices ?? [];
  if (!first) return nothing;
  const others = (selector.devices?.length ?? 1) - 1;
  return html`<span
    ><code>${first}</code
    >${others > 0 ? html` <span class="muted">${t('batch.others', { n: others })}</span>` : nothing}</span
  >`;
}
