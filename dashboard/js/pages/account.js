// The viewer's own account: who they are, their sessions, their password, and how this browser shows things.

import { get, patch, post, remove } from '../api.js';
import { chooseLanguage, language, t, word } from '../i18n.js';
import { ask, say } from '../parts/dialog.js';
import { AskingPart, asProblem, html, nothing, shown, waiting } from '../parts/part.js';
import '../parts/password.js';
import { sessionList } from '../parts/session-list.js';
import { changed, logOut, me } from '../session.js';
import { chooseTheme, theme } from '../settings.js';

/** @typedef {import('../parts/session-list.js').Session} Session */

class Account extends AskingPart {
  static properties = { sessions: { state: true } };

  constructor() {
    super();
    /** @type {Session[] | null} */
    this.sessions = null;
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(30_000, () => this.load());
  }

  load() {
    return this.attempt(async () => {
      this.sessions = (await get('/auth/sessions')).items;
    });
  }

  /** @param {Session | null} session Without one: all others. */
  async end(session) {
    try {
      await remove(session ? `/auth/sessions/${session.session_id}` : '/auth/sessions');
      say(t('account.ended'));
    } catch (error) {
      this.problem = asProblem(error);
    }
    await this.load();
  }

  rename() {
    ask({
      heading: t('account.rename'),
      confirm: t('save'),
      fields: ['name'],
      content: (problem) =>
        html`<div class="field">
          <label for="own-name">${t('name')}</label
          ><input
            id="own-name"
            name="name"
            required
            maxlength="200"
            .value=${me()?.name ?? ''}
          />${problem?.of('name') ? html`<p class="wrong">${problem.of('name')}</p>` : nothing}
        </div>`,
      work: async (form) => {
        changed(await patch('/auth/me', { name: `${form.get('name')}`.trim() }));
        this.requestUpdate();
      },
    });
  }

  changePassword() {
    ask({
      heading: t('account.password'),
      confirm: t('account.password.button'),
      fields: ['current', 'new'],
      content: (problem) =>
        html`<p>${t('account.password.why')}</p>
          <fl-password
            name="current"
            .label=${t('password.current')}
            .wrong=${problem?.of('current') ?? null}
          ></fl-password>
          <fl-password
            name="new"
            fresh
            .label=${t('password.new')}
            .known=${[me()?.email ?? '', me()?.name ?? '']}
            .wrong=${problem?.of('new') ?? null}
          ></fl-password>`,
      work: async (form) => {
        await post('/auth/password', { current: `${form.get('current')}`, new: `${form.get('new')}` });
        say(t('account.password.done'));
        await this.load();
      },
    });
  }

  async verify() {
    try {
      await post('/auth/verify/resend', undefined);
      say(t('account.verify.sent'));
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  profile() {
    const user = me();
    if (!user) return nothing;
    return html`<section class="sheet" aria-labelledby="profile">
      <div class="sheet-head">
        <h2 id="profile" class="grow">${t('account.profile')}</h2>
        <button @click=${this.rename}>${t('account.rename')}</button
        ><button @click=${this.changePassword}>${t('account.password')}</button>
      </div>
      <dl class="facts sheet-body">
        <dt>${t('name')}</dt>
        <dd>${user.name ?? html`<span class="none">–</span>`}</dd>
        <dt>${t('email')}</dt>
        <dd>
          ${user.email}
          ${user.verified ? nothing : html`<span class="faint">· ${t('account.unverified')}</span> <button class="link" @click=${this.verify}>${t('account.verify')}</button>`}
        </dd>
        <dt>${t('account.role')}</dt>
        <dd>${word('role', user.role)}</dd>
        <dt>${t('account.tenant')}</dt>
        <dd>
          <a href="/app/admin/usage"><code>${user.tenant}</code></a>
        </dd>
      </dl>
    </section>`;
  }

  looks() {
    const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
    return html`<section class="sheet" aria-labelledby="looks">
      <div class="sheet-head"><h2 id="looks">${t('account.browser')}</h2></div>
      <div class="sheet-body fields">
        <div class="field">
          <span class="field-label" id="theme-label">${t('theme')}</span>
          <div class="choices" role="group" aria-labelledby="theme-label">
            ${
              /** @type {const} */ (['system', 'light', 'dark']).map(
                (one) =>
                  html`<button
                    aria-pressed=${theme() === one}
                    @click=${() => {
                      chooseTheme(one);
                      this.requestUpdate();
                    }}
                  >
                    ${word('theme', one)}
                  </button>`,
              )
            }
          </div>
        </div>
        <div class="field">
          <span class="field-label" id="language-label">${t('account.language')}</span>
          <div class="choices" role="group" aria-labelledby="language-label">
            <button lang="en" aria-pressed=${language === 'en'} @click=${() => chooseLanguage('en')}>English</button
            ><button lang="vi" aria-pressed=${language === 'vi'} @click=${() => chooseLanguage('vi')}>
              Tiếng Việt
            </button>
          </div>
        </div>
        <p class="hint muted small">${zone === 'UTC' ? t('account.zone.utc') : t('account.zone', { zone })}</p>
      </div>
    </section>`;
  }

  list() {
    return this.sessions ? sessionList(this.sessions, (session) => this.end(session)) : waiting(3);
  }

  render() {
    const others = (this.sessions?.length ?? 0) > 1;
    return html`<div class="page-head">
        <h1 class="grow">${t('nav.account')}</h1>
        <button @click=${() => logOut().catch((error) => (this.problem = asProblem(error)))}>
          ${t('account.logout')}
        </button>
      </div>
      ${shown(this.problem)}
      <div class="grid two">${this.profile()}${this.looks()}</div>
      <section class="sheet" aria-labelledby="sessions">
        <div class="sheet-head">
          <h2 id="sessions" class="grow">${t('account.sessions')}</h2>
          ${others ? html`<button @click=${() => this.end(null)}>${t('account.end.others')}</button>` : nothing}
        </div>
        ${this.list()}
      </section>`;
  }
}
customElements.define('fl-account', Account);
