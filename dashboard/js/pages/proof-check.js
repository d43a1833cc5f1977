// Checks what somebody was given: an event with its proof, or a whole bundle. Nothing of it leaves this browser.

import { Problem, get, getText } from '../api.js';
import { number, t, word } from '../i18n.js';
import { eventPath } from '../parts/event.js';
import { chosen, dropped } from '../parts/files.js';
import { growth } from '../parts/growth.js';
import { icon } from '../parts/icons.js';
import { Part, asProblem, empty, html, nothing, shown } from '../parts/part.js';
import { checked, means, reasons, steps, verdict } from '../parts/proof-report.js';
import { keptCheckpoints, trust, trustNotice } from '../parts/trust.js';
import '../parts/trust.js';
import { checkBundle } from '../proof/bundle.js';
import { Malformed } from '../proof/bytes.js';
import { checkEvent } from '../proof/check.js';
import { readGiven, readProof } from '../proof/given.js';
import { readCheckpoint } from '../proof/note.js';
import { columnsOf } from '../proof/record.js';

/** @typedef {import('../proof/record.js').Event} GivenEvent */
/** @typedef {import('../proof/check.js').Report} Report */
/** @typedef {import('../parts/trust.js').Trust} Trust */
/** @typedef {{ event: GivenEvent, report: Report, differs: string[], onRecord: boolean, own: boolean }} EventAnswer `own`: the proof was fetched here. */
/** @typedef {import('../proof/bundle.js').LogReport} LogReport */

/** How what may be pasted begins. */
const EXAMPLE = '{"log_id":2,"position":1, … }\nc2sp.org/tlog-proof@v1\nindex 0\n…';

/** The proof that is of an event: of its log, and of its position where there are several. @param {GivenEvent} event @param {import('../proof/given.js').Proof[]} proofs */
const proofOf = (event, proofs) =>
  proofs.find(({ index, checkpoint }) => checkpoint.logId === event.log_id && index + 1 === event.position) ??
  (proofs.length === 1 ? proofs[0] : undefined);

class ProofCheck extends Part {
  static properties = {
    events: { state: true },
    growths: { state: true },
    logs: { state: true },
    known: { state: true },
    problem: { state: true },
    progress: { state: true },
    busy: { state: true },
    over: { state: true },
  };

  constructor() {
    super();
    /** @type {EventAnswer[]} */
    this.events = [];
    /** @type {Awaited<ReturnType<typeof growth>>[]} */
    this.growths = [];
    /** @type {LogReport[]} */
    this.logs = [];
    /** @type {Trust | null} */
    this.known = null;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    this.progress = 0;
    /** Whether a key came with it that is not among those that are trusted. */
    this.strange = false;
    this.busy = false;
    this.over = false;
  }

  /** @param {(known: Trust) => Promise<unknown>} work */
  async run(work) {
    Object.assign(this, { events: [], growths: [], logs: [], problem: null, progress: 0, strange: false, busy: true });
    try {
      this.known = await checked(trust);
      await work(this.known);
    } catch (error) {
      this.problem = asProblem(error);
    }
    this.busy = false;
    await this.updateComplete;
    this.querySelector('.verdict, .answers .problem')?.scrollIntoView({ block: 'nearest' });
  }

  /** @param {string} text */
  checkText(text) {
    return this.run(async (known) => {
      const given = await checked(() => readGiven(text));
      this.strange = given.keys.some((key) => !known.keys.some((one) => one.key.join() === key.key.join()));
      if (given.events.length === 0 && given.proofs.length === 0 && given.checkpoints.length === 0)
        await checked(async () => nothingGiven());
      const events = given.events.length ? given.events : await Promise.all(given.proofs.map(ofProof));
      for (const event of events) this.events = [...this.events, await this.checkOne(event, given.proofs, known.keys)];
      for (const old of given.checkpoints) this.growths = [...this.growths, await growth(old)];
    });
  }

  /** @param {GivenEvent} event @param {import('../proof/given.js').Proof[]} proofs @param {import('../proof/note.js').Key[]} keys @returns {Promise<EventAnswer>} */
  async checkOne(event, proofs, keys) {
    const given = proofOf(event, proofs);
    const proof =
      given ??
      (await checked(async () =>
        readProof(await getText(`/events/${event.log_id ?? 0}/${event.position ?? 0}/proof`)),
      ));
    const report = await checked(() => checkEvent(event, proof, keys));
    const recorded = report.verdict === 'bad' ? await record(event).catch(() => null) : null;
    const differs = recorded
      ? columnsOf(event).flatMap(([name]) => (recorded[name] === event[name] ? [] : [name]))
      : [];
    return { event, report, differs, onRecord: recorded !== null, own: !given };
  }

  /** @param {Map<string, Blob>} files */
  async take(files) {
    if (files.size === 0) return;
    if (Array.from(files.keys()).some((path) => /(^|\/)log-\d+\/checkpoint$/.test(path)))
      return this.checkFolder(files);
    const texts = await Promise.all(Array.from(files.values(), (file) => file.text()));
    const area = this.querySelector('textarea');
    if (area) area.value = texts.join('\n');
    return this.checkText(texts.join('\n'));
  }

  /** @param {Map<string, Blob>} files */
  checkFolder(files) {
    return this.run(async ({ keys }) => {
      const kept = keptCheckpoints().map(({ text }) => readCheckpoint(text));
      const progress = (/** @type {number} */ events) => (this.progress = events);
      this.logs = await checked(() => checkBundle(files, { keys, kept, progress }));
    });
  }

  /** @param {EventAnswer} answer */
  eventAnswer({ event, report, differs, onRecord, own }) {
    const name = `${event.log_id}:${event.position}`;
    const titles = { good: 'check.event.good', bad: 'check.event.bad', unknown: 'check.event.unknown' };
    const title = t(/** @type {import('../i18n.js').Key} */ (titles[report.verdict]), { place: name });
    const isMoved = report.steps.some(({ reason }) => reason === 'moved');
    const compared = isMoved
      ? nothing
      : differs.length
        ? html`<p>${t('check.differs', { columns: differs.join(', ') })}</p>`
        : onRecord
          ? html`<p>${t('check.as_recorded')}</p>`
          : nothing;
    return html`<section class="sheet" aria-label=${name}>
      <div class="sheet-body stack">
        ${verdict(report.verdict, title, report.verdict === 'good' ? nothing : html`${reasons(report.steps)}${compared}`)}
        ${own ? html`<p class="small muted">${t('check.own_proof')}</p>` : nothing}
        ${this.known ? trustNotice(this.known) : nothing} ${steps(report)}
        ${report.verdict === 'good' ? means({ of: 'event' }) : nothing}
        <p><a href=${eventPath(event.log_id ?? 0, event.position ?? 0)}>${t('check.here', { place: name })}</a></p>
      </div>
    </section>`;
  }

  /** @param {LogReport} log */
  logAnswer({ logId, checkpoint, signed, trusted, findings, found, range }) {
    const state = found ? 'bad' : signed.state === 'right' && trusted ? 'good' : 'unknown';
    const values = { log: logId, ...range, size: checkpoint.size, found };
    const titles = { good: 'check.log.good', bad: 'check.log.bad', unknown: 'check.log.unknown' };
    const title = t(/** @type {import('../i18n.js').Key} */ (titles[state]), values);
    return html`<section class="sheet" aria-label=${t('proof.log', { log: logId })}>
      <div class="sheet-body stack">
        ${verdict(
          state,
          title,
          found
            ? html`<ul class="reasons">
                ${findings.map(({ code, values }) => html`<li>${word('finding', code, values)}</li>`)}
                ${found > findings.length ? html`<li>${t('check.more', { n: found - findings.length })}</li>` : nothing}
              </ul>`
            : state === 'unknown'
              ? html`<p>${signed.state === 'unsupported' ? word('proof.why', 'unsupported') : t('check.own_key')}</p>`
              : html`<p>${t('check.log.what', values)}</p>`,
        )}
        <p class="small muted breaks">${checkpoint.origin} · ${t('growth.events', { n: checkpoint.size })}</p>
        ${state === 'good' ? means({ of: 'event' }) : nothing}
      </div>
    </section>`;
  }

  form() {
    const submit = (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      this.checkText(`${new FormData(/** @type {HTMLFormElement} */ (event.target)).get('given')}`);
    };
    const choose = (/** @type {Event} */ event) =>
      this.take(chosen(/** @type {HTMLInputElement} */ (event.target).files));
    return html`<form
      class="sheet drop-target ${this.over ? 'over' : ''}"
      @submit=${submit}
      @dragover=${(/** @type {DragEvent} */ event) => {
        event.preventDefault();
        this.over = true;
      }}
      @dragleave=${() => (this.over = false)}
      @drop=${async (/** @type {DragEvent} */ event) => {
        event.preventDefault();
        this.over = false;
        if (event.dataTransfer) await this.take(await dropped(event.dataTransfer));
      }}
    >
      <div class="sheet-body stack">
        <p class="muted">${t('check.intro')}</p>
        <div class="field">
          <label for="given">${t('check.given')}</label
          ><textarea
            id="given"
            name="given"
            rows="9"
            spellcheck="false"
            autocomplete="off"
            placeholder=${EXAMPLE}
          ></textarea>
        </div>
        <div class="actions">
          <button class="primary" ?disabled=${this.busy}>${icon('proof')}${t('check.button')}</button>
          <label class="button file"
            >${icon('file')}${t('proof.choose')}<input type="file" multiple class="visually-hidden" @change=${choose}
          /></label>
          <label class="button file"
            >${icon('folder')}${t('check.folder')}<input
              type="file"
              webkitdirectory
              class="visually-hidden"
              @change=${choose}
          /></label>
        </div>
        <p class="small muted">${t('check.drop')}</p>
      </div>
    </form>`;
  }

  answers() {
    const some = this.problem || this.events.length || this.logs.length || this.growths.length;
    if (this.busy)
      return html`<p class="sheet sheet-body" role="status">
        <span class="spinner" aria-hidden="true"></span>
        ${this.progress ? t('check.progress', { n: number(this.progress) }) : t('verify.event.checks')}
      </p>`;
    if (!some) return html`<section class="sheet">${empty(t('check.waiting'), t('check.waiting.next'))}</section>`;
    return html`${shown(this.problem)}
    ${this.strange ? html`<p class="notice warn">${t('check.strange_key')}</p>` : nothing}
    ${this.events.map((one) => this.eventAnswer(one))} ${this.logs.map((one) => this.logAnswer(one))}
    ${this.growths.map(
      ({ old, report, size }) =>
        html`<section class="sheet">
          <div class="sheet-body stack">
            ${verdict(report.verdict, t(report.verdict === 'good' ? 'growth.good' : report.verdict === 'bad' ? 'growth.bad' : 'growth.unknown', { old: old.size, size, origin: old.origin }), report.verdict === 'good' ? nothing : reasons(report.steps))}
            ${steps(report)}
          </div>
        </section>`,
    )}`;
  }

  render() {
    return html`<div class="page-head">
        <div class="grow">
          <p class="sub"><a href="/app/proof">${t('nav.proof')}</a></p>
          <h1>${t('check.title')}</h1>
        </div>
      </div>
      <div class="grid two">
        <div class="grid">${this.form()}<fl-trusted></fl-trusted></div>
        <div class="grid answers" aria-live="polite">${this.answers()}</div>
      </div>`;
  }
}
customElements.define('fl-proof-check', ProofCheck);

/** @param {GivenEvent} event @returns {Promise<GivenEvent>} */
const record = (event) => get(`/events/${event.log_id}/${event.position}/record`);

/** The event that a proof without one is of, as the service has it. @param {import('../proof/given.js').Proof} proof @returns {Promise<GivenEvent>} */
const ofProof = async ({ checkpoint, index }) => {
  try {
    return await get(`/events/${checkpoint.logId}/${index + 1}/record`);
  } catch (error) {
    if (error instanceof Problem && error.status === 404) throw new Problem(422, { detail: t('check.no_event') });
    throw error;
  }
};

function nothingGiven() {
  throw new Malformed('nothing');
}
