// How far the proof of each log is, what each witness took last, and whether an old checkpoint is the beginning of the newest.

import { Problem, get, getText, graphql } from '../api.js';
import { ago, number, t, when, word } from '../i18n.js';
import { commandLine } from '../parts/command-line.js';
import '../parts/growth.js';
import { icon } from '../parts/icons.js';
import { AskingPart, asProblem, empty, html, nothing, shown, waiting } from '../parts/part.js';
import '../parts/trust.js';

/** How often progress is asked for, in milliseconds. */
const EVERY = 4000;
const QUESTION = '{ audit { logId lane shard head treeSize checkpointSize checkpointAt unproved } }';

/** @typedef {{ logId: number, lane: string, shard: number, head: number, treeSize: number, checkpointSize: number | null, checkpointAt: string | null, unproved: number }} LogProof */
/**
 * @typedef {{
 *   kind: string, address: string | null, key_name: string | null, origin: string | null, size: number, taken_at: string | null,
 *   signed_at: string | null, problem: string | null, problem_since: string | null
 * }} Witness
 */

class ProofPage extends AskingPart {
  static properties = {
    logs: { state: true },
    witnesses: { state: true },
    notes: { state: true },
  };

  constructor() {
    super();
    /** @type {LogProof[] | null} */
    this.logs = null;
    /** @type {Record<number, Witness[]>} */
    this.witnesses = {};
    /** The newest checkpoints, as they were signed, by the log. @type {Record<number, string>} */
    this.notes = {};
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(EVERY, () => this.load());
  }

  load() {
    return this.attempt(async () => {
      const { audit } = await graphql(QUESTION);
      this.logs = audit;
      const of = await Promise.all(
        audit.map(async (/** @type {LogProof} */ { logId }) => [logId, (await get(`/audit/${logId}/witnesses`)).items]),
      );
      this.witnesses = Object.fromEntries(of);
    });
  }

  /** Shows a log's newest checkpoint as it was signed, or hides it. @param {number} log */
  async show(log) {
    if (this.notes[log]) {
      const { [log]: _, ...rest } = this.notes;
      this.notes = rest;
      return;
    }
    try {
      this.notes = { ...this.notes, [log]: await getText(`/audit/${log}/checkpoint`) };
    } catch (error) {
      this.problem = error instanceof Problem ? error : asProblem(error);
    }
  }

  /** @param {LogProof} log */
  row(log) {
    const open = this.notes[log.logId];
    return html`<tr>
        <td>
          <span class="strong">${word('log', log.lane)}</span>
          <span class="faint">${t('proof.log', { log: log.logId })}</span>
        </td>
        <td class="end numeric">${number(log.head)}</td>
        <td class="end numeric">
          ${log.checkpointSize === null ? html`<span class="none">–</span>` : number(log.checkpointSize)}
        </td>
        <td class="end numeric wide">
          ${log.unproved ? html`<span class="pill warn">${number(log.unproved)}</span>` : html`<span class="pill good">${t('proof.whole')}</span>`}
        </td>
        <td class="end wide">${log.checkpointAt ? ago(log.checkpointAt) : html`<span class="none">–</span>`}</td>
        <td class="end">
          ${
            log.checkpointSize === null
              ? nothing
              : html`<button
                  class="plain disclose"
                  aria-label=${t('proof.note')}
                  aria-expanded=${Boolean(open)}
                  @click=${() => this.show(log.logId)}
                >
                  ${icon(open ? 'close' : 'plus')}<span class="wide">${t('proof.note')}</span>
                </button>`
          }
        </td>
      </tr>
      ${
        open
          ? html`<tr class="opened">
              <td colspan="6"><pre class="json" tabindex="0">${open}</pre></td>
            </tr>`
          : nothing
      }`;
  }

  logsSheet() {
    return html`<section class="sheet" aria-labelledby="logs">
      <div class="sheet-head"><h2 id="logs">${t('proof.logs')}</h2></div>
      ${
        this.logs
          ? html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('proof.logs')}>
                <table>
                  <thead>
                    <tr>
                      <th>${t('events.log')}</th>
                      <th class="end">${t('proof.events')}</th>
                      <th class="end">${t('proof.signed')}</th>
                      <th class="end wide">${t('proof.unproved')}</th>
                      <th class="end wide">${t('proof.signed_at')}</th>
                      <th><span class="visually-hidden">${t('proof.note')}</span></th>
                    </tr>
                  </thead>
                  <tbody>
                    ${this.logs.map((log) => this.row(log))}
                  </tbody>
                </table>
              </div>
              ${this.logs.every(({ checkpointSize }) => checkpointSize === null) ? html`<p class="sheet-body stack muted">${t('proof.unsigned')}</p>` : nothing}`
          : this.problem
            ? nothing
            : waiting(3)
      }
    </section>`;
  }

  /** @param {LogProof} log @param {Witness} witness */
  witnessRow(log, witness) {
    const behind = (log.checkpointSize ?? 0) - witness.size;
    return html`<tr>
      <td>
        <span class="strong">${witness.key_name ?? word('witness', witness.kind)}</span>
        <div class="small faint breaks">${witness.address ?? word('witness', witness.kind)}</div>
      </td>
      <td>${word('log', log.lane)}</td>
      <td class="end numeric">${number(witness.size)}</td>
      <td class="wide">
        ${witness.taken_at ? when(witness.signed_at ?? witness.taken_at) : html`<span class="none">${t('never')}</span>`}
        <div class="small faint">
          ${witness.signed_at ? t('witness.signed') : witness.taken_at ? t('witness.took') : nothing}
        </div>
      </td>
      <td>
        ${
          witness.problem
            ? html`<span class="pill bad">${t('witness.refuses')}</span>
                <div class="small muted breaks">${witness.problem} · ${ago(witness.problem_since)}</div>`
            : behind > 0
              ? html`<span class="pill warn">${t('witness.behind', { n: behind })}</span>`
              : html`<span class="pill good">${t('witness.newest')}</span>`
        }
      </td>
    </tr>`;
  }

  witnessesSheet() {
    const rows = (this.logs ?? []).flatMap((log) =>
      (this.witnesses[log.logId] ?? []).map((one) => this.witnessRow(log, one)),
    );
    return html`<section class="sheet" aria-labelledby="witnesses">
      <div class="sheet-head"><h2 id="witnesses">${t('witness.title')}</h2></div>
      ${
        rows.length
          ? html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('witness.title')}>
              <table>
                <thead>
                  <tr>
                    <th>${t('witness.who')}</th>
                    <th>${t('events.log')}</th>
                    <th class="end">${t('witness.size')}</th>
                    <th class="wide">${t('witness.when')}</th>
                    <th>${t('status')}</th>
                  </tr>
                </thead>
                <tbody>
                  ${rows}
                </tbody>
              </table>
            </div>`
          : this.logs
            ? empty(
                t('witness.none'),
                html`<p>${t('witness.none.next')}</p>
                  ${commandLine('fleetlog serve --witness file:///mnt/other-party/checkpoints')}`,
              )
            : waiting(2)
      }
      <p class="sheet-body small muted">${t('witness.means')}</p>
    </section>`;
  }

  render() {
    return html`<div class="page-head">
        <div class="grow">
          <h1>${t('nav.proof')}</h1>
          <p class="sub">${t('proof.sub')}</p>
        </div>
        <a class="button primary" href="/app/proof/check">${icon('proof')}${t('proof.check')}</a>
      </div>
      ${shown(this.problem)}
      <div class="grid">${this.logsSheet()}${this.witnessesSheet()}</div>
      <div class="grid two">
        <fl-growth></fl-growth>
        <fl-trusted></fl-trusted>
      </div>`;
  }
}
customElements.define('fl-proof', ProofPage);
