// What all devices log in with: who has a credential, whether it is good, and when it was last used.

import { get } from '../../api.js';
import { ago, t, when } from '../../i18n.js';
import { AdminPage } from '../../parts/admin-page.js';
import { credentialKind, credentialState, revokeCredential } from '../../parts/device-credentials.js';
import { icon } from '../../parts/icons.js';
import { empty, html, nothing, waiting } from '../../parts/part.js';
import { go, query, withQuery } from '../../router.js';
import { may } from '../../session.js';

const PAGE = 100;
const STATES = /** @type {const} */ (['', 'ended', 'all']);

/** @typedef {import('../../parts/device-credentials.js').Credential & { uid: string }} Credential */

class Credentials extends AdminPage {
  static properties = { list: { state: true } };

  constructor() {
    super();
    /** @type {Credential[] | null} */
    this.list = null;
    /** @type {string | null} */
    this.next = null;
    this.asked = 0;
    this.typing = 0;
  }

  connectedCallback() {
    super.connectedCallback();
    this.addEventListener('query', () => this.load());
    this.every(30_000, async () => (this.list?.length ?? 0) <= PAGE && this.load());
  }

  /** @param {string | null} [cursor] */
  async load(cursor = null) {
    const asked = (this.asked += 1);
    const which = new URLSearchParams({ limit: `${PAGE}` });
    const [q, state] = [query('q'), query('state') ?? ''];
    if (q) which.set('q', q);
    if (state !== 'all') which.set('active', `${state !== 'ended'}`);
    if (cursor) which.set('cursor', cursor);
    await this.attempt(async () => {
      const page = await get(`/credentials?${which}`);
      if (asked !== this.asked) return;
      this.list = cursor ? [...(this.list ?? []), ...page.items] : page.items;
      this.next = page.next_cursor;
    });
  }

  /** @param {string} text */
  search(text) {
    clearTimeout(this.typing);
    this.typing = window.setTimeout(() => go(withQuery({ q: text.trim() }), { replace: true }), 200);
  }

  /** @param {Credential} one */
  row(one) {
    return html`<tr>
      <td><a href=${`/app/devices/${encodeURIComponent(one.uid)}?tab=credentials`}>${one.uid}</a></td>
      <td>${credentialKind(one)}</td>
      <td>${credentialState(one)}</td>
      <td class="wide">${when(one.created_at)}</td>
      <td class="wide">${ago(one.last_used_at)}</td>
      <td class="wide">${one.expires_at ? when(one.expires_at) : html`<span class="none">${t('never')}</span>`}</td>
      ${
        may('credentials.write')
          ? html`<td class="end wide">
              ${one.active ? html`<button @click=${() => revokeCredential(one.uid, one.credential_id, () => this.load())}>${t('credentials.revoke.button')}</button>` : nothing}
            </td>`
          : nothing
      }
    </tr>`;
  }

  table() {
    if (!this.list) return this.problem ? nothing : waiting(6);
    if (this.list.length === 0)
      return query('q') || query('state')
        ? empty(t('credentials.fleet.none'), html`<a href="/app/admin/credentials">${t('credentials.fleet.good')}</a>`)
        : empty(
            t('credentials.fleet.first'),
            html`<p>${t('credentials.fleet.first.next')} <a href="/app/devices">${t('nav.devices')}</a></p>`,
          );
    return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
        <table>
          <thead>
            <tr>
              <th>${t('device')}</th>
              <th>${t('credentials.kind')}</th>
              <th>${t('status')}</th>
              <th class="wide">${t('credentials.issued')}</th>
              <th class="wide">${t('account.used')}</th>
              <th class="wide">${t('credentials.expires')}</th>
              ${may('credentials.write') ? html`<th class="wide"><span class="visually-hidden">${t('actions')}</span></th>` : nothing}
            </tr>
          </thead>
          <tbody>
            ${this.list.map((one) => this.row(one))}
          </tbody>
        </table>
      </div>
      ${this.next ? html`<div class="more"><button @click=${() => this.load(this.next)}>${t('more')}</button></div>` : nothing}`;
  }

  content() {
    const state = query('state') ?? '';
    return html`${this.head(t('admin.credentials'), t('credentials.fleet.sub'))}
      <section class="sheet" aria-label=${t('admin.credentials')}>
        <div class="sheet-head filters">
          <div class="search">
            ${icon('search')}<input
              type="search"
              aria-label=${t('credentials.fleet.search')}
              placeholder=${t('credentials.fleet.search')}
              .value=${query('q') ?? ''}
              @input=${(/** @type {InputEvent} */ event) => this.search(/** @type {HTMLInputElement} */ (event.target).value)}
            />
          </div>
          <div class="choices" role="group" aria-label=${t('status')}>
            ${STATES.map((one) => html`<a href=${withQuery({ state: one })} aria-current=${state === one ? 'true' : nothing}>${t(`credentials.fleet.${one || 'good'}`)}</a>`)}
          </div>
        </div>
        ${this.table()}
      </section>`;
  }
}
customElements.define('fl-credentials', Credentials);
