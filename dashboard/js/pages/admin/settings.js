// The settings of the viewer's tenant: what each means, its default and its range, and who decides it.

import { get, patch, post } from '../../api.js';
import { t, when, word } from '../../i18n.js';
import { AdminPage } from '../../parts/admin-page.js';
import { ask, say } from '../../parts/dialog.js';
import { html, nothing, waiting } from '../../parts/part.js';
import '../../parts/stream-history.js';
import { SETTINGS, rangeText, settingChanges, settingFields, valueText } from '../../parts/tenant-settings.js';
import { may, me } from '../../session.js';

/** @typedef {import('../../parts/tenant-settings.js').Tenant} Tenant */

class TenantSettings extends AdminPage {
  static properties = { tenant: { state: true }, changes: { state: true }, rotated: { state: true } };

  constructor() {
    super();
    /** @type {Tenant | null} */
    this.tenant = null;
    this.changes = 0;
    /** When the signing key was last replaced. @type {string | null} */
    this.rotated = null;
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(30_000, () => this.load());
  }

  async load() {
    await this.attempt(async () => {
      const rotations = '/events?log=control&order=desc&type=SigningKeyRotated&limit=1';
      const [tenant, rotated] = await Promise.all([
        get('/tenant'),
        may('signing_keys.write') && may('events.read') ? get(rotations) : null,
      ]);
      this.tenant = tenant;
      this.rotated = rotated?.items[0]?.recorded_at ?? null;
    });
  }

  /** @param {Tenant} tenant */
  edit(tenant) {
    const own = SETTINGS.filter((setting) => setting.own);
    ask({
      heading: t('settings.edit'),
      confirm: t('save'),
      fields: own.map(({ name }) => name),
      content: (problem) => settingFields(own, tenant, { problem }),
      work: async (form) => {
        const changes = settingChanges(own, tenant, form);
        if (Object.keys(changes).length === 0) return;
        const { position } = await patch('/tenant', changes);
        say(t('saved', { position: position ?? '–' }));
        await this.load();
        this.changes += 1;
      },
    });
  }

  rotate() {
    ask({
      heading: t('settings.key.title'),
      confirm: t('settings.key.button'),
      content: () => html`<p>${t('settings.key.why')}</p>`,
      work: async () => {
        await post('/signing-keys/rotate', undefined);
        say(t('settings.key.done'));
        await this.load();
      },
    });
  }

  /** @param {Tenant} tenant */
  table(tenant) {
    return html`<section class="sheet" aria-labelledby="settings">
      <div class="sheet-head">
        <h2 id="settings" class="grow">${t('settings.all')}</h2>
        ${may('tenant.write') ? html`<button class="primary" @click=${() => this.edit(tenant)}>${t('edit')}</button>` : nothing}
      </div>
      <ul class="setting-list">
        ${SETTINGS.map((setting) => {
          const value = tenant[setting.name];
          const isInitial = value === setting.initial;
          return html`<li>
            <div>
              <p class="what">${word('setting', setting.name)} <code class="faint small">${setting.name}</code></p>
              <p class="small muted">${word('setting.says', setting.name)}</p>
              <p class="small faint">
                ${t('settings.default', { value: valueText(setting, setting.initial) })} ·
                ${t('settings.range', { range: rangeText(setting) })} ·
                ${t(setting.own ? 'settings.own' : 'settings.platform')}
              </p>
            </div>
            <p class="value ${isInitial ? '' : 'set'}">${valueText(setting, value)}</p>
          </li>`;
        })}
      </ul>
    </section>`;
  }

  signingKey() {
    if (!may('signing_keys.write')) return nothing;
    return html`<section class="sheet" aria-labelledby="signing">
      <div class="sheet-head">
        <h2 id="signing" class="grow">${t('settings.key')}</h2>
        <button @click=${this.rotate}>${t('settings.key.button')}</button>
      </div>
      <div class="sheet-body small muted">
        <p>${t('settings.key.says')}</p>
        ${this.rotated ? html`<p>${t('settings.key.last')} ${when(this.rotated)}</p>` : nothing}
      </div>
    </section>`;
  }

  content() {
    const { tenant } = this;
    const own = me()?.tenant ?? '';
    return html`${this.head(t('admin.settings'), t('settings.sub', { tenant: own }))}
    ${
      tenant
        ? html`<div class="stack">
            ${this.table(tenant)}${this.signingKey()}
            <fl-stream-history .name=${own} kind="Tenant" .version=${this.changes}></fl-stream-history>
          </div>`
        : this.problem
          ? nothing
          : html`<div class="sheet">${waiting(6)}</div>`
    }`;
  }
}
customElements.define('fl-tenant-settings', TenantSettings);
