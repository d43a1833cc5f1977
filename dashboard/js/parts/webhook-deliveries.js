// What was sent to a webhook, what it answered, and how to send it again.

import { get, post } from '../api.js';
import { ago, number, t, word } from '../i18n.js';
import { query, withQuery } from '../router.js';
import { may } from '../session.js';
import { say } from './dialog.js';
import { icon } from './icons.js';
import { Part, asProblem, empty, html, nothing, shown, waiting } from './part.js';
import { pill } from './pills.js';
import { path, replay } from './webhooks.js';

/**
 * @typedef {{
 *   delivery_id: string, message_id: string, log_id: number | null, after: number | null, last: number | null, events:
 *   number, status: string, attempts: number, code: number | null, error: string | null, duration_ms: number | null,
 *   created_at: string, attempted_at: string | null, delivered_at: string | null, next_attempt_at: string | null
 * }} Delivery
 */

const PAGE = 50;
const EVERY = 3000;
const STATES = /** @type {const} */ (['', 'pending', 'delivered', 'failed', 'superseded']);

/** What a delivery came to: the answer's status, or why there was none. @param {Delivery} one */
export function outcome({ code, error, duration_ms: ms }) {
  const took = ms === null ? '' : t('delivery.took', { ms });
  if (code !== null)
    return html`<b class="numeric nowrap">HTTP ${code}</b> <span class="small muted nowrap">${took}</span>`;
  return error ? html`<span class="small muted">${took}</span>` : html`<span class="none">–</span>`;
}

class WebhookDeliveries extends Part {
  static properties = {
    webhook: { attribute: false },
    list: { state: true },
    problem: { state: true },
    sending: { state: true },
  };

  constructor() {
    super();
    /** @type {import('./webhooks.js').Webhook | null} */
    this.webhook = null;
    /** @type {Delivery[] | null} */
    this.list = null;
    /** @type {string | null} */
    this.next = null;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    /** The delivery that is being sent again. */
    this.sending = '';
    this.asked = '';
  }

  connectedCallback() {
    super.connectedCallback();
    const page = this.closest('fl-webhook');
    const turn = () => this.load();
    page?.addEventListener('query', turn);
    this.whenGone(() => page?.removeEventListener('query', turn));
    this.every(EVERY, turn);
  }

  /** @param {string | null} cursor */
  ask(cursor) {
    const asked = new URLSearchParams({ limit: `${PAGE}` });
    const status = query('status');
    if (status) asked.set('status', status);
    if (cursor) asked.set('cursor', cursor);
    return get(`${path(this.webhook?.webhook_id ?? '')}/deliveries?${asked}`);
  }

  /** Adds what is new at the top; what was read on stays below it. */
  async load() {
    const asked = (this.asked = location.search);
    try {
      const page = await this.ask(null);
      if (asked !== this.asked) return;
      const isSame = this.shownOf === asked;
      const last = page.items.at(-1)?.delivery_id;
      const at = isSame && last ? (this.list ?? []).findIndex((one) => one.delivery_id === last) : -1;
      const older = at < 0 ? [] : (this.list ?? []).slice(at + 1);
      if (older.length === 0) this.next = page.has_more ? page.next_cursor : null;
      this.list = [...page.items, ...older];
      this.shownOf = asked;
      this.problem = null;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  async more() {
    try {
      const page = await this.ask(this.next);
      this.list = [...(this.list ?? []), ...page.items];
      this.next = page.has_more ? page.next_cursor : null;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** @param {Delivery} one */
  async resend(one) {
    if (this.sending) return;
    this.sending = one.delivery_id;
    try {
      const sent = await post(`${path(this.webhook?.webhook_id ?? '')}/deliveries/${one.delivery_id}/replay`);
      say(
        t('delivery.resent', {
          status: word('delivery', sent.status),
          answer: sent.code ? `HTTP ${sent.code}` : (sent.error ?? '–'),
        }),
      );
      await this.load();
    } catch (error) {
      this.problem = asProblem(error);
    }
    this.sending = '';
  }

  /** @param {Delivery} one */
  what(one) {
    if (one.log_id === null) return html`<span class="muted">${t('delivery.test')}</span>`;
    const lane = this.webhook?.places.find((place) => place.log_id === one.log_id)?.lane ?? 'control';
    const [first, last] = [`${one.log_id}:${(one.after ?? 0) + 1}`, `${one.log_id}:${one.last}`];
    const range = first === last ? first : `${first} – ${last}`;
    return html`<span class="nowrap"
        >${t(one.events === 1 ? 'delivery.event' : 'delivery.events', { n: one.events })}</span
      >
      <div class="small">
        ${may('events.read') ? html`<a class="mono" href=${`/app/events?log=${lane}&order=asc&after=${one.after}`}>${range}</a>` : html`<span class="mono">${range}</span>`}
      </div>`;
  }

  /** @param {Delivery} one */
  row(one) {
    const { webhook } = this;
    const place = one.log_id === null ? '' : `${one.log_id}:${one.after}`;
    const canWrite = may('webhooks.write') && webhook;
    return html`<tr>
      <td>${this.what(one)}</td>
      <td>
        ${pill('delivery', one.status)}
        <div class="small faint only-small">${ago(one.attempted_at ?? one.created_at)}</div>
      </td>
      <td>
        ${outcome(one)} ${one.error ? html`<div class="small wrong">${one.error}</div>` : nothing}
        ${one.next_attempt_at ? html`<div class="small muted">${t('delivery.again')} ${ago(one.next_attempt_at)}</div>` : nothing}
      </td>
      <td class="end numeric wide">${number(one.attempts)}</td>
      <td class="wide">${ago(one.attempted_at ?? one.created_at)}</td>
      ${
        canWrite
          ? html`<td class="end">
              <div class="actions row-actions">
                <button
                  ?disabled=${this.sending !== ''}
                  aria-label=${t('delivery.resend')}
                  @click=${() => this.resend(one)}
                >
                  ${icon('reset')}<span class="wide">${t('delivery.resend')}</span>
                </button>
                ${place ? html`<button class="plain wide" @click=${() => replay(webhook, place, () => this.load())}>${t('delivery.from')}</button>` : nothing}
              </div>
            </td>`
          : nothing
      }
    </tr>`;
  }

  table() {
    if (!this.list) return this.problem ? nothing : waiting(4);
    if (this.list.length === 0)
      return query('status')
        ? empty(t('deliveries.none.filtered'), html`<a href=${withQuery({ status: null })}>${t('deliveries.all')}</a>`)
        : empty(t('deliveries.none'), html`<p>${t('deliveries.none.next')}</p>`);
    return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
        <table>
          <thead>
            <tr>
              <th>${t('delivery.what')}</th>
              <th>${t('status')}</th>
              <th>${t('delivery.answer')}</th>
              <th class="end wide">${t('commands.attempts')}</th>
              <th class="wide">${t('delivery.sent')}</th>
              ${may('webhooks.write') ? html`<th><span class="visually-hidden">${t('actions')}</span></th>` : nothing}
            </tr>
          </thead>
          <tbody>
            ${this.list.map((one) => this.row(one))}
          </tbody>
        </table>
      </div>
      ${this.next ? html`<div class="more"><button @click=${this.more}>${t('more')}</button></div>` : nothing}`;
  }

  render() {
    const state = query('status') ?? '';
    return html`<section class="sheet" aria-labelledby="deliveries">
      <div class="sheet-head">
        <h2 id="deliveries" class="grow">${t('deliveries')}</h2>
        <div class="choices" role="group" aria-label=${t('status')}>
          ${STATES.map((one) => html`<a href=${withQuery({ status: one })} aria-current=${state === one ? 'true' : nothing}>${word('delivery', one || 'all')}</a>`)}
        </div>
      </div>
      ${shown(this.problem)}${this.table()}
    </section>`;
  }
}
customElements.define('fl-webhook-deliveries', WebhookDeliveries);
