// The pages that the links of mails lead to: an invitation, a new password, the proof of an address; and where a mail is asked
// for. A token is the link's fragment, which browsers send to no server.

import { post } from '../api.js';
import { t } from '../i18n.js';
import { Door } from '../parts/door.js';
import { html } from '../parts/part.js';
import '../parts/password.js';

const token = () => new URLSearchParams(location.hash.slice(1)).get('token') ?? '';

/** Takes a used token out of the address and the browser's history. */
const forget = () => history.replaceState(null, '', location.pathname);

class Mailed extends Door {
  constructor() {
    super();
    this.token = token();
  }

  /** What the service refuses where nothing is wrong with the password is the link. */
  get isDead() {
    return this.problem?.status === 422 && !this.problem.of('password') && !this.problem.of('name');
  }

  toLogin() {
    return html`<div class="fields"><a class="button primary" href="/login.html">${t('login.button')}</a></div>`;
  }

  /**
   * What a link without a token leads to.
   * @param {string} title
   * @param {string} sub
   * @param {unknown} [way] The link to where another mail is asked for.
   */
  broken(title, sub, way = '') {
    return this.sheet({
      title,
      sub,
      body: way && html`<div class="fields">${way}</div>`,
      foot: html`<a href="/login.html">${t('mailed.login')}</a>`,
    });
  }
}

class Invitation extends Mailed {
  /** @param {FormData} form */
  async work(form) {
    const name = `${form.get('name')}`.trim();
    await post(
      '/auth/invitation/accept',
      { token: this.token, password: `${form.get('password')}`, ...(name ? { name } : {}) },
      { stranger: true },
    );
    forget();
  }

  render() {
    if (this.done)
      return this.sheet({ title: t('invitation.done'), sub: t('invitation.done.sub'), body: this.toLogin() });
    if (!this.token) return this.broken(t('invitation.title'), t('invitation.broken'));
    const fields = html`<div class="field">
        <label for="name">${t('name')} <span class="faint">${t('optional')}</span></label
        ><input id="name" name="name" autocomplete="name" maxlength="200" />
      </div>
      <fl-password fresh .label=${t('password.new')} .wrong=${this.problem?.of('password') ?? null}></fl-password>`;
    return this.sheet({
      title: t('invitation.title'),
      sub: t('invitation.sub', { host: location.host }),
      body: html`${this.form(fields, t('invitation.button'))}${this.isDead ? html`<p class="sub">${t('invitation.dead')}</p>` : ''}`,
    });
  }
}
customElements.define('fl-invitation', Invitation);

class Reset extends Mailed {
  /** @param {FormData} form */
  async work(form) {
    await post('/auth/password/reset', { token: this.token, password: `${form.get('password')}` }, { stranger: true });
    forget();
  }

  render() {
    if (this.done) return this.sheet({ title: t('reset.done'), sub: t('reset.done.sub'), body: this.toLogin() });
    if (!this.token)
      return this.broken(
        t('reset.title'),
        t('mailed.broken'),
        html`<a class="button primary" href="/app/forgot">${t('forgot.title')}</a>`,
      );
    const fields = html`<fl-password
      fresh
      .label=${t('password.new')}
      .wrong=${this.problem?.of('password') ?? null}
    ></fl-password>`;
    return this.sheet({
      title: t('reset.title'),
      sub: t('reset.sub'),
      body: html`${this.form(fields, t('reset.button'))}${this.isDead ? html`<p class="sub"><a href="/app/forgot">${t('reset.again')}</a></p>` : ''}`,
    });
  }
}
customElements.define('fl-reset', Reset);

class Verify extends Mailed {
  async work() {
    await post('/auth/verify', { token: this.token }, { stranger: true });
    forget();
  }

  render() {
    if (this.done)
      return this.sheet({
        title: t('verify.done'),
        sub: t('verify.done.sub'),
        body: html`<div class="fields"><a class="button primary" href="/app">${t('page.home')}</a></div>`,
      });
    if (!this.token)
      return this.broken(
        t('verify.title'),
        t('verify.broken'),
        html`<a class="button primary" href="/app/account">${t('nav.account')}</a>`,
      );
    // With a button: what only follows links, such as a mail scanner, must not use the token up.
    return this.sheet({
      title: t('verify.title'),
      sub: t('verify.sub'),
      body: html`${this.form('', t('verify.button'))}${this.isDead ? html`<p class="sub">${t('verify.dead')}</p>` : ''}`,
    });
  }
}
customElements.define('fl-verify', Verify);

class Forgot extends Door {
  /** @param {FormData} form */
  async work(form) {
    this.email = `${form.get('email')}`.trim();
    await post('/auth/password/forgot', { email: this.email }, { stranger: true });
  }

  render() {
    const foot = html`<a href="/login.html">${t('mailed.login')}</a>`;
    if (this.done)
      return this.sheet({
        title: t('forgot.done'),
        sub: t('forgot.done.sub', { email: this.email ?? '' }),
        body: '',
        foot,
      });
    return this.sheet({
      title: t('forgot.title'),
      sub: t('forgot.sub'),
      body: this.form(this.addressField(), t('forgot.button')),
      foot,
    });
  }
}
customElements.define('fl-forgot', Forgot);
