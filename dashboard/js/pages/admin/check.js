// May Jo send reboot to dev-7, and by which rule? The question is in the address; the answer is the service's own, as of now.

import { get, graphql, post } from '../../api.js';
import { t, word } from '../../i18n.js';
import { AdminPage } from '../../parts/admin-page.js';
import { cedar } from '../../parts/cedar.js';
import { icon } from '../../parts/icons.js';
import { asProblem, html, nothing, shown, waiting } from '../../parts/part.js';
import { people } from '../../parts/people.js';
import { actionName, areaName, byArea, nameOfUser, ruleName } from '../../parts/roles.js';
import { go, query, withQuery } from '../../router.js';
import { may, me } from '../../session.js';
import { policyPath } from './policies.js';

/** @typedef {import('../../parts/people.js').Person & { role?: string }} Person */
/** @typedef {{ key_id: string, name: string, actions: string[], revoked_at: string | null, expires_at: string | null }} ApiKey */
/** @typedef {{ allowed: boolean, policies: string[] }} Decision */

const SEND = 'commands.write';
/** What is asked of the tenant or of one of its devices. */
const ABOUT_DEVICES = ['devices', 'credentials', 'telemetry', 'commands', 'alarms'];

/** @param {string} action */
const isAboutDevices = (action) => ABOUT_DEVICES.includes(action.slice(0, action.lastIndexOf('.')));

class Check extends AdminPage {
  static properties = {
    users: { state: true },
    keys: { state: true },
    roles: { state: true },
    commands: { state: true },
    devices: { state: true },
    policies: { state: true },
    decision: { state: true },
    refused: { state: true },
  };

  constructor() {
    super();
    /** @type {Person[]} */
    this.users = [];
    /** @type {ApiKey[]} */
    this.keys = [];
    /** @type {import('../../parts/roles.js').Role[] | null} */
    this.roles = null;
    /** @type {string[]} */
    this.commands = [];
    /** @type {{ uid: string, name: string | null }[]} */
    this.devices = [];
    /** @type {import('./policies.js').Policy[]} */
    this.policies = [];
    /** @type {Decision | null} */
    this.decision = null;
    /** @type {import('../../api.js').Problem | null} */
    this.refused = null;
    this.asked = 0;
    this.typing = 0;
  }

  connectedCallback() {
    super.connectedCallback();
    this.addEventListener('query', () => this.decide());
    this.load();
    this.whenBack(() => this.load());
  }

  async load() {
    await this.attempt(async () => {
      const none = { items: [] };
      const [roles, policies, users, keys, commands] = await Promise.all([
        get('/roles'),
        get('/policies'),
        people(),
        may('api_keys.read') ? get('/api-keys') : none,
        may('command_types.read') ? get('/command-types') : none,
        this.find(query('device') ?? ''),
      ]);
      this.users = users;
      this.keys = keys.items;
      this.commands = commands.items.map((/** @type {{ name: string }} */ one) => one.name);
      this.policies = policies.items;
      this.roles = roles.items;
    });
    await this.decide();
  }

  /** Who is asked about: a user, a key, or at first the viewer. */
  get subject() {
    const key = query('key');
    return key ? { key_id: key } : { user_id: query('user') ?? me()?.user_id ?? '' };
  }

  get action() {
    return query('action') ?? SEND;
  }

  get device() {
    return isAboutDevices(this.action) ? (query('device') ?? '') : '';
  }

  get command() {
    return this.action === SEND ? (query('cmd') ?? '') : '';
  }

  /** Finds devices by a part of their names, to choose from. @param {string} text */
  async find(text) {
    if (!may('devices.read')) return;
    const question = 'query ($q: String) { devices(filter: { q: $q }, first: 20) { nodes { uid name } } }';
    this.devices = (await graphql(question, { q: text })).devices.nodes;
  }

  async decide() {
    const asked = (this.asked += 1);
    const { device, command } = this;
    try {
      const decision = await post('/policies/check', {
        ...this.subject,
        action: this.action,
        ...(device ? { device } : {}),
        ...(command ? { cmd: command } : {}),
      });
      if (asked !== this.asked) return;
      this.decision = decision;
      this.refused = null;
    } catch (error) {
      if (asked !== this.asked) return;
      this.decision = null;
      this.refused = asProblem(error);
    }
  }

  /** @param {Record<string, string | null>} values */
  ask(values) {
    go(withQuery(values), { replace: true });
  }

  /** @param {Event} event */
  chooseWho(event) {
    const [kind, id = ''] = /** @type {HTMLSelectElement} */ (event.target).value.split(' ');
    this.ask({ user: kind === 'user' ? id : null, key: kind === 'key' ? id : null });
  }

  /** @param {Event} event */
  typeDevice(event) {
    const text = /** @type {HTMLInputElement} */ (event.target).value.trim();
    clearTimeout(this.typing);
    this.typing = window.setTimeout(() => {
      this.ask({ device: text });
      this.find(text).catch(() => {});
    }, 250);
  }

  subjectField() {
    const own = me();
    const key = query('key');
    const chosen = key ?? query('user') ?? own?.user_id;
    const users = this.users.length ? this.users : own ? [/** @type {Person} */ ({ ...own, status: 'active' })] : [];
    const option = (/** @type {string} */ kind, /** @type {string} */ id, /** @type {string} */ text) =>
      html`<option value="${kind} ${id}" ?selected=${chosen === id}>${text}</option>`;
    return html`<div class="field">
      <label for="who">${t('check.who')}</label>
      <select id="who" @change=${this.chooseWho}>
        <optgroup label=${t('admin.users')}>
          ${users.map((user) => option('user', user.user_id, nameOfUser(user)))}
        </optgroup>
        ${this.keys.length ? html`<optgroup label=${t('admin.keys')}>${this.keys.map((one) => option('key', one.key_id, one.name))}</optgroup>` : nothing}
      </select>
    </div>`;
  }

  actionField() {
    const all = [...new Set((this.roles ?? []).flatMap(({ actions }) => actions))];
    return html`<div class="field">
      <label for="what">${t('check.what')}</label>
      <select
        id="what"
        @change=${(/** @type {Event} */ event) => this.ask({ action: /** @type {HTMLSelectElement} */ (event.target).value })}
      >
        ${byArea(all).map(([area, actions]) => html`<optgroup label=${areaName(area)}>${actions.map((action) => html`<option value=${action} ?selected=${action === this.action}>${actionName(action)}</option>`)}</optgroup>`)}
      </select>
    </div>`;
  }

  commandField() {
    if (this.action !== SEND) return nothing;
    const names = [...new Set([...this.commands, ...(query('cmd') ? [query('cmd') ?? ''] : [])])];
    return html`<div class="field">
      <label for="cmd">${t('check.command')}</label>
      <select
        id="cmd"
        @change=${(/** @type {Event} */ event) => this.ask({ cmd: /** @type {HTMLSelectElement} */ (event.target).value })}
      >
        <option value="">${t('check.command.any')}</option>
        ${names.map((name) => html`<option value=${name} ?selected=${name === query('cmd')}>${name}</option>`)}
      </select>
    </div>`;
  }

  deviceField() {
    if (!isAboutDevices(this.action)) return nothing;
    return html`<div class="field">
      <label for="device">${t('check.device')}</label>
      <input
        id="device"
        list="devices"
        autocomplete="off"
        autocapitalize="none"
        spellcheck="false"
        placeholder=${t('check.device.any')}
        .value=${query('device') ?? ''}
        @input=${this.typeDevice}
      />
      <datalist id="devices">
        ${this.devices.map(({ uid, name }) => html`<option value=${uid}>${name ?? uid}</option>`)}
      </datalist>
    </div>`;
  }

  /** The decision as a sentence. @param {boolean} allowed */
  sentence(allowed) {
    const subject = this.subject;
    const user = this.users.find(({ user_id }) => user_id === subject.user_id);
    const key = this.keys.find(({ key_id }) => key_id === subject.key_id);
    const who = subject.key_id
      ? t('check.key', { name: key?.name ?? subject.key_id })
      : (user?.name ?? user?.email ?? me()?.name ?? me()?.email ?? '');
    const device = this.device || t(isAboutDevices(this.action) ? 'check.general' : 'check.none');
    if (this.command)
      return t(allowed ? 'check.says.yes.command' : 'check.says.no.command', { who, command: this.command, device });
    return t(allowed ? 'check.says.yes' : 'check.says.no', { who, action: actionName(this.action), device });
  }

  /** Why no rule allows it. */
  why() {
    const key = this.keys.find(({ key_id }) => key_id === this.subject.key_id);
    if (key?.revoked_at) return t('check.key.revoked');
    if (key?.expires_at && new Date(key.expires_at) <= new Date()) return t('check.key.expired');
    if (key && !key.actions.includes(this.action)) return t('check.key.not_for');
    if (key) return t('check.key.issuer');
    const user = this.users.find(({ user_id }) => user_id === this.subject.user_id);
    return t('check.nothing', { role: word('role', user?.role ?? me()?.role ?? '') });
  }

  /** @param {string} rule */
  rule(rule) {
    const policy = this.policies.find(({ name }) => name === rule);
    const to = policy
      ? policyPath(rule)
      : rule.startsWith('role:')
        ? `/app/admin/roles?role=${rule.slice(5)}`
        : '/app/admin/keys';
    return html`<li>
      <p>
        <a href=${to}>${ruleName(rule)}</a
        >${policy?.description ? html` <span class="muted">${policy.description}</span>` : nothing}
      </p>
      ${policy ? cedar(policy.source) : nothing}
    </li>`;
  }

  verdict() {
    if (this.refused) return shown(this.refused);
    const { decision } = this;
    if (!decision) return waiting(3);
    const { allowed, policies } = decision;
    return html`<div class="verdict ${allowed ? 'good' : 'bad'}" role="status">
      <p class="answer">${icon(allowed ? 'check' : 'close')}<span>${t(allowed ? 'check.yes' : 'check.no')}</span></p>
      <p class="asked">${this.sentence(allowed)}</p>
      ${
        policies.length
          ? html`<p class="small muted">${t(allowed ? 'check.by' : 'check.against')}</p>
              <ul class="rules">
                ${policies.map((rule) => this.rule(rule))}
              </ul>`
          : html`<p>${this.why()}</p>`
      }
    </div>`;
  }

  content() {
    return html`${this.head(t('admin.check'), t('check.sub'))}
    ${
      this.roles
        ? html`<div class="grid two checker">
            <form
              class="sheet"
              @submit=${(/** @type {Event} */ event) => {
                event.preventDefault();
                this.decide();
              }}
            >
              <div class="sheet-head"><h2>${t('check.question')}</h2></div>
              <div class="sheet-body fields">
                ${this.subjectField()}${this.actionField()}${this.commandField()}${this.deviceField()}
                <p class="hint small muted">${t('check.address')}</p>
              </div>
            </form>
            <section class="sheet" aria-labelledby="answer">
              <div class="sheet-head"><h2 id="answer">${t('check.answer')}</h2></div>
              <div class="sheet-body">${this.verdict()}</div>
            </section>
          </div>`
        : this.problem
          ? nothing
          : html`<div class="sheet">${waiting(6)}</div>`
    }`;
  }
}
customElements.define('fl-check', Check);
