// A life as a line of steps: what happened, when, by whom, and where it is on the record.

import { duration, exactly, moment, number, t, when } from '../i18n.js';
import { may } from '../session.js';
import { html, nothing } from './part.js';
import { who } from './who.js';

/**
 * @typedef {object} Happened
 * @property {string} tone Its colour: `good`, `busy`, `warn`, `bad` or `calm`.
 * @property {unknown} what
 * @property {unknown} [says] More about it, on the same line.
 * @property {string} at
 * @property {string} [before] When the step before it happened.
 * @property {string | null} [actor]
 * @property {boolean} [dated] Whether its day is told, because the steps are not of one.
 * @property {'control' | 'telemetry'} [log]
 * @property {number} position
 * @property {unknown} [extra]
 */

/** Where an event is on the record. @param {'control' | 'telemetry'} log @param {number} position */
export function onRecord(log, position) {
  const text = `${t('position')} ${position}`;
  return may('events.read')
    ? html`<a href=${`/app/events?log=${log}&order=asc&after=${position - 1}`}>${text}</a>`
    : text;
}

/** How long after the step before it: to the millisecond within a minute. @param {string} at @param {string} before */
function later(at, before) {
  const seconds = Math.max(0, (new Date(at).getTime() - new Date(before).getTime()) / 1000);
  return html` · +${seconds < 60 ? `${number(seconds)} s` : duration(seconds)}`;
}

/** @param {Happened} step */
export function happened({
  tone,
  what,
  says = nothing,
  at,
  before,
  dated = false,
  actor,
  log = 'control',
  position,
  extra = nothing,
}) {
  return html`<li class=${tone}>
    <span class="node" aria-hidden="true"></span>
    <div>
      <p><span class="what">${what}</span> <span class="muted">${says}</span></p>
      <p class="small faint">
        ${when(at, dated ? moment : exactly)}${before ? later(at, before) : nothing}${actor ? html` · <span title=${actor}>${who(actor)}</span>` : nothing}
        · ${onRecord(log, position)}
      </p>
      ${extra}
    </div>
  </li>`;
}

/** What has not happened yet. @param {unknown} text */
export const awaited = (text) =>
  html`<li class="busy">
    <span class="node" aria-hidden="true"></span>
    <p class="muted">${text}</p>
  </li>`;
