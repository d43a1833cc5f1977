// The commands of a device: send one, watch it end, and all that were before.

import { graphql } from '../api.js';
import { ago, t } from '../i18n.js';
import { follow } from '../live.js';
import { may } from '../session.js';
import { COMMAND, HISTORY, life, shortParams } from './command-life.js';
import { icon } from './icons.js';
import { Part, asProblem, empty, html, nothing, shown, waiting } from './part.js';
import { pill } from './pills.js';
import { sendCommand } from './send-command.js';

const PAGE = 20;
const LIST = `query ($uid: String, $first: Int, $after: String, $asOf: DateTime) { commands(filter: { deviceUid:
  $uid }, first: $first, after: $after, asOf: $asOf) { pageInfo { endCursor hasNextPage } nodes { ${COMMAND} } } }`;
const ONE = `query ($id: ID!, $asOf: DateTime) { command(id: $id, asOf: $asOf) { ${COMMAND} ${HISTORY} } }`;
const LIVE = `subscription ($uid: String, $after: String, $from: String) { commandChanged(deviceUid: $uid, after:
  $after, from: $from) { at command { ${COMMAND} ${HISTORY} } } }`;

/** @typedef {import('./command-life.js').Command} Command */

class DeviceCommands extends Part {
  static properties = {
    uid: {},
    until: { attribute: false },
    canSend: { attribute: false },
    list: { state: true },
    open: { state: true },
    problem: { state: true },
  };

  constructor() {
    super();
    this.uid = '';
    /** @type {string | null} */
    this.until = null;
    this.canSend = false;
    /** @type {Command[] | null} */
    this.list = null;
    /** @type {string | null} */
    this.more = null;
    /** The command that is shown step by step. @type {string | null} */
    this.open = null;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
  }

  connectedCallback() {
    super.connectedCallback();
    this.load();
    this.whenBack(() => this.load());
    if (!this.until && may('streams.follow'))
      this.whenGone(
        follow(
          LIVE,
          { uid: this.uid, from: 'now' },
          { next: ({ commandChanged }) => commandChanged.command && this.take(commandChanged.command) },
        ),
      );
    // How long ago things were goes on by itself.
    this.every(5000, async () => this.requestUpdate());
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has('until') && this.hasUpdated) this.load();
  }

  async load(after = /** @type {string | null} */ (null)) {
    try {
      const { commands } = await graphql(LIST, { uid: this.uid, first: PAGE, after, asOf: this.until });
      this.list = after ? [...(this.list ?? []), ...commands.nodes] : commands.nodes;
      this.more = commands.pageInfo.hasNextPage ? commands.pageInfo.endCursor : null;
      this.problem = null;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** @param {Command} command */
  take(command) {
    const known = this.list?.some((one) => one.id === command.id);
    this.list = known
      ? (this.list ?? []).map((one) => (one.id === command.id ? command : one))
      : [command, ...(this.list ?? [])];
  }

  /** @param {string} id */
  async show(id) {
    this.open = this.open === id ? null : id;
    if (!this.open || this.list?.find((one) => one.id === id)?.history) return;
    try {
      const { command } = await graphql(ONE, { id, asOf: this.until });
      if (command) this.take(command);
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  async send() {
    try {
      await sendCommand(this.uid, (id) => (this.open = id));
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** @param {Command} command */
  item(command) {
    const open = this.open === command.id;
    return html`<li class="command">
      <div class="command-head">
        <button class="plain disclose" aria-expanded=${open} @click=${() => this.show(command.id)}>
          ${icon(open ? 'close' : 'plus')}<span class="visually-hidden">${t('life')}</span
          ><strong>${command.cmd}</strong>
        </button>
        <span class="grow">${shortParams(command.params)}</span>${pill('command', command.status)}<span
          class="small muted when"
          >${ago(command.requestedAt)}</span
        ><a class="small" href=${`/app/commands/${command.id}`}>${t('details')}</a>
      </div>
      ${open ? html`<div class="command-body">${command.history ? life(command) : waiting(3)}</div>` : nothing}
    </li>`;
  }

  render() {
    const send =
      this.canSend && may('commands.write')
        ? html`<button class="primary" @click=${this.send}>${icon('commands')}${t('send.open')}</button>`
        : nothing;
    const body = !this.list
      ? this.problem
        ? nothing
        : waiting(5)
      : this.list.length === 0
        ? empty(
            t('commands.none'),
            this.canSend && may('commands.write') ? html`<p>${t('commands.none.next')}</p>` : nothing,
          )
        : html`<ol class="command-list">
              ${this.list.map((command) => this.item(command))}
            </ol>
            ${this.more ? html`<div class="more"><button @click=${() => this.load(this.more)}>${t('more')}</button></div>` : nothing}`;
    return html`${shown(this.problem)}
      <section class="sheet" aria-labelledby="commands">
        <div class="sheet-head">
          <h2 id="commands" class="grow">${t('nav.commands')}</h2>
          ${send}
        </div>
        ${body}
      </section>`;
  }
}
customElements.define('fl-device-commands', DeviceCommands);
