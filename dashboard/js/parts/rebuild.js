// A rebuild or rollback of a projection: how far it is, and what it may be told.

import { get, graphql, post } from '../api.js';
import { moment, number, shortNumber, t, when, word } from '../i18n.js';
import { may } from '../session.js';
import { ask, say } from './dialog.js';
import { icon } from './icons.js';
import { html, nothing } from './part.js';
import { grouped } from './projection.js';
import { who } from './who.js';

/** @typedef {'pause' | 'resume' | 'cancel' | 'accept'} Steer */
/** @typedef {{ rows_of: string, range: number, ranges: number, live_rows: number, rebuilt_rows: number, live_checksum: string, rebuilt_checksum: string, differences: number }} Range */
/**
 * @typedef {{
 *   rebuild_id: string, projection: string, kind: 'rebuild' | 'rollback', version: number, from_version: number, requested_by:
 *   string, requested_at: string, step: string, since: string, paused: boolean, next: Steer[], running: boolean, accepted:
 *   boolean, position: number, head: number, lag: number, rate: number | null, ranges_compared: number, ranges: number | null,
 *   range_rate: number | null, seconds_left: number | null, differences: number | null, compared: Range[], error: string | null,
 *   ended_at: string | null, kept_version: number | null, kept_until: string | null
 * }} Rebuild
 */

const HOUR = 3600;
/** How long the version before may be kept, in seconds. */
const KEEP = [0, HOUR, 24 * HOUR, 7 * 24 * HOUR, 30 * 24 * HOUR];
const STEPS = ['building', 'catching_up', 'comparing', 'swapping', 'swapped'];
const ICONS = /** @type {const} */ ({ pause: 'pause', resume: 'play', cancel: 'close', accept: 'check' });

/** The address of a projection in the API. @param {string} name */
export const projectionPath = (name) => `/projections/${encodeURIComponent(name)}`;

/** The last rebuild; `null` if there has been none. @param {string} name @returns {Promise<Rebuild | null>} */
export async function lastRebuild(name) {
  const { rebuild } = await graphql('query ($name: String!) { rebuild(projection: $name) { id } }', { name });
  return rebuild ? get(`${projectionPath(name)}/rebuild`) : null;
}

/** A span of time in words. @param {number} seconds */
export function span(seconds) {
  if (seconds < 60) return t('span.seconds', { n: Math.ceil(seconds) });
  if (seconds < HOUR) return t('span.minutes', { n: Math.ceil(seconds / 60) });
  if (seconds < 48 * HOUR) return t('span.hours', { n: Math.round((10 * seconds) / HOUR) / 10 });
  return t('span.days', { n: Math.round(seconds / (24 * HOUR)) });
}

/** How much of its present step is done, 0 to 1; `null` where that cannot be told. @param {Rebuild} rebuild */
function done(rebuild) {
  if (rebuild.step === 'comparing') return rebuild.ranges ? rebuild.ranges_compared / rebuild.ranges : null;
  if (rebuild.step === 'building' || rebuild.step === 'catching_up')
    return rebuild.head ? rebuild.position / rebuild.head : null;
  return null;
}

/** @param {Rebuild} rebuild */
function amount(rebuild) {
  if (rebuild.step === 'comparing' && rebuild.ranges !== null)
    return t('rebuild.ranges', { done: rebuild.ranges_compared, all: rebuild.ranges });
  return t('rebuild.events', { done: rebuild.position, all: rebuild.head });
}

/** How far it is: a bar, the rate, and how long the step will still take. @param {Rebuild} rebuild */
export function progress(rebuild) {
  const part = done(rebuild);
  const rate = rebuild.step === 'comparing' ? rebuild.range_rate : rebuild.rate;
  if (part === null) return nothing;
  return html`<div class="progress">
    <progress max="1" .value=${part} aria-label=${word('rebuild.step', rebuild.step)}></progress>
    <p class="small muted numeric">
      <span class="strong">${number(Math.floor(1000 * part) / 10)} %</span> · ${amount(rebuild)}
      ${rate === null ? nothing : html` · ${t(rebuild.step === 'comparing' ? 'rebuild.range_rate' : 'rebuild.rate', { rate: shortNumber(Math.round(10 * rate) / 10) })}`}
      ${rebuild.paused || rebuild.seconds_left === null ? nothing : html` · ${t('rebuild.left', { left: span(rebuild.seconds_left) })}`}
    </p>
  </div>`;
}

/** The steps of a rebuild, and in which it is. @param {Rebuild} rebuild */
export function stepLine(rebuild) {
  const all = rebuild.kind === 'rollback' ? ['catching_up', 'swapping', 'swapped'] : STEPS;
  const now = rebuild.step === 'waiting' ? 'comparing' : rebuild.step;
  const at = all.indexOf(now);
  return html`<ol class="steps">
    ${all.map(
      (step, nth) =>
        html`<li
          class=${at < 0 ? '' : nth < at || now === 'swapped' ? 'done' : nth === at ? 'now' : ''}
          aria-current=${nth === at ? 'step' : nothing}
        >
          ${word('rebuild.step', step)}
        </li>`,
    )}
  </ol>`;
}

/** @param {Rebuild} rebuild */
export function rebuildFacts(rebuild) {
  return html`<dl class="facts">
    <dt>${t('rebuild.kind')}</dt>
    <dd>
      ${t(rebuild.kind === 'rollback' ? 'rebuild.kind.rollback' : 'rebuild.kind.rebuild', { from: rebuild.from_version, to: rebuild.version })}
    </dd>
    <dt>${t('rebuild.requested')}</dt>
    <dd>${when(rebuild.requested_at)} · <span title=${rebuild.requested_by}>${who(rebuild.requested_by)}</span></dd>
    <dt>${t('rebuild.step')}</dt>
    <dd>
      ${word('rebuild.step', rebuild.step)} <span class="faint">${t('rebuild.since')} ${when(rebuild.since)}</span>
    </dd>
    ${
      rebuild.differences === null
        ? nothing
        : html`<dt>${t('rebuild.differences')}</dt>
            <dd>${number(rebuild.differences)}</dd>`
    }
    ${
      rebuild.ended_at
        ? html`<dt>${t('rebuild.ended')}</dt>
            <dd>${when(rebuild.ended_at)}</dd>`
        : nothing
    }
    ${
      rebuild.kept_version === null
        ? nothing
        : html`<dt>${t('rebuild.kept')}</dt>
            <dd>
              ${t('version', { n: rebuild.kept_version })}${rebuild.kept_until ? html` · ${t('rebuild.until')} ${when(rebuild.kept_until)}` : nothing}
            </dd>`
    }
  </dl>`;
}

/**
 * Asks, and tells a rebuild what to do.
 * @param {string} name
 * @param {Steer} how
 * @param {() => Promise<unknown>} then
 */
export function steer(name, how, then) {
  const work = async () => {
    await post(`${projectionPath(name)}/rebuild/${how}`);
    say(word('rebuild.told', how));
    await then();
  };
  ask({
    heading: word('rebuild.ask', how, { name }),
    confirm: word('steer', how),
    danger: how === 'cancel',
    content: () => html`<p>${word('rebuild.means', how)}</p>`,
    work,
  });
}

/** @param {string} name @param {number} version @param {() => Promise<unknown>} then */
export function rollBack(name, version, then) {
  ask({
    heading: t('rollback.ask', { name, version }),
    confirm: t('rollback.button'),
    content: () => html`<p>${t('rollback.means')}</p>`,
    work: async () => {
      await post(`${projectionPath(name)}/rollback`);
      say(t('rollback.begun'));
      await then();
    },
  });
}

/** @param {string} name @param {number[]} versions The live one first. @param {() => Promise<unknown>} then */
export function beginRebuild(name, versions, then) {
  ask({
    heading: t('rebuild.begin', { name }),
    confirm: t('rebuild.begin.button'),
    content: () =>
      html`<p>${t('rebuild.begin.means')}</p>
        ${
          versions.length > 1
            ? html`<div class="field">
                <label for="from">${t('rebuild.from')}</label>
                <select id="from" name="from">
                  ${versions.map((version) => html`<option value=${version}>${t('version', { n: version })}</option>`)}
                </select>
              </div>`
            : nothing
        }
        <div class="field">
          <label for="keep">${t('rebuild.keep')}</label>
          <select id="keep" name="keep">
            ${KEEP.map((s) => html`<option value=${s} ?selected=${s === 24 * HOUR}>${s ? span(s) : t('rebuild.keep.none')}</option>`)}
          </select>
        </div>
        <label class="check"><input type="checkbox" name="accept" />${t('rebuild.accept')}</label>`,
    work: async (form) => {
      const from = form.get('from');
      await post(`${projectionPath(name)}/rebuild`, {
        keep_s: Number(form.get('keep')),
        accept: form.get('accept') !== null,
        ...(from ? { from_version: Number(from) } : {}),
      });
      say(t('rebuild.begun'));
      await then();
    },
  });
}

/** What a viewer may tell a rebuild. @param {string} name @param {Steer[]} next @param {() => Promise<unknown>} then */
export function steers(name, next, then) {
  if (!may('projections.write')) return nothing;
  return next.map(
    (how, nth) =>
      html`<button class=${nth === 0 && how !== 'pause' ? 'primary' : ''} @click=${() => steer(name, how, then)}>
        ${icon(ICONS[how])}${word('steer', how)}
      </button>`,
  );
}

/** What ranges of keys had, as a table. @param {Range[]} ranges */
export function rangesTable(ranges) {
  const of = grouped(ranges, ({ rows_of: rows }) => rows);
  const sum = (/** @type {Range[]} */ list, /** @type {'live_rows' | 'rebuilt_rows' | 'differences'} */ key) =>
    list.reduce((total, one) => total + one[key], 0);
  return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('rebuild.compared')}>
    <table>
      <thead>
        <tr>
          <th>${t('rebuild.rows')}</th>
          <th class="end">${t('rebuild.live')}</th>
          <th class="end">${t('rebuild.new')}</th>
          <th class="end">${t('rebuild.differences')}</th>
          <th class="wide">${t('rebuild.checksums')}</th>
        </tr>
      </thead>
      <tbody>
        ${Array.from(of, ([rows, list]) => {
          const differ = sum(list, 'differences');
          const same = list.every((one) => one.live_checksum === one.rebuilt_checksum);
          return html`<tr>
            <td>
              <code>${rows}</code>
              <span class="small faint">${t('rebuild.ranges', { done: list.length, all: list[0]?.ranges ?? 0 })}</span>
            </td>
            <td class="end numeric">${number(sum(list, 'live_rows'))}</td>
            <td class="end numeric">${number(sum(list, 'rebuilt_rows'))}</td>
            <td class="end numeric">${differ ? html`<span class="pill warn">${number(differ)}</span>` : number(0)}</td>
            <td class="wide">
              <span class="pill ${same ? 'good' : 'warn'}">${t(same ? 'rebuild.same' : 'rebuild.other')}</span>
            </td>
          </tr>`;
        })}
      </tbody>
    </table>
  </div>`;
}

/** Until when a kept version can be brought back. @param {Rebuild | null} last */
export const keptUntil = (last) => (last?.kept_until ? moment(last.kept_until) : '');
