// Commands of the whole fleet: found by state, device, type and who asked for them.

import { graphql } from '../api.js';
import { ago, t, word } from '../i18n.js';
import { follow } from '../live.js';
import { COMMAND, hasEnded, shortParams } from '../parts/command-life.js';
import { commandTabs } from '../parts/command-tabs.js';
import { icon } from '../parts/icons.js';
import { Part, asProblem, empty, html, nothing, shown, waiting } from '../parts/part.js';
import { pill } from '../parts/pills.js';
import { go, query, withQuery } from '../router.js';
import { may } from '../session.js';

const PAGE = 50;
const STATES = /** @type {const} */ (['requested', 'sent', 'acked', 'failed', 'timed_out', 'cancelled']);
const LIST = `query ($filter: CommandFilter, $first: Int, $after: String) { commands(filter: $filter, first: $first,
  after: $after) { pageInfo { endCursor hasNextPage } nodes { ${COMMAND} batchId } } }`;
const LIVE = `subscription ($after: String, $from: String) { commandChanged(after: $after, from: $from) { at command
  { ${COMMAND} batchId } } }`;

/** @typedef {import('../parts/command-life.js').Command & { batchId: string | null }} Command */

class Commands extends Part {
  static properties = { list: { state: true }, problem: { state: true } };

  constructor() {
    super();
    /** @type {Command[] | null} */
    this.list = null;
    /** @type {Record<string, string | null>} */
    this.ends = {};
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    this.asked = 0;
    this.typing = 0;
  }

  connectedCallback() {
    super.connectedCallback();
    this.addEventListener('query', () => this.load());
    this.load();
    this.whenBack(() => this.load());
    if (may('streams.follow'))
      this.whenGone(
        follow(
          LIVE,
          { from: 'now' },
          { next: ({ commandChanged }) => commandChanged.command && this.take(commandChanged.command) },
        ),
      );
    this.every(5000, async () => this.requestUpdate());
  }

  /** The states that are asked for: `open` is two of them. @returns {(string | null)[]} */
  get states() {
    const status = query('status');
    return status === 'open' ? ['REQUESTED', 'SENT'] : [status?.toUpperCase() ?? null];
  }

  /** @param {string | null} status */
  filter(status) {
    const [deviceUid, cmd, actor, batchId] = ['device', 'cmd', 'actor', 'batch'].map((name) => query(name));
    return {
      ...(status ? { status } : {}),
      ...(deviceUid ? { deviceUid } : {}),
      ...(cmd ? { cmd } : {}),
      ...(actor ? { actor } : {}),
      ...(batchId ? { batchId } : {}),
    };
  }

  async load(more = false) {
    const asked = (this.asked += 1);
    try {
      const states = this.states.filter((state) => !more || this.ends[`${state}`]);
      const answers = await Promise.all(
        states.map((state) =>
          graphql(LIST, { filter: this.filter(state), first: PAGE, after: more ? this.ends[`${state}`] : null }),
        ),
      );
      if (asked !== this.asked) return;
      this.ends = Object.fromEntries(
        answers.map(({ commands }, at) => [
          `${states[at]}`,
          commands.pageInfo.hasNextPage ? commands.pageInfo.endCursor : null,
        ]),
      );
      const found = answers.flatMap(({ commands }) => commands.nodes);
      this.list = [...(more ? (this.list ?? []) : []), ...found].sort((one, other) =>
        other.requestedAt.localeCompare(one.requestedAt),
      );
      this.problem = null;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** A change: a command that no longer fits the filter leaves the list. @param {Command} command */
  take(command) {
    const { deviceUid, cmd, actor, batchId } = /** @type {any} */ (this.filter(null));
    const fits =
      (!this.states[0] || this.states.includes(command.status)) &&
      (!deviceUid || command.deviceUid === deviceUid) &&
      (!cmd || command.cmd === cmd) &&
      (!actor || command.requestedBy === actor) &&
      (!batchId || command.batchId === batchId);
    const others = (this.list ?? []).filter((one) => one.id !== command.id);
    this.list = fits
      ? [...others, command].sort((one, other) => other.requestedAt.localeCompare(one.requestedAt))
      : others;
  }

  /** @param {string} name @param {Event} event */
  type(name, event) {
    clearTimeout(this.typing);
    const text = /** @type {HTMLInputElement} */ (event.target).value.trim();
    this.typing = window.setTimeout(() => go(withQuery({ [name]: text }), { replace: true }), 250);
  }

  filters() {
    const state = query('status') ?? '';
    return html`<div class="sheet-head filters">
      <div class="search">
        ${icon('search')}<input
          type="search"
          aria-label=${t('commands.device')}
          placeholder=${t('commands.device')}
          .value=${query('device') ?? ''}
          @input=${(/** @type {Event} */ event) => this.type('device', event)}
        />
      </div>
      <label class="visually-hidden" for="state">${t('status')}</label>
      <select
        id="state"
        .value=${state}
        @change=${(/** @type {Event} */ event) => go(withQuery({ status: /** @type {HTMLSelectElement} */ (event.target).value }))}
      >
        <option value="" ?selected=${!state}>${t('commands.every')}</option>
        <option value="open" ?selected=${state === 'open'}>${t('commands.open')}</option>
        ${STATES.map((one) => html`<option value=${one} ?selected=${state === one}>${word('command', one)}</option>`)}
      </select>
      ${['cmd', 'actor', 'batch'].map((name) => {
        const value = query(name);
        return value
          ? html`<a class="button" href=${withQuery({ [name]: null })} aria-label=${t('filter.drop', { value })}
              >${value}${icon('close')}</a
            >`
          : nothing;
      })}
    </div>`;
  }

  table() {
    if (!this.list) return this.problem ? nothing : waiting(6);
    if (this.list.length === 0)
      return empty(
        location.search ? t('commands.none.filtered') : t('commands.none'),
        location.search
          ? html`<a href="/app/commands">${t('commands.all')}</a>`
          : html`<p>${t('commands.none.how')} <a href="/app/devices">${t('nav.devices')}</a></p>`,
      );
    return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
        <table>
          <thead>
            <tr>
              <th>${t('command')}</th>
              <th>${t('device')}</th>
              <th>${t('status')}</th>
              <th class="wide">${t('commands.requested')}</th>
              <th class="wide">${t('commands.ended')}</th>
              <th class="wide end">${t('commands.attempts')}</th>
            </tr>
          </thead>
          <tbody>
            ${this.list.map(
              (command) =>
                html`<tr>
                  <td><a href=${`/app/commands/${command.id}`}>${command.cmd}</a> ${shortParams(command.params)}</td>
                  <td>
                    <a href=${`/app/devices/${encodeURIComponent(command.deviceUid)}?tab=commands`}
                      >${command.deviceUid}</a
                    >
                  </td>
                  <td>
                    ${pill('command', command.status)}${command.lateAckAt ? html` ${pill('flag', 'late')}` : nothing}
                    <div class="small faint only-small">${ago(command.requestedAt)}</div>
                  </td>
                  <td class="wide">${ago(command.requestedAt)}</td>
                  <td class="wide">
                    ${hasEnded(command.status) ? ago(command.endedAt) : html`<span class="none">–</span>`}
                  </td>
                  <td class="wide end numeric">${command.attempts} / ${command.maxAttempts}</td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
      ${Object.values(this.ends).some(Boolean) ? html`<div class="more"><button @click=${() => this.load(true)}>${t('more')}</button></div>` : nothing}`;
  }

  render() {
    return html`<div class="page-head">
        <div class="grow">
          <h1>${t('nav.commands')}</h1>
          <p class="sub">${t('commands.sub')}</p>
        </div>
      </div>
      ${commandTabs('commands')} ${shown(this.problem)}
      <section class="sheet" aria-label=${t('nav.commands')}>${this.filters()}${this.table()}</section>`;
  }
}
customElements.define('fl-commands', Commands);
