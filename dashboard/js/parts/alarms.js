// Alarms: what is asked for, how bad they are, what they say in a line, and what people do about them.

import { graphql, post } from '../api.js';
import { duration, number, t, word } from '../i18n.js';
import { may } from '../session.js';
import { ask, say } from './dialog.js';
import { html, nothing } from './part.js';

/**
 * @typedef {{
 *   id: string, rule: string, ruleVersion: number, title: string, severity: string, deviceUid: string, condition:
 *   string, metric: string | null, cmd: string | null, value: number | null, since: string, cause: string, raisedAt:
 *   string, status: string, acknowledgedAt: string | null, acknowledgedBy: string | null, acknowledgeNote: string |
 *   null, clearedAt: string | null, clearedBecause: string | null, clearedBy: string | null, clearNote: string | null,
 *   clearValue: number | null, position: number
 * }} Alarm
 */

export const ALARM = `id rule ruleVersion title severity deviceUid condition metric cmd value since cause raisedAt status
  acknowledgedAt acknowledgedBy acknowledgeNote clearedAt clearedBecause clearedBy clearNote clearValue position`;

/** The worst first. */
export const SEVERITIES = /** @type {const} */ (['critical', 'major', 'minor', 'warning']);

/** @param {Alarm} alarm */
export const isOpen = (alarm) => alarm.status !== 'CLEARED';

/** How long the trouble has lasted, or did. @param {Alarm} alarm */
export const lasted = (alarm) =>
  duration((Date.parse(alarm.clearedAt ?? new Date().toISOString()) - Date.parse(alarm.raisedAt)) / 1000);

/** What an alarm saw, in a few words. @param {Alarm} alarm */
export function seen(alarm) {
  if (alarm.condition === 'silent') return t('alarm.seen.silent');
  if (alarm.cmd) return html`<code class="small">${alarm.cmd}</code>`;
  if (alarm.value === null) return html`<code class="small">${alarm.metric}</code>`;
  const value = number(alarm.value);
  return html`<code class="small">${alarm.metric}</code>
    ${alarm.condition === 'rate' ? t('alarm.seen.rate', { value }) : value}`;
}

/** Why an alarm was cleared. @param {string | null} why */
export const because = (why) => word('alarm.because', why ?? '');

const OPEN = SEVERITIES.map(
  (one) => `${one}: alarms(filter: { state: OPEN, severity: ${one.toUpperCase()} }, first: 1) { totalCount }`,
).join('\n');

/**
 * How many alarms are open, by severity; `null` where policies hide some from the viewer.
 * @returns {Promise<Record<string, number | null>>}
 */
export async function countOpen() {
  const counts = await graphql(`{ ${OPEN} }`);
  return Object.fromEntries(Object.entries(counts).map(([severity, { totalCount }]) => [severity, totalCount]));
}

/** @param {import('../api.js').Problem | null} problem */
const note = (problem) =>
  html`<div class="field">
    <label for="note">${t('alarm.note')} <span class="faint">${t('optional')}</span></label
    ><textarea
      id="note"
      name="note"
      class="prose"
      rows="3"
      maxlength="1000"
      placeholder=${t('alarm.note.example')}
    ></textarea
    >${problem?.of('note') ? html`<p class="wrong">${problem.of('note')}</p>` : nothing}
  </div>`;

/** @param {FormData} form */
function noted(form) {
  const text = `${form.get('note')}`.trim();
  return text ? { note: text } : {};
}

/** @param {string} id @param {'acknowledge' | 'clear'} what */
const path = (id, what) => `/alarms/${id}/${what}`;

/** Says that somebody has seen an alarm. @param {Alarm} alarm @param {() => unknown} then */
export function acknowledge(alarm, then) {
  ask({
    heading: t('alarm.ack.heading', { title: alarm.title, uid: alarm.deviceUid }),
    confirm: t('alarm.ack'),
    fields: ['note'],
    content: (problem) =>
      html`<p>${t('alarm.ack.why')}</p>
        ${note(problem)}`,
    work: async (form) => {
      const { position } = await post(path(alarm.id, 'acknowledge'), noted(form));
      say(t('alarm.ack.done', { position }));
      await then();
    },
  });
}

/** Says so of several: those that somebody else was faster with are left as they are. @param {Alarm[]} alarms @param {() => unknown} then */
export function acknowledgeAll(alarms, then) {
  ask({
    heading: t('alarms.ack.heading', { n: alarms.length }),
    confirm: t('alarm.ack'),
    fields: ['note'],
    content: (problem) =>
      html`<p>${t('alarms.ack.why')}</p>
        ${note(problem)}`,
    work: async (form) => {
      let done = 0;
      try {
        for (const { id } of alarms) {
          await post(path(id, 'acknowledge'), noted(form)).then(
            () => (done += 1),
            (problem) => {
              if (problem.status !== 409) throw problem;
            },
          );
        }
      } finally {
        await then();
      }
      say(t('alarms.ack.done', { n: done }));
    },
  });
}

/** Ends an alarm by hand. @param {Alarm} alarm @param {() => unknown} then */
export function clear(alarm, then) {
  ask({
    heading: t('alarm.clear.heading', { title: alarm.title, uid: alarm.deviceUid }),
    confirm: t('alarm.clear'),
    danger: true,
    fields: ['note'],
    content: (problem) =>
      html`<p>${t('alarm.clear.why')}</p>
        ${note(problem)}`,
    work: async (form) => {
      const { position } = await post(path(alarm.id, 'clear'), noted(form));
      say(t('alarm.clear.done', { position }));
      await then();
    },
  });
}

/** Whether the viewer may acknowledge and clear. */
export const mayAct = () => may('alarms.acknowledge');
