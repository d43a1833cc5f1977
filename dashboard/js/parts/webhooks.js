// Webhooks: what they are, and what people do with them.

import { post, remove } from '../api.js';
import { moment, t, word } from '../i18n.js';
import { go } from '../router.js';
import { ask, say } from './dialog.js';
import { commandLine } from './command-line.js';
import { html, nothing } from './part.js';

/**
 * @typedef {{
 *   log_id: number, lane: 'control' | 'telemetry', position: number, head: number, lag: number, failures: number,
 *   failing_since: string | null, next_attempt_at: string | null
 * }} Place
 */
/** @typedef {Partial<Record<'device' | 'label' | 'metric' | 'type' | 'aggregate_type' | 'log' | 'actor' | 'cmd_id' | 'batch_id', string>>} Follow */
/**
 * @typedef {{
 *   webhook_id: string, url: string, description: string | null, follow: Follow, max_batch: number, state: string,
 *   reason: string | null, previous_secret_until: string | null, created_at: string, created_by: string, updated_at:
 *   string, places: Place[]
 * }} Webhook
 */

/** Where a webhook is in the API. @param {string} id */
export const path = (id) => `/webhooks/${id}`;

/** What a webhook is called. @param {Webhook} webhook */
export const titleOf = ({ url, description }) => description ?? hostOf(url);

/** The host of an address, and its port. @param {string} url */
export function hostOf(url) {
  try {
    return new URL(url).host;
  } catch {
    return url;
  }
}

/** What a webhook is sent, in words. @param {Follow} follow */
export function followText(follow) {
  const entries = Object.entries(follow).filter(([, value]) => value);
  if (entries.length === 0) return html`<span class="muted">${t('webhook.follows.all')}</span>`;
  return html`<div class="labels">
    ${entries.flatMap(([name, value]) => value.split(',').map((one) => html`<span class="label" title=${word('webhook.filter', name)}>${SHORT[name] ?? ''}${name === 'aggregate_type' ? word('webhook.kind', one) : one}</span>`))}
  </div>`;
}

/** What stands before a filter's value, where the value alone does not say what it is. @type {Record<string, string>} */
const SHORT = { metric: 'metric: ', actor: 'actor: ', cmd_id: 'cmd_id: ', batch_id: 'batch_id: ', log: 'log: ' };

/** Whether a webhook is refused at the moment. @param {Webhook} webhook */
export const isFailing = (webhook) => webhook.places.some((place) => place.failing_since);

/** Shows a secret, once. @param {{ secret: string, previous_secret_until?: string }} shown */
export function tellSecret({ secret, previous_secret_until: until }) {
  ask({
    heading: t('webhook.secret'),
    content: () =>
      html`<p class="notice warn">${t('webhook.secret.once')}</p>
        <div class="secret">${commandLine(secret)}</div>
        <p>${t('webhook.secret.how')}</p>
        ${until ? html`<p>${t('webhook.secret.until', { until: moment(until) })}</p>` : nothing}`,
  });
}

/** @param {Webhook} webhook @param {() => unknown} then */
export function rotate(webhook, then) {
  ask({
    heading: t('webhook.rotate.heading'),
    confirm: t('webhook.rotate'),
    content: () => html`<p>${t('webhook.rotate.why')}</p>`,
    work: async () => {
      const renewed = await post(`${path(webhook.webhook_id)}/rotate-secret`);
      await then();
      tellSecret(renewed);
    },
  });
}

/** @param {Webhook} webhook */
export function drop(webhook) {
  ask({
    heading: t('webhook.remove.heading', { name: titleOf(webhook) }),
    confirm: t('webhook.remove'),
    danger: true,
    content: () => html`<p>${t('webhook.remove.why')}</p>`,
    work: async () => {
      const { position } = await remove(path(webhook.webhook_id));
      say(t('webhook.removed', { position: position ?? '–' }));
      go('/app/webhooks');
    },
  });
}

/** Pauses a webhook, or has it go on. @param {Webhook} webhook @param {'pause' | 'resume'} what */
export async function steer(webhook, what) {
  const { position } = await post(`${path(webhook.webhook_id)}/${what}`);
  say(t(what === 'pause' ? 'webhook.is_paused' : 'webhook.is_resumed', { position: position ?? '–' }));
}

/** Sends a webhook again what comes after an earlier place. @param {Webhook} webhook @param {string} place A position to begin with. @param {() => unknown} then */
export function replay(webhook, place, then) {
  const begin = place ? 'position' : 'start';
  const dialog = ask({
    heading: t('webhook.replay.heading'),
    confirm: t('webhook.replay'),
    fields: ['from'],
    content: (problem) =>
      html`<p>${t('webhook.replay.why')}</p>
        <div class="field">
          <label for="replay-from">${t('webhook.from')}</label
          ><select id="replay-from" name="begin" @change=${() => dialog.requestUpdate()}>
            <option value="position" ?selected=${begin === 'position'}>${t('webhook.from.position')}</option>
            <option value="time">${t('webhook.from.time')}</option>
            <option value="start" ?selected=${begin === 'start'}>${t('webhook.from.start')}</option>
          </select>
        </div>
        ${beginField(dialog?.querySelector('select')?.value ?? begin, place)}
        ${problem?.of('from') ? html`<p class="wrong" role="alert">${problem.of('from')}</p>` : nothing}`,
    work: async (form) => {
      const { position } = await post(`${path(webhook.webhook_id)}/replay`, { from: beginOf(form) });
      say(t('webhook.replayed', { position: position ?? '–' }));
      await then();
    },
  });
}

/** The field of a time or of a position. @param {string} begin @param {string} [place] */
export function beginField(begin, place = '') {
  if (begin === 'time')
    return html`<div class="field">
      <label for="begin-time">${t('webhook.from.time')}</label
      ><input id="begin-time" name="time" type="datetime-local" step="1" required />
    </div>`;
  if (begin === 'position')
    return html`<div class="field">
      <label for="begin-place">${t('position')}</label
      ><input id="begin-place" name="place" required pattern="\\d+:\\d+" placeholder="1:42" .value=${place} />
      <p class="hint">${t('webhook.from.position.hint')}</p>
    </div>`;
  return nothing;
}

/** The place that such a form names. @param {FormData} form */
export function beginOf(form) {
  const begin = `${form.get('begin')}`;
  if (begin === 'time') return new Date(`${form.get('time')}`).toISOString();
  return begin === 'position' ? `${form.get('place')}`.trim() : begin;
}
