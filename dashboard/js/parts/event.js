// An event of the log: how it is named, where it leads, and which others belong to it.

import { get, graphql } from '../api.js';
import { t, word } from '../i18n.js';
import { may } from '../session.js';
import { html } from './part.js';
import { pageOf } from './streams.js';
import { shortName } from './who.js';

/**
 * @typedef {{
 *   log_id: number, position: number, aggregate_type: string, aggregate_id: string, sequence: number, event_type:
 *   string, event_version: string, payload: any, metadata: any, occurred_at: string, recorded_at: string, msg_id?: string
 * }} Event
 */

/** Log and position, as everything names an event. @param {Pick<Event, 'log_id' | 'position'>} event */
export const place = (event) => `${event.log_id}:${event.position}`;

/** The address of an event's page. @param {number | string} log @param {number | string} position */
export const eventPath = (log, position) => `/app/events/${log}/${position}`;

/** The parts of a cause, such as `1:42`. @param {unknown} text */
export function placeOf(text) {
  const [, log, position] = /^(\d+):(\d+)$/.exec(`${text ?? ''}`) ?? [];
  return log && position ? { log: Number(log), position: Number(position) } : null;
}

/** What an event is of, within its tenant. @param {Event} event */
export const nameOf = (event) => event.aggregate_id.slice(event.aggregate_id.indexOf('/') + 1);

/** What an event is of, with a link where it has a page. @param {Event} event */
export function subject(event) {
  const name = nameOf(event);
  const to = pageOf(event.aggregate_type, name);
  return to
    ? html`<a href=${to} title=${name}>${shortName(name)}</a>`
    : html`<span class="mono small" title=${name}>${shortName(name)}</span>`;
}

/** @param {Event} event */
export const titleOf = (event) => word('event', event.event_type);

/** How far from an event others of its request are looked for, in positions. */
const NEAR = 20_000;

/**
 * The events that belong to one: its cause, those of the same request, and those that it caused.
 * @param {Event} event
 * @returns {Promise<{ cause: Event | null, request: Event[], effects: Event[] }>}
 */
export async function related(event) {
  const { correlation_id: correlation, causation_id: from } = event.metadata ?? {};
  const [cause, request, raised] = await Promise.all([
    read(placeOf(from)),
    ofRequest(event, correlation),
    alarms(event),
  ]);
  const others = request.filter((one) => one.position !== event.position);
  const isEffect = (/** @type {Event} */ one) => one.metadata?.causation_id === place(event);
  return { cause, request: others.filter((one) => !isEffect(one)), effects: [...others.filter(isEffect), ...raised] };
}

/** @param {{ log: number, position: number } | null} at @returns {Promise<Event | null>} */
async function read(at) {
  return at ? get(`/events/${at.log}/${at.position}`).catch(() => null) : null;
}

/** @param {Event} event @param {string | undefined} correlation @returns {Promise<Event[]>} */
async function ofRequest(event, correlation) {
  if (!correlation) return [];
  const asked = new URLSearchParams({
    log: `${event.log_id}`,
    correlation_id: correlation,
    after: `${Math.max(0, event.position - NEAR)}`,
    limit: '100',
  });
  return (await get(`/events?${asked}`)).items;
}

/** The alarms that a reading raised, as the events that say so. @param {Event} event @returns {Promise<Event[]>} */
async function alarms(event) {
  if (event.aggregate_type !== 'Telemetry' || !may('alarms.read')) return [];
  const question = `query ($uid: String!, $from: DateTime) { alarms(filter: { deviceUid: $uid, from: $from }, first: 100)
    { nodes { cause lastEvent { logId } position } } }`;
  const found = await graphql(question, { uid: nameOf(event), from: event.recorded_at });
  const own = found.alarms.nodes.filter((/** @type {any} */ alarm) => alarm.cause === place(event));
  const events = own.map(
    (/** @type {any} */ { lastEvent, position }) => lastEvent && read({ log: lastEvent.logId, position }),
  );
  return (await Promise.all(events)).filter((one) => one);
}

/** One line of a list of events. @param {Event} event */
export const eventLine = (event) =>
  html`<li>
    <a class="mono" href=${eventPath(event.log_id, event.position)}>${place(event)}</a>
    <span>${titleOf(event)} <span class="muted">${t('event.of')}</span> ${subject(event)}</span>
  </li>`;
