// One command: what it is, and its life step by step, as the log has it.

import { graphql, post } from '../api.js';
import { number, t, when } from '../i18n.js';
import { follow } from '../live.js';
import { COMMAND, HISTORY, hasEnded, life } from '../parts/command-life.js';
import { say } from '../parts/dialog.js';
import { AskingPart, html, nothing, shown, waiting } from '../parts/part.js';
import { pill } from '../parts/pills.js';
import { askReason } from '../parts/reason.js';
import { who } from '../parts/who.js';
import { may } from '../session.js';

const MORE = 'correlationId batchId cancelledBy lateAck';
const ONE = `query ($id: ID!) { command(id: $id) { ${COMMAND} ${MORE} ${HISTORY} } }`;
const LIVE = `subscription ($id: ID, $after: String, $from: String) { commandChanged(cmdId: $id, after: $after,
  from: $from) { at command { ${COMMAND} ${MORE} ${HISTORY} } } }`;

/** @typedef {import('../parts/command-life.js').Command & { correlationId: string | null, batchId: string | null, cancelledBy: string | null, lateAck: any }} Command */

class CommandPage extends AskingPart {
  static properties = { params: { attribute: false }, command: { state: true } };

  constructor() {
    super();
    /** @type {Record<string, string>} */
    this.params = {};
    /** @type {Command | null | undefined} */
    this.command = undefined;
  }

  async connectedCallback() {
    super.connectedCallback();
    this.whenBack(() => this.load());
    await this.load();
    if (this.isConnected && this.command && may('streams.follow'))
      this.whenGone(
        follow(
          LIVE,
          { id: this.params.id, from: 'now' },
          { next: ({ commandChanged }) => commandChanged.command && (this.command = commandChanged.command) },
        ),
      );
  }

  load() {
    return this.attempt(async () => {
      this.command = (await graphql(ONE, { id: this.params.id })).command;
    });
  }

  cancel() {
    askReason({
      heading: t('command.cancel'),
      confirm: t('command.cancel.button'),
      why: t('command.cancel.why'),
      work: async (body) => {
        const { position } = await post(`/commands/${this.params.id}/cancel`, body);
        say(t('command.is_cancelled', { position }));
        await this.load();
      },
    });
  }

  /** @param {Command} command */
  facts(command) {
    return html`<section class="sheet" aria-labelledby="facts">
      <div class="sheet-head"><h2 id="facts">${t('details')}</h2></div>
      <dl class="facts sheet-body">
        <dt>${t('device')}</dt>
        <dd>
          <a href=${`/app/devices/${encodeURIComponent(command.deviceUid)}?tab=commands`}>${command.deviceUid}</a>
        </dd>
        <dt>${t('command.params')}</dt>
        <dd><pre class="json" tabindex="0">${JSON.stringify(command.params, null, 2)}</pre></dd>
        <dt>${t('command.by')}</dt>
        <dd>
          <a title=${command.requestedBy} href=${`/app/commands?actor=${encodeURIComponent(command.requestedBy)}`}
            >${who(command.requestedBy)}</a
          >
        </dd>
        <dt>${t('commands.requested')}</dt>
        <dd>${when(command.requestedAt)}</dd>
        <dt>${t('command.expires')}</dt>
        <dd>${when(command.expiresAt)}</dd>
        <dt>${t('commands.attempts')}</dt>
        <dd class="numeric">
          ${t('command.attempts', { n: command.attempts, most: command.maxAttempts, timeout: command.timeoutS })}
        </dd>
        ${
          command.endedAt
            ? html`<dt>${t('commands.ended')}</dt>
                <dd>
                  ${when(command.endedAt)}
                  <span class="muted"
                    >${t('command.after', { s: number(Math.round(new Date(command.endedAt).getTime() - new Date(command.requestedAt).getTime()) / 1000) })}</span
                  >
                </dd>`
            : nothing
        }
        ${
          command.batchId
            ? html`<dt>${t('command.batch')}</dt>
                <dd>
                  <a class="mono small" href=${`/app/commands/batches/${command.batchId}`}>${command.batchId}</a>
                </dd>`
            : nothing
        }
        ${
          command.correlationId
            ? html`<dt>${t('command.correlation')}</dt>
                <dd class="mono small">${command.correlationId}</dd>`
            : nothing
        }
        <dt>${t('command.id')}</dt>
        <dd class="mono small">${command.id}</dd>
      </dl>
    </section>`;
  }

  render() {
    const { command } = this;
    if (command === undefined)
      return html`<div class="page-head"><h1>${t('command')}</h1></div>
        ${this.problem ? shown(this.problem) : waiting(6)}`;
    if (command === null)
      return html`<div class="sheet narrow">
        <h1>${t('command.missing')}</h1>
        <p><a href="/app/commands">${t('commands.all')}</a></p>
      </div>`;
    const open = !hasEnded(command.status) && may('commands.write');
    return html`<div class="page-head">
        <div class="grow">
          <p class="small"><a href="/app/commands">${t('nav.commands')}</a></p>
          <h1>${command.cmd}</h1>
          <p class="sub">${t('command.sub', { uid: command.deviceUid })}</p>
        </div>
        <div class="actions">
          ${pill('command', command.status)}${command.lateAckAt ? pill('flag', 'late') : nothing}
          ${open ? html`<button class="danger" @click=${this.cancel}>${t('command.cancel')}</button>` : nothing}
        </div>
      </div>
      ${shown(this.problem)}
      <div class="grid two">
        <section class="sheet" aria-labelledby="life">
          <div class="sheet-head"><h2 id="life">${t('life')}</h2></div>
          <div class="sheet-body">${life(command)}</div>
        </section>
        ${this.facts(command)}
      </div>`;
  }
}
customElements.define('fl-command', CommandPage);
