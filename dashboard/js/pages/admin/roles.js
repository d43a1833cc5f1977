// The roles, side by side: what each allows, before the tenant's policies add to it or take from it.

import { get } from '../../api.js';
import { number, t, word } from '../../i18n.js';
import { AdminPage } from '../../parts/admin-page.js';
import { icon } from '../../parts/icons.js';
import { html, nothing, waiting } from '../../parts/part.js';
import { actionName, areaName, byArea } from '../../parts/roles.js';
import { query, withQuery } from '../../router.js';
import { may } from '../../session.js';

/** @typedef {import('../../parts/roles.js').Role} Role */

class Roles extends AdminPage {
  static properties = { roles: { state: true }, counts: { state: true }, policies: { state: true } };

  constructor() {
    super();
    /** @type {Role[] | null} */
    this.roles = null;
    /** How many users have each. @type {Record<string, number>} */
    this.counts = {};
    this.policies = 0;
  }

  connectedCallback() {
    super.connectedCallback();
    this.addEventListener('query', () => this.requestUpdate());
    this.load();
    this.whenBack(() => this.load());
  }

  async load() {
    await this.attempt(async () => {
      const [roles, policies] = await Promise.all([get('/roles'), get('/policies')]);
      this.policies = policies.items.length;
      this.roles = roles.items;
      if (may('users.read')) this.counts = await counts(roles.items);
    });
  }

  /** @param {Role} role */
  card({ role, actions }) {
    const here = query('role') === role;
    return html`<a
      class="sheet role-card"
      href=${withQuery({ role: here ? null : role })}
      aria-current=${here ? 'true' : nothing}
    >
      <span class="name">${word('role', role)}</span>
      <span class="below">${word('role.says', role)}</span>
      <span class="below numeric"
        >${t('roles.actions', { n: actions.length })}${role in this.counts ? html` · ${t('roles.users', { n: this.counts[role] ?? 0 })}` : nothing}</span
      >
    </a>`;
  }

  /** @param {Role[]} roles */
  table(roles) {
    const chosen = roles.find(({ role }) => role === query('role'))?.role ?? null;
    const all = [...new Set(roles.flatMap(({ actions }) => actions))];
    const shownFor = (/** @type {string} */ role) => (role === (chosen ?? roles[0]?.role) ? 'here' : '');
    return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
      <table class="role-table ${chosen ? 'chosen' : ''}">
        <thead>
          <tr>
            <th>${t('roles.action')}</th>
            ${roles.map(({ role }) => html`<th class="role-cell ${shownFor(role)}">${word('role', role)}</th>`)}
          </tr>
        </thead>
        ${byArea(all).map(
          ([area, actions]) =>
            html`<tbody>
              <tr class="area">
                <th colspan=${roles.length + 1} scope="rowgroup">${areaName(area)}</th>
              </tr>
              ${actions.map(
                (action) =>
                  html`<tr>
                    <td>
                      <span class="action-name">${actionName(action)} <code class="faint small">${action}</code></span>
                    </td>
                    ${roles.map(({ role, actions: own }) => html`<td class="role-cell ${shownFor(role)}">${own.includes(action) ? html`<span class="yes" title=${t('yes')}>${icon('check')}<span class="visually-hidden">${t('yes')}</span></span>` : html`<span class="none" aria-label=${t('no')}>–</span>`}</td>`)}
                  </tr>`,
              )}
            </tbody>`,
        )}
      </table>
    </div>`;
  }

  content() {
    const roles = this.roles;
    return html`${this.head(t('admin.roles'), t('roles.sub'))}
    ${
      roles
        ? html`<div class="role-cards">${roles.map((role) => this.card(role))}</div>
            <p class="notice">
              ${t('roles.custom')}
              <a href="/app/admin/policies"
                >${this.policies ? t('roles.policies', { n: number(this.policies) }) : t('roles.policies.none')}</a
              >
            </p>
            <section class="sheet" aria-label=${t('admin.roles')}>${this.table(roles)}</section>`
        : this.problem
          ? nothing
          : html`<div class="sheet">${waiting(8)}</div>`
    }`;
  }
}
customElements.define('fl-roles', Roles);

/** @param {Role[]} roles @returns {Promise<Record<string, number>>} */
async function counts(roles) {
  const found = await Promise.all(roles.map(({ role }) => get(`/users?role=${role}&status=active&limit=1&count=true`)));
  return Object.fromEntries(roles.map(({ role }, at) => [role, found[at].total]));
}
