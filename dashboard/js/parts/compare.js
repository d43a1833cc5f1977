// What the charts of a device are compared with: another device, or the same one at an earlier time. It is in the page's address.

import { graphql } from '../api.js';
import { t, word } from '../i18n.js';
import { go, query, withQuery } from '../router.js';
import { html, nothing } from './part.js';

/** How far back, in seconds. */
const BACK = /** @type {const} */ ({ '1h': 3600, '1d': 86_400, '7d': 604_800 });
/** How many devices the field suggests. */
const SUGGESTED = 12;

/** @typedef {import('./chart.js').Data} Data */

/** What the address says: `compare=1d`, or `compare=device:dev-02`. @returns {{ uid: string | null, shift: number, name: string } | null} */
export function comparison() {
  const text = query('compare') ?? '';
  if (text.startsWith('device:')) {
    const uid = text.slice('device:'.length);
    return uid ? { uid, shift: 0, name: uid } : null;
  }
  const shift = BACK[/** @type {keyof typeof BACK} */ (text)];
  return shift ? { uid: null, shift, name: word('compare.back', text) } : null;
}

/** What is compared with, at the times of the chart. @param {Data} data @param {number} shift In seconds. */
export const moved = ({ at, value }, shift) => ({ at: at.map((one) => one + shift), value });

/** @param {Event} event */
function choose(event) {
  const value = /** @type {HTMLSelectElement} */ (event.target).value;
  go(withQuery({ compare: value }), { replace: true });
}

/** @param {Event} event */
async function suggest(event) {
  const input = /** @type {HTMLInputElement} */ (event.target);
  const list = input.parentElement?.querySelector('datalist');
  const { devices } = await graphql(
    'query ($q: String, $first: Int) { devices(filter: { q: $q }, first: $first) { nodes { uid name } } }',
    { q: input.value.trim(), first: SUGGESTED },
  );
  list?.replaceChildren(
    ...devices.nodes.map((/** @type {{ uid: string, name: string | null }} */ { uid, name }) =>
      Object.assign(document.createElement('option'), { value: uid, textContent: name ?? '' }),
    ),
  );
}

/** @param {Event} event */
function chooseDevice(event) {
  const uid = /** @type {HTMLInputElement} */ (event.target).value.trim();
  if (uid) go(withQuery({ compare: `device:${uid}` }), { replace: true });
}

/** The choice of what to compare with. */
export function compareChoice() {
  const now = query('compare') ?? '';
  const isDevice = now.startsWith('device:');
  return html`<div class="compare">
    <label class="choice"
      ><span class="muted small">${t('compare')}</span
      ><select @change=${choose}>
        <option value="" ?selected=${!now}>${t('compare.none')}</option>
        ${Object.keys(BACK).map((one) => html`<option value=${one} ?selected=${now === one}>${word('compare.back', one)}</option>`)}
        <option value="device:" ?selected=${isDevice}>${t('compare.device')}</option>
      </select></label
    >
    ${
      isDevice
        ? html`<input
              list="compare-devices"
              aria-label=${t('compare.uid')}
              placeholder=${t('compare.uid')}
              .value=${now.slice('device:'.length)}
              autocapitalize="none"
              autocomplete="off"
              spellcheck="false"
              @focus=${suggest}
              @input=${suggest}
              @change=${chooseDevice}
            /><datalist id="compare-devices"></datalist>`
        : nothing
    }
  </div>`;
}
