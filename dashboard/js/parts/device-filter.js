// Which devices a page is about: a text, a state, labels. They are in the page's address.

import { t } from '../i18n.js';
import { go, query, withQuery } from '../router.js';
import { icon } from './icons.js';
import { html, nothing } from './part.js';
import { graphql } from '../api.js';

/** @typedef {{ q?: string, status?: string, label?: string[] }} Filter */

/** How many uids are asked for at a time. */
const PAGE = 1000;

/** The labels of a text: `site=hanoi,floor=3`. @param {string | null} text */
export const words = (text) => [
  ...new Set(
    (text ?? '')
      .split(',')
      .map((word) => word.trim())
      .filter(Boolean),
  ),
];

/** The filter of the present address, as the service takes it. @returns {Filter} */
export function filterOf() {
  const [q, status, label] = [query('q'), query('status')?.toUpperCase(), words(query('label'))];
  return { ...(q ? { q } : {}), ...(status ? { status } : {}), ...(label.length ? { label } : {}) };
}

/** How many devices fit; `null` where policies hide some. @param {Filter} filter @returns {Promise<number | null>} */
export async function count(filter) {
  const ask = 'query ($filter: DeviceFilter) { devices(filter: $filter, first: 1) { totalCount } }';
  return (await graphql(ask, { filter })).devices.totalCount;
}

/** The uids of all devices that fit. @param {Filter} filter @returns {Promise<string[]>} */
export async function allUids(filter) {
  const ask = `query ($filter: DeviceFilter, $first: Int, $after: String) { devices(filter: $filter, first: $first,
    after: $after) { pageInfo { endCursor hasNextPage } nodes { uid } } }`;
  /** @type {string[]} */
  const uids = [];
  let after = null;
  do {
    const { devices } = await graphql(ask, { filter, first: PAGE, after });
    uids.push(...devices.nodes.map((/** @type {{ uid: string }} */ node) => node.uid));
    after = devices.pageInfo.hasNextPage ? devices.pageInfo.endCursor : null;
  } while (after);
  return uids;
}

/** The address with a label more, or less. @param {string} label */
export function toggled(label) {
  const now = words(query('label'));
  const next = now.includes(label) ? now.filter((one) => one !== label) : [...now, label];
  return withQuery({ label: next.join(',') });
}

/** The labels that are filtered by, each with a way to drop it, and a field for another one. @param {string[]} known Labels to choose from. */
export function labelFilter(known) {
  const now = words(query('label'));
  const add = (/** @type {Event} */ event) => {
    event.preventDefault();
    const input = /** @type {HTMLFormElement} */ (event.target).elements.namedItem('label');
    if (!(input instanceof HTMLInputElement) || !input.value.trim()) return;
    const next = words(`${now.join(',')},${input.value}`);
    input.setCustomValidity(next.every((label) => label.indexOf('=') > 0) ? '' : t('devices.label.rule'));
    if (!input.reportValidity()) return;
    input.value = '';
    go(withQuery({ label: next.join(',') }));
  };
  return html`<form class="label-filter" @submit=${add}>
      <input
        name="label"
        list="known-labels"
        aria-label=${t('devices.label')}
        placeholder=${t('devices.label')}
        autocapitalize="none"
        autocomplete="off"
        spellcheck="false"
        @input=${(/** @type {Event} */ event) => /** @type {HTMLInputElement} */ (event.target).setCustomValidity('')}
      />
      <datalist id="known-labels">
        ${known.filter((label) => !now.includes(label)).map((label) => html`<option value=${label}></option>`)}
      </datalist>
    </form>
    ${
      now.length
        ? html`<div class="labels">
            ${now.map((label) => html`<a class="label on" href=${toggled(label)} aria-label=${t('filter.drop', { value: label })}>${label}${icon('close')}</a>`)}
          </div>`
        : nothing
    }`;
}
