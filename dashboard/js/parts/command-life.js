// One command's life: each of its events, in order, with what it brought.

import { exactly, t, when, word } from '../i18n.js';
import { html, nothing } from './part.js';
import { awaited, happened } from './timeline.js';

/**
 * @typedef {{
 *   sequence: number, position: number, eventType: string, event: any, status: string, attempts: number, actor:
 *   string | null, occurredAt: string, recordedAt: string
 * }} Step
 */
/**
 * @typedef {{
 *   id: string, deviceUid: string, cmd: string, params: any, status: string, requestedBy: string, requestedAt:
 *   string, timeoutS: number, maxAttempts: number, expiresAt: string, attempts: number, deadline: string | null,
 *   endedAt: string | null, result: any, error: any, cancelReason: string | null, lateAckAt: string | null, history:
 *   Step[]
 * }} Command
 */

export const COMMAND =
  'id deviceUid cmd params status requestedBy requestedAt timeoutS maxAttempts expiresAt attempts deadline endedAt result error cancelReason lateAckAt';
export const HISTORY = 'history { sequence position eventType event status attempts actor occurredAt recordedAt }';

/** @type {Record<string, string>} */
const TONES = {
  CommandRequested: 'busy',
  CommandSent: 'busy',
  CommandAcknowledged: 'good',
  CommandFailed: 'bad',
  CommandTimedOut: 'warn',
  CommandCancelled: 'calm',
  LateAckRecorded: 'warn',
  UnreadableAckRecorded: 'warn',
};

/** A command has ended in each of these states. */
export const hasEnded = (/** @type {string} */ status) => !['REQUESTED', 'SENT'].includes(status);

/** The event's own fields, whichever way they are wrapped. @param {Step} step */
const own = (step) => step.event?.[step.eventType] ?? step.event ?? {};

/** What an event says, in a few words. @param {Step} step */
function says(step) {
  const event = own(step);
  switch (step.eventType) {
    case 'CommandRequested':
      return t('life.requested', { attempts: event.max_attempts ?? 0, timeout: event.timeout_s ?? 0 });
    case 'CommandSent':
      return html`${t('life.sent', { attempt: event.attempt ?? step.attempts })}
      ${event.deadline ? html`${t('life.deadline')} ${when(event.deadline, exactly)}` : nothing}`;
    case 'CommandTimedOut':
      return t('life.timed_out', { attempts: event.attempts ?? step.attempts });
    case 'CommandCancelled':
      return event.reason ?? '';
    case 'UnreadableAckRecorded':
      return t('life.unreadable', { why: event.why ?? '' });
    case 'LateAckRecorded':
      return t('life.late', { status: word('ack', event.status ?? '') });
    default:
      return '';
  }
}

/** @param {unknown} value */
const json = (value) => html`<pre class="json" tabindex="0">${JSON.stringify(value, null, 2)}</pre>`;

/** @param {Step} step @param {Step | undefined} before */
function item(step, before) {
  const event = own(step);
  const extra = event.result ?? event.error;
  return happened({
    tone: TONES[step.eventType] ?? 'calm',
    what: word('event', step.eventType),
    says: says(step),
    at: step.recordedAt,
    ...(before ? { before: before.recordedAt } : {}),
    actor: step.actor,
    position: step.position,
    extra: extra === undefined || extra === null ? nothing : json(extra),
  });
}

/** @param {Command} command */
export function life(command) {
  const steps = command.history;
  return html`<ol class="timeline">
    ${steps.map((step, at) => item(step, steps[at - 1]))}
    ${
      hasEnded(command.status)
        ? nothing
        : awaited(
            command.status === 'SENT'
              ? html`${t('life.waits.answer')} ${command.deadline ? when(command.deadline, exactly) : nothing}`
              : t('life.waits.device'),
          )
    }
  </ol>`;
}

/** The parameters of a command, in one line. @param {any} params */
export function shortParams(params) {
  const entries = Object.entries(params ?? {});
  return entries.length
    ? html`<code class="small"
        >${entries.map(([name, value]) => `${name}=${typeof value === 'string' ? value : JSON.stringify(value)}`).join(' ')}</code
      >`
    : nothing;
}
