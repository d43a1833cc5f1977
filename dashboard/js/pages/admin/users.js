// The tenant's users: find them, invite them, and see who has not come yet.

import { get, patch, post } from '../../api.js';
import { ago, t, word } from '../../i18n.js';
import { AdminPage } from '../../parts/admin-page.js';
import { ask, say } from '../../parts/dialog.js';
import { choiceField, textField, textOf } from '../../parts/fields.js';
import { icon } from '../../parts/icons.js';
import { empty, html, nothing, waiting } from '../../parts/part.js';
import '../../parts/password.js';
import { pill } from '../../parts/pills.js';
import { ROLES, roleOptions } from '../../parts/roles.js';
import { go, query, withQuery } from '../../router.js';
import { may, me } from '../../session.js';

const PAGE = 50;
const EVERY = 20_000;
const STATES = /** @type {const} */ (['', 'active', 'invited', 'deactivated']);

/**
 * @typedef {{
 *   user_id: string, email: string, name: string | null, role: string, status: 'active' | 'invited' | 'deactivated',
 *   verified: boolean, created_at: string
 * }} User
 */

/** The page of a user. @param {string} id */
export const userPath = (id) => `/app/admin/users/${id}`;

/** Mails another invitation. @param {User} user */
export async function inviteAgain(user) {
  await post(`/users/${user.user_id}/invitation`, undefined);
  say(t('users.invited', { email: user.email }));
}

/** Takes an invitation back, after a question. @param {User} user @param {() => unknown} then */
export function withdraw(user, then) {
  ask({
    heading: t('users.withdraw.title', { email: user.email }),
    confirm: t('users.withdraw'),
    danger: true,
    content: () => html`<p>${t('users.withdraw.why')}</p>`,
    work: async () => {
      await patch(`/users/${user.user_id}`, { active: false });
      say(t('users.withdrawn'));
      await then();
    },
  });
}

class Users extends AdminPage {
  static properties = { list: { state: true }, total: { state: true } };

  constructor() {
    super();
    /** @type {User[] | null} */
    this.list = null;
    /** @type {string | null} */
    this.next = null;
    /** @type {number | null} */
    this.total = null;
    this.typing = 0;
    this.asked = 0;
  }

  connectedCallback() {
    super.connectedCallback();
    this.addEventListener('query', () => this.load());
    // A list that has been read on is not shortened under its reader.
    this.every(EVERY, async () => (this.list?.length ?? 0) <= PAGE && this.load());
  }

  /** @param {string | null} [cursor] */
  async load(cursor = null) {
    const asked = (this.asked += 1);
    const which = new URLSearchParams({ limit: `${PAGE}`, count: 'true' });
    for (const name of ['q', 'role', 'status']) {
      const value = query(name);
      if (value) which.set(name, value);
    }
    if (cursor) which.set('cursor', cursor);
    await this.attempt(async () => {
      const page = await get(`/users?${which}`);
      if (asked !== this.asked) return;
      this.next = page.next_cursor;
      this.total = page.total;
      this.list = cursor ? [...(this.list ?? []), ...page.items] : page.items;
    });
  }

  invite() {
    let way = 'mail';
    const dialog = ask({
      heading: t('users.invite'),
      confirm: t('users.invite.button'),
      fields: ['email', 'name', 'password'],
      content: (problem) =>
        html`${textField({ name: 'email', label: t('email'), type: 'email', problem })}${textField({ name: 'name', label: t('name'), most: 200, optional: true, problem })}${choiceField(
            {
              name: 'role',
              label: t('account.role'),
              options: roleOptions(),
              value: 'viewer',
              hint: html`<a href="/app/admin/roles" @click=${() => dialog.close()}>${t('users.role.more')}</a>`,
            },
          )}
          <div class="field">
            <span class="field-label" id="way">${t('users.way')}</span>
            <div class="choices" role="group" aria-labelledby="way">
              ${['mail', 'password'].map(
                (one) =>
                  html`<button
                    type="button"
                    aria-pressed=${way === one}
                    @click=${() => {
                      way = one;
                      dialog.requestUpdate();
                    }}
                  >
                    ${word('users.way', one)}
                  </button>`,
              )}
            </div>
            <p class="hint">${word('users.way', `${way}.says`)}</p>
          </div>
          ${way === 'password' ? html`<fl-password name="password" fresh .label=${t('password')} .wrong=${problem?.of('password') ?? null}></fl-password>` : nothing}`,
      work: async (form) => {
        const [email, name] = [textOf(form, 'email'), textOf(form, 'name')];
        const user = await post('/users', {
          email,
          role: form.get('role'),
          ...(name ? { name } : {}),
          ...(way === 'password' ? { password: `${form.get('password')}` } : {}),
        });
        say(t(way === 'mail' ? 'users.invited' : 'users.added', { email: user.email }));
        await this.load();
      },
    });
  }

  /** @param {string} text */
  search(text) {
    clearTimeout(this.typing);
    this.typing = window.setTimeout(() => go(withQuery({ q: text.trim() }), { replace: true }), 200);
  }

  /** @param {User} user */
  row(user) {
    return html`<tr>
      <td>
        <a class="device-name" href=${userPath(user.user_id)}
          >${user.name ?? user.email}${user.name ? html`<span class="faint">${user.email}</span>` : nothing}</a
        ><span class="small muted only-small">${word('role', user.role)}</span>
      </td>
      <td class="wide">
        ${word('role', user.role)}${user.user_id === me()?.user_id ? html` <span class="pill calm">${t('you')}</span>` : nothing}
      </td>
      <td>${pill('user', user.status)}</td>
      <td class="wide">${ago(user.created_at)}</td>
      ${
        may('users.write')
          ? html`<td class="end wide">
              ${
                user.status === 'invited'
                  ? html`<span class="row-actions"
                      ><button @click=${() => this.attempt(() => inviteAgain(user))}>${t('users.again')}</button
                      ><button @click=${() => withdraw(user, () => this.load())}>${t('users.withdraw')}</button></span
                    >`
                  : nothing
              }
            </td>`
          : nothing
      }
    </tr>`;
  }

  table() {
    if (!this.list) return this.problem ? nothing : waiting(6);
    if (this.list.length === 0) {
      const invited = query('status') === 'invited' && !query('q') && !query('role');
      return empty(
        t(invited ? 'users.none.invited' : 'users.none'),
        html`<p>${t('users.none.next')}</p>
          <p><a href="/app/admin/users">${t('users.all')}</a></p>`,
      );
    }
    return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
        <table>
          <thead>
            <tr>
              <th>${t('admin.user')}</th>
              <th class="wide">${t('account.role')}</th>
              <th>${t('status')}</th>
              <th class="wide">${t('users.since')}</th>
              ${may('users.write') ? html`<th class="wide"><span class="visually-hidden">${t('actions')}</span></th>` : nothing}
            </tr>
          </thead>
          <tbody>
            ${this.list.map((user) => this.row(user))}
          </tbody>
        </table>
      </div>
      ${this.next ? html`<div class="more"><button @click=${() => this.load(this.next)}>${t('more')}</button></div>` : nothing}`;
  }

  content() {
    const invite = html`<button class="primary" @click=${this.invite}>${icon('plus')}${t('users.invite')}</button>`;
    const sub = this.total === null ? ' ' : t('users.total', { n: this.total });
    return html`${this.head(t('admin.users'), sub, may('users.write') ? { actions: invite } : {})}
      <section class="sheet" aria-label=${t('admin.users')}>
        <div class="sheet-head filters">
          <div class="search">
            ${icon('search')}<input
              type="search"
              aria-label=${t('users.search')}
              placeholder=${t('users.search')}
              .value=${query('q') ?? ''}
              @input=${(/** @type {InputEvent} */ event) => this.search(/** @type {HTMLInputElement} */ (event.target).value)}
            />
          </div>
          <div class="choices" role="group" aria-label=${t('status')}>
            ${STATES.map((one) => html`<a href=${withQuery({ status: one })} aria-current=${(query('status') ?? '') === one ? 'true' : nothing}>${word('users.state', one || 'all')}</a>`)}
          </div>
          <select
            aria-label=${t('account.role')}
            @change=${(/** @type {Event} */ event) => go(withQuery({ role: /** @type {HTMLSelectElement} */ (event.target).value }))}
          >
            <option value="">${t('users.role.all')}</option>
            ${ROLES.map((role) => html`<option value=${role} ?selected=${query('role') === role}>${word('role', role)}</option>`)}
          </select>
        </div>
        ${this.table()}
      </section>`;
  }
}
customElements.define('fl-users', Users);
