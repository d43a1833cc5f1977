// The rows of the list of devices, a page at a time. A page that is far from what is seen is an empty space of its height.

import { ago, number, shortNumber, t } from '../i18n.js';
import { go, query, withQuery } from '../router.js';
import { toggled } from './device-filter.js';
import { html, nothing } from './part.js';
import { pill } from './pills.js';
import { metrics } from './readings.js';
import { trend } from './spark.js';

/** How many values of the last reading a row shows. */
const VALUES = 3;

/**
 * @typedef {{
 *   uid: string, name: string | null, labels: Record<string, string>, status: string, lastSeenAt: string | null,
 *   lastReading: { payload: any } | null, messages: number
 * }} Device
 */
/**
 * A page of the list. `near`: its rows are drawn; else its height stands for them.
 * @typedef {{ after: string | null, end: string | null, more: boolean, nodes: Device[], near: boolean, height: number }} Page
 */
/**
 * Which devices are selected. `some`: any of them; `whole`: all that are loaded.
 * @typedef {{
 *   some: boolean, whole: boolean, has: (uid: string) => boolean, select: (uid: string, wanted: boolean) => void,
 *   toggle: () => void
 * }} Selection
 */
/**
 * @typedef {{
 *   pages: Page[], size: number, total: number, metric: string, line: (uid: string) => (number | null)[] | undefined,
 *   selection: Selection | null
 * }} List
 */

/** @param {string} up @param {string} down @param {string} name @param {string} classes */
function sortable(up, down, name, classes = '') {
  const now = query('sort') ?? 'uid';
  // Names begin at the first, times at the newest; a second press turns the order round.
  const first = up === 'uid' ? up : down;
  const next = now === first ? (first === up ? down : up) : first;
  const order = now === up ? 'ascending' : now === down ? 'descending' : nothing;
  return html`<th class=${classes} aria-sort=${order}>
    <button class="sort" @click=${() => go(withQuery({ sort: next }))}>
      ${name}${order === 'ascending' ? ' ↑' : order === 'descending' ? ' ↓' : ''}
    </button>
  </th>`;
}

/** @param {Device} device */
function values(device) {
  const found = Object.entries(metrics(device.lastReading?.payload)).slice(0, VALUES);
  if (found.length === 0 && device.lastReading)
    return html`<code>${JSON.stringify(device.lastReading.payload).slice(0, 60)}</code>`;
  return found.map(
    ([metric, value]) => html`<span><span class="muted">${metric}</span> <b>${shortNumber(value)}</b></span>`,
  );
}

/** @param {Device} device @param {number} place @param {List} list */
function row(device, place, { metric, line, selection }) {
  const { uid } = device;
  const check = (/** @type {Event} */ event) =>
    selection?.select(uid, /** @type {HTMLInputElement} */ (event.target).checked);
  return html`<tr data-uid=${uid} aria-rowindex=${place + 2}>
    ${
      selection
        ? html`<td class="check-cell">
            <input
              type="checkbox"
              aria-label=${t('devices.select', { uid })}
              .checked=${selection.has(uid)}
              @change=${check}
            />
          </td>`
        : nothing
    }
    <td>
      <a class="device-name" href=${`/app/devices/${encodeURIComponent(uid)}`}
        >${uid}${device.name ? html`<span class="faint">${device.name}</span>` : nothing}</a
      >
    </td>
    <td>${pill('device', device.status)}</td>
    <td>${ago(device.lastSeenAt)}</td>
    ${metric ? html`<td class="wide trend-cell">${trend(metric, line(uid))}</td>` : nothing}
    <td class="wide"><div class="values">${values(device)}</div></td>
    <td class="wide">
      <div class="labels">
        ${Object.entries(device.labels).map(([key, value]) => html`<a class="label" href=${toggled(`${key}=${value}`)} title=${t('devices.label.add')}>${key}=${value}</a>`)}
      </div>
    </td>
    <td class="end numeric wide">${number(device.messages)}</td>
  </tr>`;
}

/** @param {Page} page @param {number} at @param {List} list */
function body(page, at, list) {
  if (!page.near && page.height)
    return html`<tbody data-page=${at}>
      <tr aria-hidden="true">
        <td class="space" colspan="9" data-height=${Math.round(page.height)}></td>
      </tr>
    </tbody>`;
  return html`<tbody data-page=${at}>
    ${page.nodes.map((device, index) => row(device, at * list.size + index, list))}
  </tbody>`;
}

/** @param {List} list */
export function deviceTable(list) {
  const { pages, total, metric, selection } = list;
  return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
    <table class="device-rows" aria-rowcount=${total + 1}>
      <thead>
        <tr aria-rowindex="1">
          ${
            selection
              ? html`<th class="check-cell">
                  <input
                    type="checkbox"
                    aria-label=${t('devices.select.shown')}
                    .checked=${selection.whole}
                    .indeterminate=${selection.some && !selection.whole}
                    @change=${selection.toggle}
                  />
                </th>`
              : nothing
          }
          ${sortable('uid', 'uid_desc', t('device'))}
          <th class="status-cell">${t('status')}</th>
          ${sortable('last_seen_at', 'last_seen_at_desc', t('device.seen'), 'seen-cell')}
          ${metric ? html`<th class="wide trend-cell">${t('trend.hour', { metric })}</th>` : nothing}
          <th class="wide">${t('device.last')}</th>
          <th class="wide label-cell">${t('labels')}</th>
          <th class="end wide count-cell">${t('device.messages')}</th>
        </tr>
      </thead>
      ${pages.map((page, at) => body(page, at, list))}
    </table>
  </div>`;
}
