// One tenant, as those who run the platform see it: its settings, its tier, and whether it is let in.

import { get, patch } from '../../api.js';
import { t, when, word } from '../../i18n.js';
import { AdminPage } from '../../parts/admin-page.js';
import { ask, say } from '../../parts/dialog.js';
import { textField } from '../../parts/fields.js';
import { html, nothing, waiting } from '../../parts/part.js';
import { SETTINGS, settingChanges, settingFields, valueText } from '../../parts/tenant-settings.js';
import { ingestLimits, requestLimits } from '../../parts/tier-limits.js';
import { may, me } from '../../session.js';
import { standing, tiersForTenants } from './tenants.js';

/** @typedef {import('../../parts/tenant-settings.js').Tenant} Tenant */

class TenantPage extends AdminPage {
  static properties = { tenant: { state: true }, tier: { state: true } };

  constructor() {
    super();
    /** @type {Tenant | null} */
    this.tenant = null;
    /** @type {import('../../parts/tier-limits.js').Tier | null} */
    this.tier = null;
    /** @type {string[]} */
    this.tiers = [];
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(20_000, () => this.load());
  }

  get path() {
    return `/tenants/${encodeURIComponent(this.params.tenant ?? '')}`;
  }

  async load() {
    await this.attempt(async () => {
      /** @type {[Tenant, string[]]} */
      const [tenant, tiers] = await Promise.all([get(this.path), tiersForTenants()]);
      this.tiers = tiers;
      this.tier = may('tiers.read') ? await get(`/tiers/${encodeURIComponent(tenant.tier)}`) : null;
      this.tenant = tenant;
    });
  }

  /** @param {Record<string, unknown>} changes */
  async change(changes) {
    if (Object.keys(changes).length === 0) return;
    const { position } = await patch(this.path, changes);
    say(t('saved', { position: position ?? '–' }));
    await this.load();
  }

  /** @param {Tenant} tenant */
  edit(tenant) {
    const settings = SETTINGS.filter(({ name }) => name !== 'tier' || this.tiers.length);
    ask({
      heading: t('tenants.edit', { tenant: tenant.tenant }),
      confirm: t('save'),
      fields: settings.map(({ name }) => name),
      content: (problem) => settingFields(settings, tenant, { problem, tiers: this.tiers }),
      work: (form) => this.change(settingChanges(settings, tenant, form)),
    });
  }

  /** Suspends after the name was written: it shuts everybody and every device of the tenant out. @param {Tenant} tenant */
  suspend(tenant) {
    ask({
      heading: t('tenants.suspend.title', { tenant: tenant.tenant }),
      confirm: t('tenants.suspend'),
      danger: true,
      content: () =>
        html`<p>${t('tenants.suspend.why')}</p>
          ${textField({ name: 'really', label: t('tenants.suspend.really', { tenant: tenant.tenant }), pattern: tenant.tenant.replaceAll('.', '\\.') })}`,
      work: () => this.change({ suspended: true }),
    });
  }

  /** @param {Tenant} tenant */
  actions(tenant) {
    if (!may('tenants.write')) return nothing;
    const own = tenant.tenant === me()?.tenant;
    return html`<button @click=${() => this.edit(tenant)}>${t('edit')}</button> ${
        tenant.suspended_at
          ? html`<button class="primary" @click=${() => this.attempt(() => this.change({ suspended: false }))}>
              ${t('tenants.resume')}
            </button>`
          : own
            ? nothing
            : html`<button class="danger" @click=${() => this.suspend(tenant)}>${t('tenants.suspend')}</button>`
      }`;
  }

  /** @param {Tenant} tenant */
  sheets(tenant) {
    return html`<div class="grid two">
      <section class="sheet" aria-labelledby="facts">
        <div class="sheet-head"><h2 id="facts">${t('admin.settings')}</h2></div>
        <dl class="facts sheet-body">
          <dt>${t('tenants.since')}</dt>
          <dd>${when(tenant.created_at)}</dd>
          ${
            tenant.suspended_at
              ? html`<dt>${t('tenants.suspended')}</dt>
                  <dd>${t('about.since')} ${when(tenant.suspended_at)}</dd>`
              : nothing
          }
          ${SETTINGS.map(
            (setting) =>
              html`<dt>${word('setting', setting.name)}</dt>
                <dd>${valueText(setting, tenant[setting.name])}</dd>`,
          )}
        </dl>
      </section>
      ${
        this.tier
          ? html`<section class="sheet" aria-labelledby="tier">
              <div class="sheet-head">
                <h2 id="tier" class="grow">${t('usage.tier', { tier: this.tier.tier })}</h2>
                <a class="button" href=${`/app/admin/tiers#${this.tier.tier}`}>${t('admin.tiers')}</a>
              </div>
              <div class="sheet-body stack">
                <h3>${t('tiers.requests')}</h3>
                ${requestLimits(this.tier.limits)}
                <h3>${t('tiers.ingest')}</h3>
                ${ingestLimits(this.tier.ingest)}
              </div>
            </section>`
          : nothing
      }
    </div>`;
  }

  content() {
    const { tenant } = this;
    const up = { path: '/app/admin/tenants', key: /** @type {const} */ ('admin.tenants') };
    if (!tenant)
      return html`${this.head(this.params.tenant, ' ', { up })}${this.problem ? nothing : html`<div class="sheet">${waiting(6)}</div>`}`;
    const beside = html`<span class="beside">${standing(tenant)}</span>`;
    return html`${this.head(tenant.tenant, t('tenants.one'), { up, actions: this.actions(tenant), beside })}
      <div class="stack">
        ${tenant.suspended_at ? html`<p class="notice warn">${t('tenants.suspended.says')}</p>` : nothing}
        ${tenant.tenant === me()?.tenant ? html`<p class="notice">${t('tenants.own.says')}</p>` : nothing}
        ${this.sheets(tenant)}
      </div>`;
  }
}
customElements.define('fl-tenant', TenantPage);
