// The platform's tiers: how many requests each allows, and how much the devices of its tenants may send.

import { Problem, get, remove, rest } from '../../api.js';
import { t, word } from '../../i18n.js';
import { AdminPage } from '../../parts/admin-page.js';
import { ask, say } from '../../parts/dialog.js';
import { textField, textOf } from '../../parts/fields.js';
import { grouped } from '../../parts/groups.js';
import { icon } from '../../parts/icons.js';
import { html, nothing, waiting } from '../../parts/part.js';
import { TIER_FIELDS, ingestFields, tierOf } from '../../parts/tier-form.js';
import { ingestLimits, requestLimits } from '../../parts/tier-limits.js';
import { may } from '../../session.js';
import { NOBODYS, tenantPath } from './tenants.js';

/** Tiers that fleetlog itself needs. */
const NEEDED = ['free', ...NOBODYS];

/** @typedef {import('../../parts/tier-limits.js').Tier} Tier */

class Tiers extends AdminPage {
  static properties = { list: { state: true }, tenants: { state: true } };

  constructor() {
    super();
    /** @type {Tier[] | null} */
    this.list = null;
    /** The tenants of each tier, as far as the first thousand go. @type {Map<string, { tenant: string }[]>} */
    this.tenants = new Map();
    this.sought = location.hash.slice(1);
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(20_000, () => this.load());
  }

  async load() {
    await this.attempt(async () => {
      const [tiers, tenants] = await Promise.all([
        get('/tiers'),
        may('tenants.read') ? get('/tenants?limit=1000') : { items: [] },
      ]);
      /** @type {{ tenant: string, tier: string }[]} */
      const all = tenants.items;
      this.tenants = grouped(all, ({ tier }) => tier);
      // Those that are no tenant's come last.
      const isNobodys = (/** @type {Tier} */ { tier }) => Number(NOBODYS.includes(tier));
      this.list = tiers.items.sort(
        (/** @type {Tier} */ one, /** @type {Tier} */ other) => isNobodys(one) - isNobodys(other),
      );
    });
  }

  updated() {
    super.updated();
    if (!this.list || !this.sought) return;
    document.getElementById(this.sought)?.scrollIntoView({ block: 'start' });
    this.sought = '';
  }

  /** @param {Tier | null} tier Without one: a new one. */
  edit(tier) {
    ask({
      heading: tier ? t('tiers.edit', { tier: tier.tier }) : t('tiers.new'),
      confirm: tier ? t('save') : t('tiers.create'),
      wide: true,
      fields: TIER_FIELDS,
      content: (problem) => html`
        ${tier ? nothing : textField({ name: 'tier', label: t('tiers.name'), hint: t('tiers.name.rule'), most: 64, pattern: '[a-z0-9_\\-]+', problem })}
        ${textField({ name: 'description', label: t('tiers.description'), most: 500, optional: true, value: tier?.description ?? '', problem })}
        <fl-tier-limits
          .limits=${tier?.limits ?? [{ path: '*', requests: 600, window_s: 60 }]}
          .problem=${problem}
        ></fl-tier-limits>
        ${ingestFields(tier?.ingest ?? null, problem)}
        <p class="muted">${t('tiers.effect')}</p>
      `,
      work: async (form) => {
        const name = tier?.tier ?? textOf(form, 'tier');
        if (!tier && this.list?.some((one) => one.tier === name))
          throw new Problem(409, { code: 'already_exists', detail: t('tiers.exists', { tier: name }) });
        const { position } = await rest('PUT', `/tiers/${encodeURIComponent(name)}`, { body: tierOf(form) });
        say(t('saved', { position: position ?? '–' }));
        await this.load();
      },
    });
  }

  /** @param {Tier} tier */
  drop(tier) {
    ask({
      heading: t('tiers.remove.title', { tier: tier.tier }),
      confirm: t('tiers.remove'),
      danger: true,
      content: () => html`<p>${t('tiers.remove.why')}</p>`,
      work: async () => {
        await remove(`/tiers/${encodeURIComponent(tier.tier)}`);
        say(t('tiers.removed', { tier: tier.tier }));
        await this.load();
      },
    });
  }

  /** @param {Tier} tier */
  sheet(tier) {
    const tenants = this.tenants.get(tier.tier) ?? [];
    const canDrop = may('tiers.write') && !NEEDED.includes(tier.tier) && tenants.length === 0;
    return html`<section class="sheet tier" id=${tier.tier} aria-label=${tier.tier}>
      <div class="sheet-head">
        <div class="grow">
          <h2>${tier.tier}</h2>
          <p class="small muted">
            ${NOBODYS.includes(tier.tier) ? word('tiers.says', tier.tier) : (tier.description ?? ' ')}
          </p>
        </div>
        ${may('tiers.write') ? html`<button @click=${() => this.edit(tier)}>${t('edit')}</button>` : nothing}
        ${canDrop ? html`<button class="danger" @click=${() => this.drop(tier)}>${t('tiers.remove')}</button>` : nothing}
      </div>
      <div class="sheet-body tier-body">
        <div>
          <h3>${t('tiers.requests')}</h3>
          ${requestLimits(tier.limits)}
        </div>
        ${
          NOBODYS.includes(tier.tier)
            ? nothing
            : html`<div>
                  <h3>${t('tiers.ingest')}</h3>
                  ${ingestLimits(tier.ingest)}
                </div>
                <div class="whole">
                  <h3>${t('admin.tenants')}</h3>
                  ${tenants.length ? html`<p class="links">${tenants.map(({ tenant }) => html`<a href=${tenantPath(tenant)}>${tenant}</a>`)}</p>` : html`<p class="small muted">${t('tiers.tenants.none')}</p>`}
                </div>`
        }
      </div>
    </section>`;
  }

  content() {
    const actions = may('tiers.write')
      ? html`<button class="primary" @click=${() => this.edit(null)}>${icon('plus')}${t('tiers.new')}</button>`
      : nothing;
    return html`${this.head(t('admin.tiers'), t('tiers.sub'), { actions })}
    ${this.list ? html`<div class="stack">${this.list.map((tier) => this.sheet(tier))}</div>` : this.problem ? nothing : html`<div class="sheet">${waiting(8)}</div>`}`;
  }
}
customElements.define('fl-tiers', Tiers);
