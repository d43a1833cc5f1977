// A projection as pages show it: its versions, where it is in each log, and what it has parked.

import { get } from '../api.js';
import { ago, number, t, when, word } from '../i18n.js';
import { eventPath } from './event.js';
import { html, nothing } from './part.js';
import { pill } from './pills.js';

/** @typedef {{ log_id: number, tenant: string, lane: string, position: number, head: number, lag: number }} LogProgress */
/** @typedef {{ log_id: number, aggregate_type: string, aggregate_id: string, position: number, error: string, parked_at: string }} Parked */
/**
 * @typedef {{
 *   projection: string, version: number, live: boolean, state: string, error: string | null, since: string, parked: number,
 *   parked_streams: Parked[], position: number, head: number, lag: number, logs: LogProgress[], rebuild: { kind: string, step: string,
 *   paused: boolean, next: import('./rebuild.js').Steer[] } | null
 * }} Version
 */

/** Things by a name that they share, in their order. @template T @param {T[]} all @param {(one: T) => string} name @returns {Map<string, T[]>} */
export function grouped(all, name) {
  /** @type {Map<string, T[]>} */
  const found = new Map();
  for (const one of all) found.set(name(one), [...(found.get(name(one)) ?? []), one]);
  return found;
}

/** Every version of every projection, by name; the live one of each first. @returns {Promise<Map<string, Version[]>>} */
export async function projections() {
  /** @type {{ items: Version[] }} */
  const { items } = await get('/projections');
  const found = grouped(items, ({ projection }) => projection);
  for (const versions of found.values())
    versions.sort((one, other) => Number(other.live) - Number(one.live) || other.version - one.version);
  return found;
}

/** @param {Version[]} versions */
export function versionsTable(versions) {
  return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('projection.versions')}>
    <table class="compact">
      <thead>
        <tr>
          <th>${t('projection.version')}</th>
          <th>${t('status')}</th>
          <th class="end">${t('position')}</th>
          <th class="end">${t('fleet.lag')}</th>
          <th class="wide">${t('projection.since')}</th>
        </tr>
      </thead>
      <tbody>
        ${versions.map(
          (one) =>
            html`<tr>
              <td>
                <span class="strong">${number(one.version)}</span>
                ${one.live ? html`<span class="pill good">${t('projection.live')}</span>` : nothing}
              </td>
              <td>${pill('projection', one.state)}</td>
              <td class="end numeric">${number(one.position)}</td>
              <td class="end numeric">${number(one.lag)}</td>
              <td class="wide">${ago(one.since)}</td>
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

/** Where a version is in each log. @param {Version} version */
export function logsTable(version) {
  return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('projection.logs')}>
    <table class="compact">
      <thead>
        <tr>
          <th>${t('events.log')}</th>
          <th class="end">${t('position')}</th>
          <th class="end">${t('projection.head')}</th>
          <th class="end">${t('fleet.lag')}</th>
        </tr>
      </thead>
      <tbody>
        ${version.logs.map(
          (log) =>
            html`<tr>
              <td>${word('log', log.lane)} <span class="faint">${log.tenant} · ${log.log_id}</span></td>
              <td class="end numeric">${number(log.position)}</td>
              <td class="end numeric">${number(log.head)}</td>
              <td class="end numeric">
                ${log.lag ? html`<span class="pill warn">${number(log.lag)}</span>` : number(0)}
              </td>
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}

/** The streams that a version leaves out, with the reasons and what may be done. @param {Version} version */
export function parkedList({ parked, parked_streams: streams }) {
  if (parked === 0) return nothing;
  return html`<div class="parked">
    <h3>${t('projection.parked', { n: parked })}</h3>
    <ul>
      ${streams.map(
        (one) =>
          html`<li>
            <p>
              <a class="mono" href=${eventPath(one.log_id, one.position)}>${one.log_id}:${one.position}</a>
              <span class="strong breaks">${one.aggregate_id}</span> <span class="faint">${one.aggregate_type}</span>
            </p>
            <p class="small breaks">${one.error}</p>
            <p class="small muted">${when(one.parked_at)}</p>
          </li>`,
      )}
    </ul>
    ${parked > streams.length ? html`<p class="small muted">${t('projection.parked.more', { n: parked - streams.length })}</p>` : nothing}
    <p class="small">${t('projection.parked.next')}</p>
  </div>`;
}
