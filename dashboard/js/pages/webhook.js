// One webhook: where it is, what it is sent, how far it has come, and every delivery.

import { get, post } from '../api.js';
import { ago, moment, number, t, when, word } from '../i18n.js';
import { Part, asProblem, html, nothing, shown, waiting } from '../parts/part.js';
import { people } from '../parts/people.js';
import { pill } from '../parts/pills.js';
import { onRecord } from '../parts/timeline.js';
import { outcome } from '../parts/webhook-deliveries.js';
import { change } from '../parts/webhook-form.js';
import { drop, followText, isFailing, path, replay, rotate, steer, titleOf } from '../parts/webhooks.js';
import { who } from '../parts/who.js';
import { may } from '../session.js';

const EVERY = 3000;

/** @typedef {import('../parts/webhooks.js').Webhook} Webhook */
/** @typedef {import('../parts/webhook-deliveries.js').Delivery} Delivery */

class WebhookPage extends Part {
  static properties = {
    params: { attribute: false },
    webhook: { state: true },
    problem: { state: true },
    tested: { state: true },
    busy: { state: true },
  };

  constructor() {
    super();
    /** @type {Record<string, string>} */
    this.params = {};
    /** @type {Webhook | null | undefined} */
    this.webhook = undefined;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    /** What came of the last test. @type {Delivery | null} */
    this.tested = null;
    this.busy = false;
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(EVERY, () => this.load());
    people()
      .then(() => this.requestUpdate())
      .catch(() => {});
  }

  async load() {
    if (this.webhook === null) return;
    try {
      this.webhook = await get(path(this.params.id ?? ''));
      this.problem = null;
    } catch (error) {
      const problem = asProblem(error);
      if (problem.status === 404) this.webhook = null;
      else this.problem = problem;
    }
  }

  /** Does something and shows what has become of it. @param {() => Promise<unknown>} work */
  async act(work) {
    if (this.busy) return;
    this.busy = true;
    try {
      await work();
      await this.load();
    } catch (error) {
      this.problem = asProblem(error);
    }
    this.busy = false;
  }

  test() {
    return this.act(async () => {
      this.tested = null;
      this.tested = await post(`${path(this.params.id ?? '')}/test`);
      /** @type {any} */ (this.querySelector('fl-webhook-deliveries'))?.load();
    });
  }

  /** @param {Webhook} webhook */
  actions(webhook) {
    if (!may('webhooks.write')) return nothing;
    const again = () => this.load();
    const steers = webhook.state === 'active' ? 'pause' : 'resume';
    return html`<button
        class=${steers === 'resume' ? 'primary' : ''}
        ?disabled=${this.busy}
        @click=${() => this.act(() => steer(webhook, steers))}
      >
        ${t(steers === 'pause' ? 'webhook.pause' : 'webhook.resume')}
      </button>
      <button ?disabled=${this.busy} @click=${this.test}>${t('webhook.test')}</button>
      <button @click=${() => replay(webhook, '', again)}>${t('webhook.replay.open')}</button>
      <button @click=${() => rotate(webhook, again)}>${t('webhook.rotate.open')}</button>
      <button @click=${() => change(webhook, again)}>${t('edit')}</button>
      <button class="danger" @click=${() => drop(webhook)}>${t('webhook.remove.open')}</button>`;
  }

  testResult() {
    const { tested } = this;
    if (!tested) return nothing;
    const good = tested.status === 'delivered';
    return html`<p class="notice ${good ? '' : 'warn'}" role="status">
      ${good ? t('webhook.test.good') : t('webhook.test.bad')} ${outcome(tested)} ${tested.error ?? nothing}
    </p>`;
  }

  /** @param {Webhook} webhook */
  state(webhook) {
    if (webhook.state === 'suspended')
      return html`<p class="notice warn">${t('webhook.suspended.why', { reason: webhook.reason ?? '' })}</p>`;
    const failing = webhook.places.find((place) => place.failing_since);
    if (!failing || webhook.state !== 'active') return nothing;
    return html`<p class="notice warn">
      ${t('webhook.failing.why', { n: failing.failures })}
      ${failing.next_attempt_at ? html`<span class="muted">${t('webhook.next')} ${ago(failing.next_attempt_at)}</span>` : nothing}
    </p>`;
  }

  /** @param {Webhook} webhook */
  places(webhook) {
    return html`<section class="sheet" aria-labelledby="places-heading">
      <div class="sheet-head"><h2 id="places-heading">${t('webhook.places')}</h2></div>
      <ul class="webhook-places">
        ${webhook.places.map((place) => {
          const done = place.head ? place.position / place.head : 1;
          return html`<li>
            <p>
              <b>${word('log', place.lane)}</b>
              <span class="muted">${place.lag ? t('webhook.lag', { n: place.lag }) : t('webhook.lag.none')}</span>
            </p>
            <progress max="1" .value=${done} aria-label=${word('log', place.lane)}></progress>
            <p class="small faint numeric">
              ${onRecord(place.lane, place.position)} ${t('webhook.of')} ${place.log_id}:${place.head}
            </p>
          </li>`;
        })}
      </ul>
      <p class="small muted sheet-body">${t('webhook.places.means')}</p>
    </section>`;
  }

  /** @param {Webhook} webhook */
  facts(webhook) {
    return html`<section class="sheet" aria-labelledby="facts">
      <div class="sheet-head"><h2 id="facts">${t('details')}</h2></div>
      <dl class="facts sheet-body">
        <dt>${t('webhook.url')}</dt>
        <dd class="mono small">${webhook.url}</dd>
        <dt>${t('webhook.follows')}</dt>
        <dd>${followText(webhook.follow)}</dd>
        <dt>${t('webhook.batch')}</dt>
        <dd class="numeric">${number(webhook.max_batch)}</dd>
        <dt>${t('webhook.signature')}</dt>
        <dd>
          ${t('webhook.signature.how')}
          ${webhook.previous_secret_until && Date.parse(webhook.previous_secret_until) > Date.now() ? html`<div class="muted">${t('webhook.secret.until', { until: moment(webhook.previous_secret_until) })}</div>` : nothing}
        </dd>
        <dt>${t('webhook.created_by')}</dt>
        <dd>
          ${when(webhook.created_at)} <span class="muted" title=${webhook.created_by}>${who(webhook.created_by)}</span>
        </dd>
        <dt>${t('webhook.updated')}</dt>
        <dd>${when(webhook.updated_at)}</dd>
        <dt>${t('command.id')}</dt>
        <dd class="mono small">${webhook.webhook_id}</dd>
      </dl>
    </section>`;
  }

  render() {
    const { webhook } = this;
    if (webhook === undefined)
      return html`<div class="page-head"><h1>${t('webhook')}</h1></div>
        ${this.problem ? shown(this.problem) : waiting(6)}`;
    if (webhook === null)
      return html`<div class="sheet narrow">
        <h1>${t('webhook.missing')}</h1>
        <p><a href="/app/webhooks">${t('webhooks.all')}</a></p>
      </div>`;
    const failing = isFailing(webhook) && webhook.state === 'active';
    return html`<div class="page-head">
        <div class="grow">
          <p class="small"><a href="/app/webhooks">${t('nav.webhooks')}</a></p>
          <h1>${titleOf(webhook)}</h1>
        </div>
        <div class="actions">${pill('webhook', failing ? 'failing' : webhook.state)}${this.actions(webhook)}</div>
      </div>
      ${shown(this.problem)}
      <div class="notices">${this.state(webhook)}${this.testResult()}</div>
      <div class="grid two">${this.places(webhook)}${this.facts(webhook)}</div>
      <fl-webhook-deliveries .webhook=${webhook}></fl-webhook-deliveries>`;
  }
}
customElements.define('fl-webhook', WebhookPage);
