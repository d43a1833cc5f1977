// The login.

import { chooseLanguage, language, t } from '../i18n.js';
import { Door } from '../parts/door.js';
import { html } from '../parts/part.js';
import '../parts/password.js';
import { logIn } from '../session.js';

class Login extends Door {
  /** @param {FormData} form */
  async work(form) {
    await logIn(`${form.get('email')}`.trim(), `${form.get('password')}`);
  }

  render() {
    const fields = html`${this.addressField()}<fl-password .label=${t('password')}></fl-password>`;
    const other = language === 'en' ? 'vi' : 'en';
    return this.sheet({
      title: t('login.title'),
      sub: t('login.sub', { host: location.host }),
      body: this.form(fields, t('login.button')),
      foot: html`<a href="/app/forgot">${t('login.forgot')}</a
        ><button class="link" lang=${other} @click=${() => chooseLanguage(other)}>
          ${other === 'vi' ? 'Tiếng Việt' : 'English'}
        </button>`,
    });
  }

  firstUpdated() {
    /** @type {HTMLElement | null} */ (this.querySelector('#email'))?.focus();
  }
}
customElements.define('fl-login', Login);
