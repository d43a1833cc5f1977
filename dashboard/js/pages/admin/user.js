// One user: what they may do, where they are logged in, and what was changed of them.

import { get, patch, remove } from '../../api.js';
import { t, when, word } from '../../i18n.js';
import { AdminPage } from '../../parts/admin-page.js';
import { ask, say } from '../../parts/dialog.js';
import { choiceField, textField, textOf } from '../../parts/fields.js';
import { commandLine } from '../../parts/command-line.js';
import { empty, html, nothing, waiting } from '../../parts/part.js';
import { pill } from '../../parts/pills.js';
import { roleOptions } from '../../parts/roles.js';
import { sessionList } from '../../parts/session-list.js';
import '../../parts/stream-history.js';
import { may, me } from '../../session.js';
import { inviteAgain, withdraw } from './users.js';

/** @typedef {import('./users.js').User} User */

class UserPage extends AdminPage {
  static properties = { user: { state: true }, sessions: { state: true }, changes: { state: true } };

  constructor() {
    super();
    /** @type {User | null} */
    this.user = null;
    /** @type {import('../../parts/session-list.js').Session[] | null} */
    this.sessions = null;
    /** How often something was changed here: the history is read anew. */
    this.changes = 0;
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(15_000, () => this.load());
  }

  get path() {
    return `/users/${this.params.id}`;
  }

  async load() {
    await this.attempt(async () => {
      const [user, sessions] = await Promise.all([get(this.path), get(`${this.path}/sessions`)]);
      this.user = user;
      this.sessions = sessions.items;
    });
  }

  async changed() {
    await this.load();
    this.changes += 1;
  }

  /** @param {User} user */
  edit(user) {
    ask({
      heading: t('users.edit', { name: user.name ?? user.email }),
      confirm: t('save'),
      fields: ['name', 'role'],
      content: (problem) => [
        textField({ name: 'name', label: t('name'), value: user.name ?? '', most: 200, optional: !user.name, problem }),
        choiceField({
          name: 'role',
          label: t('account.role'),
          options: roleOptions(),
          value: user.role,
          hint: t('users.role.hint'),
          problem,
        }),
      ],
      work: async (form) => {
        const [name, role] = [textOf(form, 'name'), form.get('role')];
        const changes = { ...(name && name !== user.name ? { name } : {}), ...(role === user.role ? {} : { role }) };
        if (Object.keys(changes).length === 0) return;
        await patch(this.path, changes);
        say(t('users.saved'));
        await this.changed();
      },
    });
  }

  /** @param {User} user */
  deactivate(user) {
    ask({
      heading: t('users.deactivate.title', { name: user.name ?? user.email }),
      confirm: t('users.deactivate'),
      danger: true,
      content: () => html`<p>${t('users.deactivate.why')}</p>`,
      work: async () => {
        await patch(this.path, { active: false });
        say(t('users.deactivated'));
        await this.changed();
      },
    });
  }

  reactivate() {
    return this.attempt(async () => {
      await patch(this.path, { active: true });
      say(t('users.reactivated'));
      await this.changed();
    });
  }

  endSessions() {
    ask({
      heading: t('users.end.title'),
      confirm: t('users.end'),
      danger: true,
      content: () => html`<p>${t('users.end.why')}</p>`,
      work: async () => {
        await remove(`${this.path}/sessions`);
        say(t('account.ended'));
        await this.load();
      },
    });
  }

  /** @param {User} user */
  actions(user) {
    if (!may('users.write')) return nothing;
    const own = user.user_id === me()?.user_id;
    const { status } = user;
    return html`<button @click=${() => this.edit(user)}>${t('edit')}</button>
      ${status === 'invited' ? html`<button @click=${() => this.attempt(() => inviteAgain(user).then(() => this.changed()))}>${t('users.again')}</button><button class="danger" @click=${() => withdraw(user, () => this.changed())}>${t('users.withdraw')}</button>` : nothing}
      ${status === 'active' && !own ? html`<button class="danger" @click=${() => this.deactivate(user)}>${t('users.deactivate')}</button>` : nothing}
      ${status === 'deactivated' ? html`<button class="primary" @click=${this.reactivate}>${t('users.reactivate')}</button>` : nothing}`;
  }

  /** @param {User} user */
  facts(user) {
    return html`<section class="sheet" aria-labelledby="facts">
      <div class="sheet-head"><h2 id="facts" class="grow">${t('about')}</h2></div>
      <dl class="facts sheet-body">
        <dt>${t('email')}</dt>
        <dd>
          ${user.email} ${user.verified ? nothing : html`<span class="faint">· ${t('account.unverified')}</span>`}
        </dd>
        <dt>${t('account.role')}</dt>
        <dd>
          ${may('policies.read') ? html`<a href=${`/app/admin/roles?role=${user.role}`}>${word('role', user.role)}</a>` : word('role', user.role)}
          <div class="muted small">${word('role.says', user.role)}</div>
        </dd>
        <dt>${t('users.since')}</dt>
        <dd>${when(user.created_at)}</dd>
        <dt>${t('users.id')}</dt>
        <dd>${commandLine(user.user_id)}</dd>
        ${
          may('policies.read') || may('events.read')
            ? html`<dt>${t('users.look')}</dt>
                <dd class="links">
                  ${may('policies.read') ? html`<a href=${`/app/admin/check?user=${user.user_id}`}>${t('users.may')}</a>` : nothing}
                  ${may('events.read') ? html`<a href=${`/app/events?actor=${user.user_id}`}>${t('users.did')}</a>` : nothing}
                </dd>`
            : nothing
        }
      </dl>
    </section>`;
  }

  openSessions() {
    const some = this.sessions && this.sessions.length > 0;
    return html`<section class="sheet" aria-labelledby="sessions">
      <div class="sheet-head">
        <h2 id="sessions" class="grow">${t('account.sessions')}</h2>
        ${some && may('users.write') && this.user?.user_id !== me()?.user_id ? html`<button @click=${this.endSessions}>${t('users.end')}</button>` : nothing}
      </div>
      ${!this.sessions ? waiting(3) : some ? sessionList(this.sessions, null) : empty(t('users.sessions.none'), t('users.sessions.none.next'))}
    </section>`;
  }

  content() {
    const { user } = this;
    const up = { path: '/app/admin/users', key: /** @type {const} */ ('admin.users') };
    if (!user)
      return html`${this.head(t('admin.user'), ' ', { up })}${this.problem ? nothing : html`<div class="sheet">${waiting(6)}</div>`}`;
    const title = user.name ?? user.email;
    return html`${this.head(title, user.name ? user.email : ' ', { up, actions: this.actions(user), beside: html`<span class="beside">${pill('user', user.status)}</span>` })}
      ${user.status === 'invited' ? html`<p class="notice">${t('users.pending')}</p>` : nothing}
      <div class="stack">
        <div class="grid two">
          ${this.facts(user)}
          <fl-stream-history .name=${user.user_id} kind="User" .version=${this.changes}></fl-stream-history>
        </div>
        ${this.openSessions()}
      </div>`;
  }
}
customElements.define('fl-user', UserPage);
