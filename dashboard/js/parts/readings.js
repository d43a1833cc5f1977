// A device's readings: their metrics, and the table of the latest.

import { exactly, moment, number, t, when } from '../i18n.js';
import { may } from '../session.js';
import { empty, html, nothing } from './part.js';
import { pill } from './pills.js';

/**
 * @typedef {{
 *   ts: string, recordedAt: string, position: number, msgId: string, flags: string[], payload: any
 * }} Reading
 */

/** What a message says of itself, and no metric. */
const OWN = ['msg_id', 'ts'];

/** What a device sent: that of a message of a source stands beside its topic. @param {any} payload */
const sent = (payload) => (payload?.source && payload.topic && 'json' in payload ? payload.json : payload);

/**
 * The metrics of a payload, named as the service names them: every number and boolean, by its path. A source may name those of its
 * messages otherwise.
 * @param {any} payload
 * @returns {Record<string, number>}
 */
export const metrics = (payload) => leaves(sent(payload), '');

/**
 * @param {any} payload
 * @param {string} within
 * @returns {Record<string, number>}
 */
function leaves(payload, within) {
  if (payload === null || typeof payload !== 'object' || Array.isArray(payload)) return {};
  /** @type {Record<string, number>} */
  const found = {};
  for (const [key, value] of Object.entries(payload)) {
    if (!within && OWN.includes(key)) continue;
    if (typeof value === 'number') found[within + key] = value;
    else if (typeof value === 'boolean') found[within + key] = value ? 1 : 0;
    else Object.assign(found, leaves(value, `${within}${key}.`));
  }
  return found;
}

/** @param {Reading} reading @param {number | null} logId */
function row(reading, logId) {
  const values = Object.entries(metrics(reading.payload));
  const place = logId === null ? `${reading.position}` : `${logId}:${reading.position}`;
  return html`<tr>
    <td>
      ${when(reading.ts, exactly)}
      <div class="faint small">${moment(reading.ts).split(',')[0]}</div>
    </td>
    <td>
      <details>
        <summary>
          <span class="values"
            >${values.length ? values.slice(0, 5).map(([metric, value]) => html`<span><span class="muted">${metric}</span> <b>${number(value)}</b></span>`) : html`<code class="small">${JSON.stringify(reading.payload).slice(0, 60)}</code>`}</span
          >
        </summary>
        <pre class="json" tabindex="0">${JSON.stringify(reading.payload, null, 2)}</pre>
      </details>
    </td>
    <td>
      ${reading.flags.length ? html`<div class="labels">${reading.flags.map((flag) => pill('flag', flag))}</div>` : nothing}
    </td>
    <td class="wide">${when(reading.recordedAt, exactly)}</td>
    <td class="end">
      ${may('events.read') ? html`<a class="mono small" href=${`/app/events?log=telemetry&order=asc&after=${reading.position - 1}`}>${place}</a>` : html`<span class="mono small">${place}</span>`}
    </td>
  </tr>`;
}

/** @param {Reading[]} readings @param {number | null} logId @param {unknown} next What to do where there is none. */
export function readingTable(readings, logId, next) {
  if (readings.length === 0) return empty(t('readings.none'), next);
  return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
    <table>
      <thead>
        <tr>
          <th>${t('readings.taken')}</th>
          <th>${t('readings.values')}</th>
          <th>${t('readings.flags')}</th>
          <th class="wide">${t('readings.recorded')}</th>
          <th class="end">${t('position')}</th>
        </tr>
      </thead>
      <tbody>
        ${readings.map((reading) => row(reading, logId))}
      </tbody>
    </table>
  </div>`;
}
