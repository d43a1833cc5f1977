// What the viewer's tenant may use, and what it uses: devices, users, messages, requests.

import { get, graphql } from '../../api.js';
import { number, shortNumber, t } from '../../i18n.js';
import { AdminPage } from '../../parts/admin-page.js';
import { html, nothing, waiting } from '../../parts/part.js';
import { ingestLimits, requestLimits } from '../../parts/tier-limits.js';
import { may, me } from '../../session.js';

const EVERY = 5000;
/** The part of a limit from which on it is nearly used up. */
const NEARLY = 0.9;

/** @typedef {{ used: number | null, limit: number | null }} Used */
/** @typedef {{ devices: Used, users: Used, tier: import('../../parts/tier-limits.js').Tier }} Usage */

class UsagePage extends AdminPage {
  static properties = { usage: { state: true }, rate: { state: true } };

  constructor() {
    super();
    /** @type {Usage | null} */
    this.usage = null;
    /** Messages a second, over the last few. @type {number | null} */
    this.rate = null;
    /** @type {{ head: number, at: number } | null} */
    this.last = null;
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(EVERY, () => this.load());
  }

  async load() {
    await this.attempt(async () => {
      const [usage, logs] = await Promise.all([
        get('/tenant/usage'),
        may('logs.read') ? graphql('{ logs { lane head } }') : { logs: [] },
      ]);
      this.usage = usage;
      this.measure(logs.logs);
    });
  }

  /** What came since the last look, a second. @param {{ lane: string, head: number }[]} logs */
  measure(logs) {
    const heads = logs.filter(({ lane }) => lane === 'telemetry').map(({ head }) => Number(head));
    if (heads.length === 0) return;
    const now = { head: heads.reduce((sum, head) => sum + head, 0), at: performance.now() };
    if (this.last) this.rate = (now.head - this.last.head) / ((now.at - this.last.at) / 1000);
    this.last = now;
  }

  /**
   * @param {string} name
   * @param {Used} used
   * @param {{ to?: string | null, unit?: string }} [more]
   */
  tile(name, { used, limit }, { to = null, unit = '' } = {}) {
    const part = used !== null && limit ? used / limit : 0;
    const tone = part >= 1 ? 'bad' : part >= NEARLY ? 'warn' : '';
    const content = html`<span class="name">${name}</span>
      <span class="big">${used === null ? '–' : shortNumber(used)}</span>
      <span class="below">${limit === null ? t('usage.any') : t('usage.of', { n: `${number(limit)}${unit}` })}</span>
      ${limit === null || used === null ? nothing : html`<progress class="bar ${tone}" max="1" .value=${Math.min(1, part)} aria-label=${t('usage.part', { name, part: Math.round(part * 100) })}></progress>`}`;
    return to
      ? html`<a class="sheet tile ${tone}" href=${to}>${content}</a>`
      : html`<div class="sheet tile ${tone}">${content}</div>`;
  }

  /** @param {Usage} usage */
  sheets({ devices, users, tier }) {
    const platform = may('tenants.write');
    return html`<div class="tiles">
        ${this.tile(t('usage.devices'), devices, { to: may('devices.read') ? '/app/devices' : null })}
        ${users.used === null ? nothing : this.tile(t('usage.users'), users, { to: '/app/admin/users' })}
        ${may('logs.read') ? this.tile(t('usage.messages'), { used: this.rate === null ? null : Math.round(this.rate * 10) / 10, limit: tier.ingest.messages_per_s }) : nothing}
      </div>
      <section class="sheet" aria-labelledby="tier">
        <div class="sheet-head">
          <h2 id="tier" class="grow">${t('usage.tier', { tier: tier.tier })}</h2>
          ${platform ? html`<a class="button" href=${`/app/admin/tenants/${encodeURIComponent(me()?.tenant ?? '')}`}>${t('usage.change')}</a>` : nothing}
        </div>
        <div class="sheet-body small muted">
          <p>${tier.description ?? t('usage.tier.says')} ${platform ? nothing : t('usage.ask')}</p>
        </div>
      </section>
      <div class="grid two">
        <section class="sheet" aria-labelledby="requests">
          <div class="sheet-head"><h2 id="requests">${t('tiers.requests')}</h2></div>
          <div class="sheet-body">
            ${requestLimits(tier.limits)}
            <p class="small muted after">${t('tiers.requests.rule')}</p>
          </div>
        </section>
        <section class="sheet" aria-labelledby="ingest">
          <div class="sheet-head"><h2 id="ingest">${t('tiers.ingest')}</h2></div>
          <div class="sheet-body">
            ${ingestLimits(tier.ingest)}
            <p class="small muted after">${t('tiers.ingest.rule')}</p>
          </div>
        </section>
      </div>`;
  }

  content() {
    return html`${this.head(t('admin.usage'), t('usage.sub', { tenant: me()?.tenant ?? '' }))}
    ${this.usage ? html`<div class="stack">${this.sheets(this.usage)}</div>` : this.problem ? nothing : html`<div class="sheet">${waiting(6)}</div>`}`;
  }
}
customElements.define('fl-usage', UsagePage);
