// The bytes of an event's record: what its leaf covers, column by column, in hex.

import { number, t } from '../i18n.js';
import { hex } from '../proof/bytes.js';
import { columns, record } from '../proof/record.js';
import { html } from './part.js';

/** How many bytes of a column are shown before the rest is. */
const SHORT = 96;

/** @param {string} text */
const pairs = (text) => text.replace(/../g, '$& ').trim();

/** @param {import('../proof/record.js').Event} event */
export function recordBytes(event) {
  const all = columns(event);
  return html`<p class="small muted record-size">
      ${t('event.bytes.total', { bytes: record(event).length, columns: all.length })}
    </p>
    <div class="table-wrap" tabindex="0" role="group" aria-label=${t('event.bytes')}>
      <table class="compact bytes">
        <thead>
          <tr>
            <th>${t('event.column')}</th>
            <th class="end">${t('event.length')}</th>
            <th>${t('event.hex')}</th>
          </tr>
        </thead>
        <tbody>
          ${all.map(({ name, bytes }) => {
            const text = hex(bytes);
            const head = pairs(text.slice(0, 2 * SHORT));
            return html`<tr>
              <td><code>${name}</code></td>
              <td class="end numeric">${number(bytes.length)}</td>
              <td>
                ${
                  bytes.length > SHORT
                    ? html`<details class="hex">
                        <summary><code>${head} …</code></summary>
                        <code>${pairs(text.slice(2 * SHORT))}</code>
                      </details>`
                    : html`<code class="hex">${head}</code>`
                }
              </td>
            </tr>`;
          })}
        </tbody>
      </table>
    </div>`;
}
