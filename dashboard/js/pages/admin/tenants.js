// All tenants of the platform: how each is, and a place for the next.

import { get, post } from '../../api.js';
import { number, t, when } from '../../i18n.js';
import { AdminPage } from '../../parts/admin-page.js';
import { ask, say } from '../../parts/dialog.js';
import { textField, textOf } from '../../parts/fields.js';
import { icon } from '../../parts/icons.js';
import { empty, html, nothing, waiting } from '../../parts/part.js';
import '../../parts/password.js';
import { SETTINGS, settingChanges, settingFields } from '../../parts/tenant-settings.js';
import { go, query, withQuery } from '../../router.js';
import { may, me } from '../../session.js';

const PAGE = 200;
/** Tiers that are no tenant's: of addresses, and of those who are nobody. */
export const NOBODYS = ['anonymous', 'everyone'];

/** @typedef {import('../../parts/tenant-settings.js').Tenant} Tenant */

/** @param {string} tenant */
export const tenantPath = (tenant) => `/app/admin/tenants/${encodeURIComponent(tenant)}`;

/** Whether a tenant is let in, as a coloured word. @param {Tenant} tenant */
export const standing = ({ suspended_at }) =>
  html`<span class="pill ${suspended_at ? 'bad' : 'good'}"
    ><span class="dot"></span>${t(suspended_at ? 'tenants.suspended' : 'tenants.active')}</span
  >`;

/** The tiers that a tenant may have. @returns {Promise<string[]>} */
export async function tiersForTenants() {
  if (!may('tiers.read')) return [];
  const tiers = (await get('/tiers')).items.map((/** @type {{ tier: string }} */ one) => one.tier);
  return tiers.filter((/** @type {string} */ tier) => !NOBODYS.includes(tier));
}

class Tenants extends AdminPage {
  static properties = { list: { state: true } };

  constructor() {
    super();
    /** @type {Tenant[] | null} */
    this.list = null;
    /** @type {string | null} */
    this.next = null;
    /** @type {string[]} */
    this.tiers = [];
  }

  connectedCallback() {
    super.connectedCallback();
    this.addEventListener('query', () => this.requestUpdate());
    this.every(20_000, async () => (this.list?.length ?? 0) <= PAGE && this.load());
  }

  /** @param {string | null} [cursor] */
  async load(cursor = null) {
    await this.attempt(async () => {
      const more = cursor ? `&cursor=${encodeURIComponent(cursor)}` : '';
      const [page, tiers] = await Promise.all([get(`/tenants?limit=${PAGE}${more}`), tiersForTenants()]);
      this.tiers = tiers;
      this.next = page.next_cursor;
      this.list = cursor ? [...(this.list ?? []), ...page.items] : page.items;
    });
  }

  create() {
    const settings = SETTINGS.filter(({ name }) => name !== 'tier' || this.tiers.length);
    ask({
      heading: t('tenants.new'),
      confirm: t('tenants.create'),
      wide: true,
      fields: ['tenant', 'admin.email', 'admin.password', ...settings.map(({ name }) => name)],
      content: (problem) => html`
        ${textField({ name: 'tenant', label: t('tenants.name'), hint: t('tenants.name.rule'), most: 64, pattern: '[A-Za-z0-9_.\\-]+', problem })}
        <fieldset class="fields">
          <legend>${t('tenants.admin')}</legend>
          <p class="hint muted small">${t('tenants.admin.says')}</p>
          ${textField({ name: 'email', of: 'admin.email', label: t('email'), type: 'email', optional: true, problem })}
          <fl-password
            name="password"
            fresh
            optional
            .label=${t('password')}
            .wrong=${problem?.of('admin.password') ?? null}
          ></fl-password>
        </fieldset>
        <details>
          <summary class="small">${t('tenants.settings')}</summary>
          <div class="fields">${settingFields(settings, {}, { problem, tiers: this.tiers })}</div>
        </details>
      `,
      work: async (form) => {
        const [tenant, email, password] = [textOf(form, 'tenant'), textOf(form, 'email'), `${form.get('password')}`];
        await post('/tenants', {
          tenant,
          ...settingChanges(settings, {}, form),
          ...(email || password ? { admin: { email, password } } : {}),
        });
        say(t('tenants.created', { tenant }));
        go(tenantPath(tenant));
      },
    });
  }

  /** @param {Tenant} one */
  row(one) {
    return html`<tr>
      <td>
        <a href=${tenantPath(one.tenant)}>${one.tenant}</a>
        ${one.tenant === me()?.tenant ? html`<span class="pill calm">${t('tenants.own')}</span>` : nothing}
      </td>
      <td>${standing(one)}</td>
      <td>${may('tiers.read') ? html`<a href=${`/app/admin/tiers#${one.tier}`}>${one.tier}</a>` : one.tier}</td>
      <td class="end numeric wide">
        ${one.max_devices === null ? html`<span class="faint">${t('setting.any')}</span>` : number(one.max_devices)}
      </td>
      <td class="end numeric wide">
        ${one.max_users === null ? html`<span class="faint">${t('setting.any')}</span>` : number(one.max_users)}
      </td>
      <td class="wide">${when(one.created_at)}</td>
    </tr>`;
  }

  table() {
    if (!this.list) return this.problem ? nothing : waiting(5);
    const q = (query('q') ?? '').toLowerCase();
    const found = this.list.filter(({ tenant, tier }) => tenant.toLowerCase().includes(q) || tier.includes(q));
    if (found.length === 0) return empty(t('tenants.none'), html`<a href="/app/admin/tenants">${t('tenants.all')}</a>`);
    return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
        <table>
          <thead>
            <tr>
              <th>${t('account.tenant')}</th>
              <th>${t('status')}</th>
              <th>${t('setting.tier')}</th>
              <th class="end wide">${t('setting.max_devices')}</th>
              <th class="end wide">${t('setting.max_users')}</th>
              <th class="wide">${t('tenants.since')}</th>
            </tr>
          </thead>
          <tbody>
            ${found.map((one) => this.row(one))}
          </tbody>
        </table>
      </div>
      ${this.next ? html`<div class="more"><button @click=${() => this.load(this.next)}>${t('more')}</button></div>` : nothing}`;
  }

  content() {
    const actions = may('tenants.write')
      ? html`<button class="primary" ?disabled=${!this.list} @click=${this.create}>
          ${icon('plus')}${t('tenants.new')}
        </button>`
      : nothing;
    return html`${this.head(t('admin.tenants'), t('tenants.sub'), { actions })}
      <section class="sheet" aria-label=${t('admin.tenants')}>
        <div class="sheet-head filters">
          <div class="search">
            ${icon('search')}<input
              type="search"
              aria-label=${t('tenants.search')}
              placeholder=${t('tenants.search')}
              .value=${query('q') ?? ''}
              @input=${(/** @type {InputEvent} */ event) => go(withQuery({ q: /** @type {HTMLInputElement} */ (event.target).value }), { replace: true })}
            />
          </div>
        </div>
        ${this.table()}
      </section>`;
  }
}
customElements.define('fl-tenants', Tenants);
