// What a source's definition makes of a message.

import { number, t, when, word } from '../i18n.js';
import { html, nothing } from './part.js';
import { pill } from './pills.js';

/**
 * @typedef {{
 *   uid: string, occurred_at: string, time_from: string | null, msg_id: string | null, flags: string[],
 *   metrics: Record<string, number>, remarks: string[]
 * }} Reading
 */
/** @typedef {{ topic: string, readings: Reading[], refused?: string, answer?: unknown }} Trial */

/** @param {Reading} reading */
function row(reading) {
  const metrics = Object.entries(reading.metrics);
  return html`<div class="tried">
    <div>
      <b>${reading.uid}</b>
      <span class="muted">${reading.time_from ? when(reading.occurred_at) : t('sources.arrival')}</span>
    </div>
    <div class="values">
      ${metrics.map(([metric, value]) => html`<span><span class="muted">${metric}</span> <b>${number(value)}</b></span>`)}
      ${metrics.length === 0 ? html`<span class="muted">${t('sources.no_metrics')}</span>` : nothing}
    </div>
    <div class="labels">
      ${reading.flags.map((flag) => pill('flag', flag))}${reading.remarks.map(
        (remark) => html`<span class="pill warn">${word('remark', remark)}</span>`,
      )}
    </div>
  </div>`;
}

/** @param {Trial} trial */
export const tried = (trial) =>
  html`<div class="trial">
    <code class="small topic">${trial.topic}</code>
    ${trial.refused ? html`<p class="wrong">${trial.refused}</p>` : trial.readings.map(row)}
    ${trial.answer && trial.readings.length === 0 ? html`<p class="muted">${t('sources.answer')}</p>` : nothing}
  </div>`;
