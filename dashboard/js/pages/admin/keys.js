// API keys: what programs call with. A key's secret is shown once, when it is issued.

import { get, post, remove } from '../../api.js';
import { ago, t, when } from '../../i18n.js';
import '../../parts/action-choice.js';
import { AdminPage } from '../../parts/admin-page.js';
import { ask, say } from '../../parts/dialog.js';
import { choiceField, textField, textOf } from '../../parts/fields.js';
import { commandLine } from '../../parts/command-line.js';
import { icon } from '../../parts/icons.js';
import { empty, html, nothing, waiting } from '../../parts/part.js';
import { people } from '../../parts/people.js';
import { actionName } from '../../parts/roles.js';
import { who } from '../../parts/who.js';
import { query, withQuery } from '../../router.js';
import { may, me } from '../../session.js';

const DAY = 86_400_000;
/** How long before its end a key's date is a warning. */
const SOON = 14 * DAY;
/** For how many days a key is issued, as the form offers it. */
const DAYS = [30, 90, 365];

/**
 * @typedef {{
 *   key_id: string, name: string, actions: string[], created_by: string, created_at: string, expires_at: string |
 *   null, revoked_at: string | null, last_used_at: string | null
 * }} ApiKey
 */

/** @param {ApiKey} key @returns {'good' | 'revoked' | 'expired' | 'ending'} */
function stateOf({ expires_at, revoked_at }) {
  if (revoked_at) return 'revoked';
  const left = expires_at ? new Date(expires_at).getTime() - Date.now() : Infinity;
  return left <= 0 ? 'expired' : left < SOON ? 'ending' : 'good';
}

/** @param {ApiKey} key */
const isGood = (key) => ['good', 'ending'].includes(stateOf(key));

class ApiKeys extends AdminPage {
  static properties = { list: { state: true } };

  constructor() {
    super();
    /** @type {ApiKey[] | null} */
    this.list = null;
  }

  connectedCallback() {
    super.connectedCallback();
    this.addEventListener('query', () => this.requestUpdate());
    this.every(20_000, () => this.load());
  }

  async load() {
    await this.attempt(async () => {
      const [keys] = await Promise.all([get('/api-keys'), people().catch(() => [])]);
      this.list = keys.items;
    });
  }

  issue() {
    let expiry = '90';
    const actions = (me()?.may ?? []).filter((action) => !action.startsWith('user.'));
    const dialog = ask({
      heading: t('keys.new'),
      confirm: t('keys.issue'),
      wide: true,
      fields: ['name', 'expires_at', 'actions'],
      content: (problem) =>
        html`<p class="muted">${t('keys.why')}</p>
          ${textField({ name: 'key-name', of: 'name', label: t('keys.name'), most: 200, placeholder: t('keys.name.example'), problem })}
          ${choiceField({
            name: 'days',
            of: 'expires_at',
            label: t('keys.expires'),
            value: expiry,
            options: [
              ...DAYS.map((n) => ({ value: `${n}`, text: t('keys.days', { n }) })),
              { value: 'date', text: t('keys.date') },
              { value: 'never', text: t('keys.never') },
            ],
            problem,
            change: (value) => {
              expiry = value;
              dialog.requestUpdate();
            },
          })}
          ${expiry === 'date' ? textField({ name: 'date', label: t('keys.date.label'), type: 'datetime-local' }) : nothing}
          <fl-action-choice .actions=${actions}></fl-action-choice>
          ${problem?.of('actions') ? html`<p class="wrong">${problem.of('actions')}</p>` : nothing}`,
      work: async (form) => {
        const ends = expiry === 'date' ? new Date(textOf(form, 'date')) : new Date(Date.now() + Number(expiry) * DAY);
        const issued = await post('/api-keys', {
          name: textOf(form, 'key-name'),
          actions: form.getAll('actions'),
          ...(expiry === 'never' ? {} : { expires_at: ends.toISOString() }),
        });
        await this.load();
        this.tell(issued.key);
      },
    });
  }

  /** Shows a new key, once. @param {string} key */
  tell(key) {
    ask({
      heading: t('keys.secret'),
      content: () =>
        html`<p class="notice warn">${t('keys.once')}</p>
          <div class="secret">
            <span class="field-label">${t('keys.key')}</span>${commandLine(key)}
            <span class="field-label">${t('credentials.try')}</span
            >${commandLine(`curl -H 'Authorization: Bearer ${key}' ${location.origin}/api/v1/devices`)}
          </div>`,
    });
  }

  /** @param {ApiKey} key */
  revoke(key) {
    ask({
      heading: t('keys.revoke.title', { name: key.name }),
      confirm: t('credentials.revoke.button'),
      danger: true,
      content: () => html`<p>${t('keys.revoke.why')}</p>`,
      work: async () => {
        await remove(`/api-keys/${key.key_id}`);
        say(t('keys.revoked'));
        await this.load();
      },
    });
  }

  /** @param {ApiKey} key */
  state(key) {
    const state = stateOf(key);
    const tone = { good: 'good', ending: 'warn', expired: 'calm', revoked: 'calm' }[state];
    return html`<span class="pill ${tone}"><span class="dot"></span>${t(`keys.state.${state}`)}</span>`;
  }

  /** @param {ApiKey} key */
  row(key) {
    const by = key.created_by;
    return html`<tr>
      <td>
        <span class="device-name"
          ><b>${key.name}</b><span class="faint mono" title=${key.key_id}>…${key.key_id.slice(-8)}</span></span
        >
        <details class="key-actions">
          <summary class="small">${t('keys.allows', { n: key.actions.length })}</summary>
          <ul class="small">
            ${key.actions.map((action) => html`<li title=${action}>${actionName(action)}</li>`)}
          </ul>
        </details>
      </td>
      <td>${this.state(key)}</td>
      <td class="wide" title=${by}>
        ${who(by)}
        <div class="faint small">${when(key.created_at)}</div>
      </td>
      <td class="wide">${ago(key.last_used_at)}</td>
      <td class="wide">${key.expires_at ? when(key.expires_at) : html`<span class="none">${t('never')}</span>`}</td>
      <td class="end">
        <span class="row-actions">
          ${may('events.read') ? html`<a class="button wide" href=${`/app/events?actor=key:${key.key_id}`}>${t('keys.did')}</a>` : nothing}
          ${isGood(key) && may('api_keys.write') ? html`<button @click=${() => this.revoke(key)}>${t('credentials.revoke.button')}</button>` : nothing}
        </span>
      </td>
    </tr>`;
  }

  table() {
    if (!this.list) return this.problem ? nothing : waiting(5);
    const ended = query('state') === 'ended';
    const list = this.list.filter((key) => isGood(key) !== ended);
    if (list.length === 0)
      return ended ? empty(t('keys.none.ended')) : empty(t('keys.none'), html`<p>${t('keys.none.next')}</p>`);
    return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
      <table>
        <thead>
          <tr>
            <th>${t('admin.key')}</th>
            <th>${t('status')}</th>
            <th class="wide">${t('keys.by')}</th>
            <th class="wide">${t('account.used')}</th>
            <th class="wide">${t('credentials.expires')}</th>
            <th><span class="visually-hidden">${t('actions')}</span></th>
          </tr>
        </thead>
        <tbody>
          ${list.map((key) => this.row(key))}
        </tbody>
      </table>
    </div>`;
  }

  content() {
    const ended = query('state') === 'ended';
    const actions = may('api_keys.write')
      ? html`<button class="primary" @click=${this.issue}>${icon('key')}${t('keys.new')}</button>`
      : nothing;
    return html`${this.head(t('admin.keys'), t('keys.sub'), { actions })}
      <section class="sheet" aria-label=${t('admin.keys')}>
        <div class="sheet-head filters">
          <div class="choices" role="group" aria-label=${t('status')}>
            <a href=${withQuery({ state: null })} aria-current=${ended ? nothing : 'true'}>${t('keys.good')}</a
            ><a href=${withQuery({ state: 'ended' })} aria-current=${ended ? 'true' : nothing}>${t('keys.ended')}</a>
          </div>
        </div>
        ${this.table()}
      </section>`;
  }
}
customElements.define('fl-api-keys', ApiKeys);
