// The tenant's webhooks: where its events are sent, and how far each has come.

import { get } from '../api.js';
import { ago, number, t } from '../i18n.js';
import { icon } from '../parts/icons.js';
import { AskingPart, empty, html, nothing, shown, waiting } from '../parts/part.js';
import { pill } from '../parts/pills.js';
import { create } from '../parts/webhook-form.js';
import { followText, hostOf, isFailing, titleOf } from '../parts/webhooks.js';
import { may } from '../session.js';

const EVERY = 3000;

/** @typedef {import('../parts/webhooks.js').Webhook} Webhook */

class Webhooks extends AskingPart {
  static properties = { list: { state: true } };

  constructor() {
    super();
    /** @type {Webhook[] | null} */
    this.list = null;
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(EVERY, () => this.load());
  }

  load() {
    return this.attempt(async () => {
      this.list = (await get('/webhooks')).items;
    });
  }

  /** @param {Webhook} webhook */
  row(webhook) {
    const lag = webhook.places.reduce((sum, place) => sum + place.lag, 0);
    const failing = webhook.places.find((place) => place.failing_since);
    return html`<tr>
      <td>
        <a class="device-name" href=${`/app/webhooks/${webhook.webhook_id}`}
          >${titleOf(webhook)}${webhook.description ? html`<span class="faint">${hostOf(webhook.url)}</span>` : nothing}</a
        >
      </td>
      <td>
        ${isFailing(webhook) && webhook.state === 'active' ? pill('webhook', 'failing') : pill('webhook', webhook.state)}
        ${failing && webhook.state === 'active' ? html`<div class="small muted">${t('webhook.since')} ${ago(failing.failing_since)}</div>` : nothing}
      </td>
      <td class="wide">${followText(webhook.follow)}</td>
      <td class="end numeric">${number(lag)}</td>
      <td class="wide">${ago(webhook.created_at)}</td>
    </tr>`;
  }

  create() {
    return may('webhooks.write')
      ? html`<button class="primary" @click=${create}>${icon('plus')}${t('webhooks.new')}</button>`
      : nothing;
  }

  table() {
    if (!this.list) return this.problem ? nothing : waiting(4);
    if (this.list.length === 0)
      return empty(
        t('webhooks.none'),
        html`<p>${t('webhooks.none.next')}</p>
          ${this.create()}`,
      );
    return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
      <table>
        <thead>
          <tr>
            <th>${t('webhook')}</th>
            <th>${t('status')}</th>
            <th class="wide">${t('webhook.follows')}</th>
            <th class="end">${t('fleet.lag')}</th>
            <th class="wide">${t('webhook.since_when')}</th>
          </tr>
        </thead>
        <tbody>
          ${this.list.map((webhook) => this.row(webhook))}
        </tbody>
      </table>
    </div>`;
  }

  render() {
    return html`<div class="page-head">
        <div class="grow">
          <h1>${t('nav.webhooks')}</h1>
          <p class="sub">${t('webhooks.sub')}</p>
        </div>
        ${this.list?.length ? this.create() : nothing}
      </div>
      ${shown(this.problem)}
      <section class="sheet" aria-label=${t('nav.webhooks')}>${this.table()}</section>`;
  }
}
customElements.define('fl-webhooks', Webhooks);
