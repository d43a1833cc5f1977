// One batch: how far it is, what failed, and how to hold it or end it.

import { get, graphql, post } from '../api.js';
import { ago, number, t, when, word } from '../i18n.js';
import { STATES, bar, chosen, ended, isOpen } from '../parts/batch.js';
import { say } from '../parts/dialog.js';
import { Part, asProblem, empty, html, nothing, shown, waiting } from '../parts/part.js';
import { liveSign, pill } from '../parts/pills.js';
import { askReason } from '../parts/reason.js';
import { who } from '../parts/who.js';
import { may } from '../session.js';

/** How often the figures are asked for: while commands are under way, and after that. */
const EVERY = { open: 1000, ended: 15_000 };
/** How many commands that went wrong are listed. */
const WRONG = 50;
const FAILED = `query ($batch: ID, $first: Int) {
  failed: commands(filter: { batchId: $batch, status: FAILED }, first: $first) { nodes { ...C } }
  timedOut: commands(filter: { batchId: $batch, status: TIMED_OUT }, first: $first) { nodes { ...C } } }
  fragment C on Command { id deviceUid status endedAt error attempts lateAckAt }`;

/** @typedef {import('../parts/batch.js').Batch} Batch */
/** @typedef {{ id: string, deviceUid: string, status: string, endedAt: string, error: any, attempts: number, lateAckAt: string | null }} Wrong */

class BatchPage extends Part {
  static properties = {
    params: { attribute: false },
    batch: { state: true },
    wrong: { state: true },
    problem: { state: true },
  };

  constructor() {
    super();
    /** @type {Record<string, string>} */
    this.params = {};
    /** @type {Batch | null} */
    this.batch = null;
    /** @type {Wrong[]} */
    this.wrong = [];
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    this.failures = -1;
    this.asked = 0;
  }

  get path() {
    return `/command-batches/${encodeURIComponent(this.params.id ?? '')}`;
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(EVERY.open, () => this.turn());
  }

  /** Commands that were sent before the batch ended still get their answers. */
  get isMoving() {
    const { batch } = this;
    return !batch || batch.status === 'running' || batch.commands.requested + batch.commands.sent > 0;
  }

  async turn() {
    if (this.isMoving || Date.now() - this.asked > EVERY.ended) await this.load();
  }

  async load(after = '') {
    this.asked = Date.now();
    try {
      /** @type {Batch} */
      const batch = await get(this.path + (after ? `?min_position=${after}` : ''));
      const failures = batch.commands.failed + batch.commands.timed_out;
      if (failures !== this.failures) {
        const { failed, timedOut } = await graphql(FAILED, { batch: batch.batch_id, first: WRONG });
        this.wrong = [...failed.nodes, ...timedOut.nodes]
          .sort((one, other) => other.endedAt.localeCompare(one.endedAt))
          .slice(0, WRONG);
        this.failures = failures;
      }
      this.batch = batch;
      this.problem = null;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** @param {'pause' | 'resume'} step */
  async steer(step) {
    try {
      const { position } = await post(`${this.path}/${step}`);
      say(t(step === 'pause' ? 'batch.is_paused' : 'batch.is_resumed', { position }));
      await this.load(position);
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  abort() {
    askReason({
      heading: t('batch.abort'),
      confirm: t('batch.abort.button'),
      why: t('batch.abort.why'),
      work: async (body) => {
        const { position } = await post(`${this.path}/cancel`, body);
        say(t('batch.is_aborted', { position }));
        await this.load(position);
      },
    });
  }

  /** @param {Batch} batch */
  actions(batch) {
    const open = isOpen(batch.status) && may('commands.write');
    return html`<div class="actions">
      ${pill('batch', batch.status)}
      ${
        open && batch.status === 'running' && batch.commands.waiting
          ? html`<button @click=${() => this.steer('pause')}>${t('batch.pause')}</button>`
          : nothing
      }
      ${
        open && batch.status === 'paused'
          ? html`<button class="primary" @click=${() => this.steer('resume')}>${t('batch.resume')}</button>`
          : nothing
      }
      ${open ? html`<button class="danger" @click=${this.abort}>${t('batch.abort.open')}</button>` : nothing}
    </div>`;
  }

  /** What is left, in words. @param {Batch} batch */
  outlook(batch) {
    if (batch.status === 'paused') return t('batch.outlook.paused', { n: batch.commands.waiting });
    if (batch.status !== 'running') return batch.ended_at ? html`${t('commands.ended')} ${ago(batch.ended_at)}` : '';
    if (batch.commands.waiting)
      return t('batch.outlook.waiting', { s: Math.ceil(batch.commands.waiting / batch.rate_per_s) });
    return t('batch.outlook.answers', { n: batch.commands.requested + batch.commands.sent });
  }

  /** @param {Batch} batch */
  progress(batch) {
    const done = ended(batch.commands);
    return html`<section class="sheet" aria-labelledby="progress">
      <div class="sheet-head">
        <h2 id="progress" class="grow">${t('batch.progress')}</h2>
        ${this.isMoving ? liveSign() : nothing}
      </div>
      <div class="sheet-body fields">
        <p class="batch-total">
          <span class="big numeric">${batch.devices ? Math.floor((done * 100) / batch.devices) : 0} %</span>
          <span class="muted" role="status"
            >${t('batch.done', { done, all: batch.devices })} · ${this.outlook(batch)}</span
          >
        </p>
        ${bar(batch)}
        <ul class="batch-counts">
          ${STATES.map((state) => this.count(batch, state))}
        </ul>
      </div>
    </section>`;
  }

  /** @param {Batch} batch @param {(typeof STATES)[number]} state */
  count(batch, state) {
    const count = batch.commands[state];
    const what = html`<i class=${`is-${state}`} aria-hidden="true"></i><b class="numeric">${number(count)}</b>
      <span>${word('batch.count', state === 'waiting' && !isOpen(batch.status) ? 'unsent' : state)}</span>`;
    // Those that wait have no command yet.
    return html`<li>
      ${state === 'waiting' || !count ? html`<span class=${count ? '' : 'faint'}>${what}</span>` : html`<a href=${`/app/commands?batch=${batch.batch_id}&status=${state}`}>${what}</a>`}
    </li>`;
  }

  /** @param {Batch} batch */
  wrongs(batch) {
    const all = batch.commands.failed + batch.commands.timed_out;
    const body = this.wrong.length
      ? html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
          <table class="compact">
            <thead>
              <tr>
                <th>${t('device')}</th>
                <th>${t('status')}</th>
                <th class="wide">${t('import.reason')}</th>
                <th>${t('commands.ended')}</th>
                <th></th>
              </tr>
            </thead>
            <tbody>
              ${this.wrong.map(
                (one) =>
                  html`<tr>
                    <td>
                      <a href=${`/app/devices/${encodeURIComponent(one.deviceUid)}?tab=commands`}>${one.deviceUid}</a>
                    </td>
                    <td>${pill('command', one.status)}${one.lateAckAt ? html` ${pill('flag', 'late')}` : nothing}</td>
                    <td class="wide">
                      ${one.error === null || one.error === undefined ? html`<span class="muted">${one.status === 'TIMED_OUT' ? t('life.timed_out', { attempts: one.attempts }) : '–'}</span>` : html`<code class="small">${typeof one.error === 'string' ? one.error : JSON.stringify(one.error)}</code>`}
                    </td>
                    <td>${ago(one.endedAt)}</td>
                    <td class="end"><a href=${`/app/commands/${one.id}`}>${t('details')}</a></td>
                  </tr>`,
              )}
            </tbody>
          </table>
        </div>`
      : empty(t('batch.failures.none'));
    const further = all - this.wrong.length;
    return html`<section class="sheet" aria-labelledby="failures">
      <div class="sheet-head">
        <h2 id="failures" class="grow">${t('batch.failures')}</h2>
        ${all ? html`<span class="small numeric">${number(all)}</span>` : nothing}
      </div>
      ${body}
      ${
        further > 0
          ? html`<p class="more">
              <a href=${`/app/commands?batch=${batch.batch_id}&status=failed`}>${t('batch.failures.all')}</a>
            </p>`
          : nothing
      }
    </section>`;
  }

  /** @param {Batch} batch */
  facts(batch) {
    return html`<section class="sheet" aria-labelledby="facts">
      <div class="sheet-head">
        <h2 id="facts" class="grow">${t('details')}</h2>
        <a class="small" href=${`/app/commands?batch=${batch.batch_id}`}>${t('batch.commands')}</a>
      </div>
      <dl class="facts sheet-body">
        <dt>${t('batch.for')}</dt>
        <dd>${chosen(batch)}</dd>
        <dt>${t('command.params')}</dt>
        <dd><pre class="json" tabindex="0">${JSON.stringify(batch.params, null, 2)}</pre></dd>
        <dt>${t('batch.rate')}</dt>
        <dd class="numeric">${t('batch.rate.value', { n: batch.rate_per_s })}</dd>
        <dt>${t('batch.limit')}</dt>
        <dd class="numeric">
          ${batch.abort_after_failures === null ? html`<span class="none">${t('never')}</span>` : t('batch.limit.value', { n: batch.abort_after_failures })}
        </dd>
        <dt>${t('command.by')}</dt>
        <dd title=${batch.requested_by}>${who(batch.requested_by)}</dd>
        <dt>${t('commands.requested')}</dt>
        <dd>${when(batch.requested_at)}</dd>
        <dt>${t('command.expires')}</dt>
        <dd>${when(batch.expires_at)}</dd>
        ${
          batch.ended_at
            ? html`<dt>${t('commands.ended')}</dt>
                <dd>${when(batch.ended_at)}</dd>`
            : nothing
        }
        ${
          batch.cancelled_by
            ? html`<dt>${t('batch.cancelled_by')}</dt>
                <dd title=${batch.cancelled_by}>
                  ${who(batch.cancelled_by)}${batch.cancel_reason ? html`: ${batch.cancel_reason}` : nothing}
                </dd>`
            : nothing
        }
        <dt>${t('command.id')}</dt>
        <dd>
          ${may('events.read') ? html`<a class="mono small" href=${`/app/events?aggregate=${batch.batch_id}`}>${batch.batch_id}</a>` : html`<span class="mono small">${batch.batch_id}</span>`}
        </dd>
      </dl>
    </section>`;
  }

  render() {
    const { batch, problem } = this;
    if (!batch && problem?.status === 404)
      return html`<div class="sheet narrow">
        <h1>${t('batch.missing')}</h1>
        <p><a href="/app/commands/batches">${t('batches.all')}</a></p>
      </div>`;
    const head = html`<div class="page-head">
      <div class="grow">
        <p class="small"><a href="/app/commands/batches">${t('batches')}</a></p>
        <h1>${batch?.cmd ?? t('command.batch')}</h1>
        <p class="sub">${batch ? t('batch.sub', { n: batch.devices }) : ''}</p>
      </div>
      ${batch ? this.actions(batch) : nothing}
    </div>`;
    if (!batch) return html`${head}${problem ? shown(problem) : waiting(8)}`;
    return html`${head}${problem && problem.status !== 0 ? shown(problem) : nothing}
      <div class="grid">
        ${this.progress(batch)}
        <div class="grid two">${this.wrongs(batch)}${this.facts(batch)}</div>
      </div>`;
  }
}
customElements.define('fl-batch', BatchPage);
