// The credentials of a device: issue one, see its secret once, revoke one.

import { get, post, remove } from '../api.js';
import { ago, t, when } from '../i18n.js';
import { may } from '../session.js';
import { commandLine } from './command-line.js';
import { ask, say } from './dialog.js';
import { icon } from './icons.js';
import { AskingPart, empty, html, nothing, shown, waiting } from './part.js';
import './publish-line.js';

/**
 * @typedef {{
 *   credential_id: string, certificate: { sha256?: string, subject?: string } | null, active: boolean, behind:
 *   unknown, created_at: string, created_by: string, expires_at: string | null, revoked_at: string | null,
 *   last_used_at: string | null
 * }} Credential
 */

/** What a device shows to log in. @param {Credential} one */
export function credentialKind(one) {
  const kind = one.certificate
    ? html`${t('credentials.certificate')}
        <code class="small">${one.certificate.subject ?? one.certificate.sha256?.slice(0, 16)}</code>`
    : t('password');
  return html`${kind}${one.behind ? html` <span class="pill calm">${t('credentials.gateway')}</span>` : nothing}
    <div class="faint small mono">${one.credential_id.slice(0, 13)}…</div>`;
}

/** Whether it is good, and why not. @param {Credential} one */
export function credentialState({ active, revoked_at, expires_at }) {
  if (active) return html`<span class="pill good"><span class="dot"></span>${t('credentials.good')}</span>`;
  const isExpired = expires_at && new Date(expires_at) <= new Date();
  const why = revoked_at ? 'credentials.is_revoked' : isExpired ? 'credentials.is_expired' : 'device.decommissioned';
  return html`<span class="pill calm"><span class="dot"></span>${t(why)}</span>`;
}

/** Revokes a credential, after a question. @param {string} uid @param {string} id @param {() => unknown} then */
export function revokeCredential(uid, id, then) {
  ask({
    heading: t('credentials.revoke'),
    confirm: t('credentials.revoke.button'),
    danger: true,
    content: () => html`<p>${t('credentials.revoke.why')}</p>`,
    work: async () => {
      const { position } = await remove(`/devices/${encodeURIComponent(uid)}/credentials/${id}`);
      say(t('credentials.revoked', { position }));
      await then();
    },
  });
}

class DeviceCredentials extends AskingPart {
  static properties = { uid: {}, inService: { attribute: false }, list: { state: true } };

  constructor() {
    super();
    this.uid = '';
    this.inService = false;
    /** @type {Credential[] | null} */
    this.list = null;
  }

  get path() {
    return `/devices/${encodeURIComponent(this.uid)}/credentials`;
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(30_000, () => this.load());
  }

  load() {
    return this.attempt(async () => {
      this.list = (await get(this.path)).items;
    });
  }

  issue() {
    ask({
      heading: t('credentials.issue'),
      confirm: t('credentials.issue.button'),
      fields: ['expires_at'],
      content: (problem) =>
        html`<p>${t('credentials.issue.why')}</p>
          <div class="field">
            <label for="expires">${t('credentials.expires')} <span class="faint">${t('optional')}</span></label
            ><input
              id="expires"
              name="expires"
              type="datetime-local"
            />${problem?.of('expires_at') ? html`<p class="wrong">${problem.of('expires_at')}</p>` : nothing}
          </div>
          ${
            this.list?.some((one) => one.active)
              ? html`<div class="field">
                  <label for="others">${t('credentials.others')}</label
                  ><select id="others" name="others">
                    <option value="">${t('credentials.others.keep')}</option>
                    <option value="86400">${t('credentials.others.day')}</option>
                    <option value="3600">${t('credentials.others.hour')}</option>
                    <option value="0">${t('credentials.others.now')}</option>
                  </select>
                  <p class="hint">${t('credentials.others.hint')}</p>
                </div>`
              : nothing
          }`,
      work: async (form) => {
        const [expires, others] = [`${form.get('expires')}`, form.get('others')];
        const issued = await post(this.path, {
          ...(expires ? { expires_at: new Date(expires).toISOString() } : {}),
          ...(others ? { revoke_others_in_s: Number(others) } : {}),
        });
        await this.load();
        this.tell(issued);
      },
    });
  }

  /** @param {{ username: string, password: string }} issued */
  tell({ username, password }) {
    ask({
      heading: t('credentials.secret'),
      content: () =>
        html`<p class="notice warn">${t('credentials.once')}</p>
          <div class="secret">
            <span class="field-label">${t('credentials.username')}</span>${commandLine(username)}<span
              class="field-label"
              >${t('password')}</span
            >${commandLine(password)} <span class="field-label">${t('credentials.try')}</span
            ><fl-publish-line .uid=${this.uid} .login=${{ username, password }}></fl-publish-line>
          </div>`,
    });
  }

  /** @param {Credential} credential */
  revoke(credential) {
    revokeCredential(this.uid, credential.credential_id, () => this.load());
  }

  /** @param {Credential} one */
  row(one) {
    return html`<tr>
      <td>${credentialKind(one)}</td>
      <td>${credentialState(one)}</td>
      <td class="wide">${when(one.created_at)}</td>
      <td class="wide">${ago(one.last_used_at)}</td>
      <td class="wide">${one.expires_at ? when(one.expires_at) : html`<span class="none">${t('never')}</span>`}</td>
      <td class="end">
        ${one.active && this.inService && may('credentials.write') ? html`<button @click=${() => this.revoke(one)}>${t('credentials.revoke.button')}</button>` : nothing}
      </td>
    </tr>`;
  }

  render() {
    const issue =
      this.inService && may('credentials.write')
        ? html`<button class="primary" @click=${this.issue}>${icon('key')}${t('credentials.issue')}</button>`
        : nothing;
    const body = !this.list
      ? this.problem
        ? nothing
        : waiting(3)
      : this.list.length === 0
        ? empty(t('credentials.none'), html`<p>${t('credentials.none.next')}</p>`)
        : html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
            <table>
              <thead>
                <tr>
                  <th>${t('credentials.kind')}</th>
                  <th>${t('status')}</th>
                  <th class="wide">${t('credentials.issued')}</th>
                  <th class="wide">${t('account.used')}</th>
                  <th class="wide">${t('credentials.expires')}</th>
                  <th><span class="visually-hidden">${t('actions')}</span></th>
                </tr>
              </thead>
              <tbody>
                ${this.list.map((one) => this.row(one))}
              </tbody>
            </table>
          </div>`;
    return html`${shown(this.problem)}
      <section class="sheet" aria-labelledby="credentials">
        <div class="sheet-head">
          <h2 id="credentials" class="grow">${t('credentials')}</h2>
          ${issue}
        </div>
        ${body}
      </section>`;
  }
}
customElements.define('fl-device-credentials', DeviceCredentials);
