// One alarm's life: when its condition began to hold, when it was raised, who acknowledged it, and what ended it.

import { exactly, number, t, when, word } from '../i18n.js';
import { because, isOpen, lasted } from './alarms.js';
import { html, nothing } from './part.js';
import { conditionText } from './rule-text.js';
import { awaited, happened, onRecord } from './timeline.js';

/** @typedef {{ sequence: number, position: number, eventType: string, event: any, actor: string | null, recordedAt: string }} Step */
/** @typedef {import('./alarms.js').Alarm & { history: Step[] }} AlarmWithLife */

export const LIFE = 'history { sequence position eventType event actor recordedAt }';

/** @type {Record<string, string>} */
const TONES = { AlarmRaised: 'bad', AlarmAcknowledged: 'busy', AlarmCleared: 'good' };

/** The log that an alarm's cause is in. @param {AlarmWithLife} alarm */
export const causeLog = (alarm) => (alarm.condition === 'command_failed' ? 'control' : 'telemetry');

/** @param {Step} step */
const own = (step) => step.event?.[step.eventType] ?? step.event ?? {};

/** @param {any} note */
const quoted = (note) => (note ? html`<blockquote class="note">${note}</blockquote>` : nothing);

/** The moment at which the condition began to hold: the event that did it is on the record. @param {AlarmWithLife} alarm @param {any} condition */
function begun(alarm, condition) {
  const text = alarm.condition === 'silent' ? t('alarm.began.silent') : t('alarm.began');
  return html`<li class="warn">
    <span class="node" aria-hidden="true"></span>
    <div>
      <p>
        <span class="what">${text}</span>
        <span class="muted">${condition ? conditionText(condition) : nothing}</span>
      </p>
      <p class="small faint">
        ${when(alarm.since, exactly)} · ${onRecord(causeLog(alarm), Number(alarm.cause.split(':')[1]))}
      </p>
    </div>
  </li>`;
}

/** @param {AlarmWithLife} alarm @param {Step} step @param {string} before */
function item(alarm, step, before) {
  const event = own(step);
  const value = event.value ?? null;
  const values =
    value === null || !alarm.metric ? nothing : html`<code class="small">${alarm.metric}</code> ${number(value)}`;
  return happened({
    tone: TONES[step.eventType] ?? 'calm',
    what: word('event', step.eventType),
    says: step.eventType === 'AlarmCleared' ? html`${because(event.why)} ${values}` : values,
    at: step.recordedAt,
    before,
    actor: step.actor === 'alarms' ? null : step.actor,
    position: step.position,
    extra: quoted(event.note),
  });
}

/** @param {AlarmWithLife} alarm @param {any} condition What the rule looked for, if it is known. */
export function life(alarm, condition) {
  const steps = alarm.history;
  return html`<ol class="timeline">
    ${begun(alarm, condition)} ${steps.map((step, at) => item(alarm, step, steps[at - 1]?.recordedAt ?? alarm.since))}
    ${isOpen(alarm) ? awaited(t(alarm.status === 'RAISED' ? 'alarm.waits.people' : 'alarm.waits.end', { lasted: lasted(alarm) })) : nothing}
  </ol>`;
}
