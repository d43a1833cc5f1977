// The tenant's own policies: what they add to roles and keys, or take from them.

import { get } from '../../api.js';
import { ago, t } from '../../i18n.js';
import { AdminPage } from '../../parts/admin-page.js';
import { effectOf } from '../../parts/cedar.js';
import { icon } from '../../parts/icons.js';
import { empty, html, nothing, waiting } from '../../parts/part.js';
import { people } from '../../parts/people.js';
import { EXAMPLES } from '../../parts/policy-examples.js';
import { who } from '../../parts/who.js';
import { may } from '../../session.js';

/** How many policies a tenant may have. */
const MOST = 100;

/** @typedef {{ name: string, source: string, description: string | null, updated_at: string, updated_by: string }} Policy */

/** @param {string} name */
export const policyPath = (name) => `/app/admin/policies/${encodeURIComponent(name)}`;

/** Whether a policy permits or forbids, as a coloured word. @param {string} source */
export function effect(source) {
  const is = effectOf(source);
  return html`<span class="pill ${is === 'permit' ? 'good' : 'bad'}"
    ><span class="dot"></span>${t(`policies.${is}`)}</span
  >`;
}

class Policies extends AdminPage {
  static properties = { list: { state: true } };

  constructor() {
    super();
    /** @type {Policy[] | null} */
    this.list = null;
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(20_000, () => this.load());
  }

  async load() {
    await this.attempt(async () => {
      const [policies] = await Promise.all([get('/policies'), people().catch(() => [])]);
      this.list = policies.items;
    });
  }

  table() {
    if (!this.list) return this.problem ? nothing : waiting(5);
    if (this.list.length === 0)
      return empty(
        t('policies.none'),
        html`<p>${t('policies.none.next')}</p>
          ${may('policies.write') ? examples() : nothing}`,
      );
    return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
      <table>
        <thead>
          <tr>
            <th>${t('policies.policy')}</th>
            <th>${t('policies.effect')}</th>
            <th class="wide">${t('policies.by')}</th>
            <th class="wide">${t('policies.changed')}</th>
          </tr>
        </thead>
        <tbody>
          ${this.list.map(
            (policy) =>
              html`<tr>
                <td>
                  <a class="device-name" href=${policyPath(policy.name)}
                    >${policy.name}${policy.description ? html`<span class="faint">${policy.description}</span>` : nothing}</a
                  >
                </td>
                <td>${effect(policy.source)}</td>
                <td class="wide" title=${policy.updated_by}>${who(policy.updated_by)}</td>
                <td class="wide">${ago(policy.updated_at)}</td>
              </tr>`,
          )}
        </tbody>
      </table>
    </div>`;
  }

  content() {
    const actions = html`<a class="button" href="/app/admin/check">${t('admin.check')}</a
      >${may('policies.write') ? html`<a class="button primary" href="/app/admin/new-policy">${icon('plus')}${t('policies.new')}</a>` : nothing}`;
    const sub = this.list?.length ? t('policies.total', { n: this.list.length, most: MOST }) : t('policies.sub');
    return html`${this.head(t('admin.policies'), sub, { actions })}
      <section class="sheet" aria-label=${t('admin.policies')}>${this.table()}</section>`;
  }
}
customElements.define('fl-policies', Policies);

/** Links to new policies that begin with an example. */
export const examples = () =>
  html`<ul class="examples">
    ${EXAMPLES.map(({ name, key }) => html`<li><a class="button" href=${`/app/admin/new-policy?example=${name}`}>${t(key)}</a></li>`)}
  </ul>`;
