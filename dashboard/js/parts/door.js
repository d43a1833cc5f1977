// The sheet of pages for people who have no session: one form, its problem, and what comes after it.

import { t } from '../i18n.js';
import { Part, asProblem, html, shown } from './part.js';

export class Door extends Part {
  static properties = { problem: { state: true }, busy: { state: true }, done: { state: true } };

  constructor() {
    super();
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    this.busy = false;
    this.done = false;
  }

  /** What the form asks for. @param {FormData} _form @returns {Promise<void>} */
  async work(_form) {}

  /** @param {SubmitEvent} event */
  async submit(event) {
    event.preventDefault();
    if (this.busy) return;
    this.busy = true;
    this.problem = null;
    try {
      await this.work(new FormData(/** @type {HTMLFormElement} */ (event.target)));
      this.done = true;
    } catch (error) {
      this.problem = asProblem(error);
    } finally {
      this.busy = false;
    }
  }

  /**
   * @param {{ title: string, sub?: unknown, body: unknown, foot?: unknown }} what
   */
  sheet({ title, sub = '', body, foot = '' }) {
    return html`<div class="door">
      <p class="door-brand"><span class="mark" aria-hidden="true"></span>fleetlog</p>
      <div class="sheet">
        <h1>${title}</h1>
        ${sub ? html`<p class="sub">${sub}</p>` : ''}${body}
      </div>
      ${foot ? html`<div class="door-foot">${foot}</div>` : ''}
    </div>`;
  }

  /** Where people write their address. */
  addressField() {
    return html`<div class="field">
      <label for="email">${t('email')}</label
      ><input
        id="email"
        name="email"
        type="text"
        inputmode="email"
        autocomplete="username"
        autocapitalize="none"
        spellcheck="false"
        required
      />
    </div>`;
  }

  /** @param {unknown} fields @param {string} button */
  form(fields, button) {
    return html`<form class="fields" @submit=${this.submit}>
      ${shown(this.problem, ['password', 'name'])}${fields}<button class="primary" ?disabled=${this.busy}>
        ${button}
      </button>
    </form>`;
  }
}
