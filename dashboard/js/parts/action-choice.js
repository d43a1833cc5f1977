// A choice of actions, by what they are about.

import { t } from '../i18n.js';
import { Part, html } from './part.js';
import { actionName, areaName, byArea } from './roles.js';

class ActionChoice extends Part {
  static properties = { actions: { attribute: false }, chosen: { state: true } };

  constructor() {
    super();
    /** What can be chosen. @type {string[]} */
    this.actions = [];
    /** @type {Set<string>} */
    this.chosen = new Set();
  }

  /** @param {string[]} actions @param {boolean} on */
  choose(actions, on) {
    const next = new Set(this.chosen);
    for (const action of actions) {
      if (on) next.add(action);
      else next.delete(action);
    }
    this.chosen = next;
  }

  render() {
    const reads = this.actions.filter((action) => action.endsWith('.read'));
    return html`<fieldset class="action-choice">
      <legend>${t('keys.actions')}</legend>
      <div class="actions">
        <button type="button" @click=${() => (this.chosen = new Set(reads))}>${t('keys.actions.read')}</button
        ><button type="button" @click=${() => (this.chosen = new Set(this.actions))}>${t('keys.actions.all')}</button
        ><button type="button" @click=${() => (this.chosen = new Set())}>${t('keys.actions.none')}</button>
        <span class="muted small" role="status">${t('keys.actions.chosen', { n: this.chosen.size })}</span>
      </div>
      <div class="action-areas">
        ${byArea(this.actions).map(
          ([area, actions]) =>
            html`<div>
              <p class="area">${areaName(area)}</p>
              ${actions.map(
                (action) =>
                  html`<label class="check"
                    ><input
                      type="checkbox"
                      name="actions"
                      value=${action}
                      .checked=${this.chosen.has(action)}
                      @change=${(/** @type {Event} */ event) => this.choose([action], /** @type {HTMLInputElement} */ (event.target).checked)}
                    /><span>${actionName(action)} <code class="faint small">${action}</code></span></label
                  >`,
              )}
            </div>`,
        )}
      </div>
    </fieldset>`;
  }
}
customElements.define('fl-action-choice', ActionChoice);
