// Sends a command to a device: which one, with what, and how long it may take.

import { get, post } from '../api.js';
import { number, t } from '../i18n.js';
import { ask, say } from './dialog.js';
import { html, nothing } from './part.js';
import { fields, values } from './schema-form.js';

/** @typedef {{ name: string, description: string | null, params: import('./schema-form.js').Schema }} Type */

/** A key by which a repeat of the request is known. */
export function newKey() {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** How long an attempt may take, and how many there may be. */
export function options() {
  return html`<details>
    <summary>${t('send.options')}</summary>
    <div class="fields">
      <div class="field">
        <label for="timeout">${t('send.timeout')}</label
        ><input
          id="timeout"
          name="timeout"
          type="number"
          min="1"
          max="86400"
          placeholder=${number(30)}
          inputmode="numeric"
        />
        <p class="hint">${t('send.timeout.hint')}</p>
      </div>
      <div class="field">
        <label for="attempts">${t('send.attempts')}</label
        ><input
          id="attempts"
          name="attempts"
          type="number"
          min="1"
          max="10"
          placeholder=${number(3)}
          inputmode="numeric"
        />
        <p class="hint">${t('send.attempts.hint')}</p>
      </div>
    </div>
  </details>`;
}

/**
 * Opens the form. `sent` is told of the command once it is on the record.
 * @param {string} uid
 * @param {(cmdId: string) => void} sent
 */
export async function sendCommand(uid, sent) {
  /** @type {{ items: Type[] }} */
  const { items } = await get('/command-types');
  let type = items[0];
  // A repeat of a request whose answer was lost is the same command. Another choice is another one.
  let key = newKey();
  if (!type) return ask({ heading: t('send.heading', { uid }), content: () => html`<p>${t('send.none')}</p>` });
  const dialog = ask({
    heading: t('send.heading', { uid }),
    confirm: t('send.button'),
    content: () =>
      type &&
      html`<div class="field">
          <label for="cmd">${t('command')}</label
          ><select id="cmd" name="cmd" @change=${choose}>
            ${items.map((one) => html`<option value=${one.name} ?selected=${one === type}>${one.name}</option>`)}</select
          >${type.description ? html`<p class="hint">${type.description}</p>` : nothing}
        </div>
        ${fields(type.params)}${options()}`,
    work: async (form) => {
      if (!type) return;
      const timeout = Number(form.get('timeout'));
      const attempts = Number(form.get('attempts'));
      const body = {
        cmd: type.name,
        params: values(type.params, form),
        ...(timeout ? { timeout_s: timeout } : {}),
        ...(attempts ? { max_attempts: attempts } : {}),
      };
      try {
        const { cmd_id: id, position } = await post(`/devices/${encodeURIComponent(uid)}/commands`, body, { key });
        say(t('send.sent', { position }));
        sent(id);
      } catch (problem) {
        if (/** @type {import('../api.js').Problem} */ (problem).status > 0) key = newKey();
        throw problem;
      }
    },
  });
  /** @param {Event} event */
  function choose(event) {
    type = items.find((one) => one.name === /** @type {HTMLSelectElement} */ (event.target).value);
    key = newKey();
    dialog.requestUpdate();
  }
  return dialog;
}
