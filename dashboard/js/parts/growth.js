// Whether a checkpoint that somebody has kept is the beginning of the log's newest one: nothing under it was changed since.

import { get, getText } from '../api.js';
import { number, t, when } from '../i18n.js';
import { Malformed, fromHash } from '../proof/bytes.js';
import { checkGrowth } from '../proof/check.js';
import { readGiven } from '../proof/given.js';
import { readCheckpoint } from '../proof/note.js';
import { chosen, download, dropped } from './files.js';
import { icon } from './icons.js';
import { Part, asProblem, html, nothing, shown } from './part.js';
import { checked, means, reasons, steps, verdict } from './proof-report.js';
import { forgetCheckpoint, keepCheckpoint, keptCheckpoints, trust } from './trust.js';

/** @typedef {import('../proof/note.js').Checkpoint} Checkpoint */
/** @typedef {{ old: Checkpoint, report: import('../proof/check.js').Report, size: number }} Answer */

/** Compares a kept checkpoint with the service's newest one. @param {Checkpoint} old @returns {Promise<Answer>} */
export async function growth(old) {
  const note = await getText(`/audit/${old.logId}/checkpoint`);
  const newest = await checked(async () => readCheckpoint(note));
  let hashes = /** @type {string[]} */ ([]);
  if (old.size < newest.size)
    ({ hashes } = await get(`/audit/${old.logId}/consistency?old=${old.size}&size=${newest.size}`));
  const known = await checked(trust);
  const report = await checked(async () => {
    const proof = hashes.map((hash) => fromHash(hash) ?? fail());
    return checkGrowth(old, newest, proof, known.keys);
  });
  return { old, report, size: newest.size };
}

/** @returns {never} */
function fail() {
  throw new Malformed('no_proof');
}

class Growth extends Part {
  static properties = { answers: { state: true }, problem: { state: true }, busy: { state: true } };

  constructor() {
    super();
    /** @type {Answer[]} */
    this.answers = [];
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    this.busy = false;
  }

  /** @param {string} text */
  async compare(text) {
    if (!text.trim()) return;
    [this.busy, this.problem, this.answers] = [true, null, []];
    try {
      const { checkpoints, proofs } = await checked(() => readGiven(text));
      const all = [...checkpoints, ...proofs.map(({ checkpoint }) => checkpoint)];
      if (all.length === 0) await checked(async () => missing());
      for (const old of all) this.answers = [...this.answers, await growth(old)];
    } catch (error) {
      this.problem = asProblem(error);
    }
    this.busy = false;
  }

  /** @param {Map<string, Blob>} files */
  async take(files) {
    const texts = await Promise.all(Array.from(files.values(), (file) => file.text()));
    const area = this.querySelector('textarea');
    if (area) area.value = texts.join('\n');
    await this.compare(texts.join('\n'));
  }

  async keepNewest() {
    try {
      const logs = (await get('/audit')).items.filter((/** @type {any} */ log) => log.checkpoint_size !== null);
      const notes = await Promise.all(logs.map((/** @type {any} */ log) => getText(`/audit/${log.log_id}/checkpoint`)));
      for (const note of notes) keepCheckpoint(note);
      download(`${new Date().toISOString().slice(0, 10)}.checkpoints`, notes.join(''));
      this.requestUpdate();
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** @param {Answer} answer */
  answer({ old, report, size }) {
    const values = { old: old.size, size, origin: old.origin };
    const titles = { good: 'growth.good', bad: 'growth.bad', unknown: 'growth.unknown' };
    const title = t(/** @type {import('../i18n.js').Key} */ (titles[report.verdict]), values);
    return html`${verdict(report.verdict, title, report.verdict === 'good' ? nothing : reasons(report.steps))}
    ${steps(report)} ${report.verdict === 'good' ? means({ of: 'growth' }) : nothing}`;
  }

  kept() {
    const all = keptCheckpoints();
    if (all.length === 0) return html`<p class="small muted">${t('growth.kept.none')}</p>`;
    return html`<ul class="kept">
      ${all.slice(0, 8).map((one) => {
        const [origin = '', size = ''] = one.text.split('\n');
        const forget = () => {
          forgetCheckpoint(one.text);
          this.requestUpdate();
        };
        return html`<li>
          <div>
            <p>
              <span class="strong">${origin}</span>
              <span class="muted">${t('growth.events', { n: Number(size) })}</span>
            </p>
            <p class="small muted">${when(one.since)}</p>
          </div>
          <button @click=${() => this.compare(one.text)}>${t('growth.compare')}</button>
          <button
            class="plain square"
            title=${t('trust.forget')}
            aria-label=${`${t('trust.forget')}: ${origin} ${number(Number(size))}`}
            @click=${forget}
          >
            ${icon('close')}
          </button>
        </li>`;
      })}
    </ul>`;
  }

  render() {
    const submit = (/** @type {SubmitEvent} */ event) => {
      event.preventDefault();
      this.compare(`${new FormData(/** @type {HTMLFormElement} */ (event.target)).get('old')}`);
    };
    return html`<section class="sheet" aria-labelledby="growth">
      <div class="sheet-head">
        <h2 id="growth" class="grow">${t('growth.title')}</h2>
        <button @click=${this.keepNewest}>${icon('save')}${t('growth.keep')}</button>
      </div>
      <div class="sheet-body stack">
        <p class="muted">${t('growth.what')}</p>
        ${this.kept()}
        <form
          class="fields"
          @submit=${submit}
          @dragover=${(/** @type {DragEvent} */ event) => event.preventDefault()}
          @drop=${async (/** @type {DragEvent} */ event) => {
            event.preventDefault();
            if (event.dataTransfer) await this.take(await dropped(event.dataTransfer));
          }}
        >
          <div class="field">
            <label for="old">${t('growth.old')}</label
            ><textarea
              id="old"
              name="old"
              rows="5"
              spellcheck="false"
              placeholder=${t('growth.placeholder')}
            ></textarea>
          </div>
          <div class="actions">
            <button class="primary" ?disabled=${this.busy}>${t('growth.compare')}</button>
            <label class="button file"
              >${icon('file')}${t('proof.choose')}<input
                type="file"
                class="visually-hidden"
                @change=${(/** @type {Event} */ event) => this.take(chosen(/** @type {HTMLInputElement} */ (event.target).files))}
            /></label>
          </div>
        </form>
        ${shown(this.problem)} ${this.answers.map((answer) => this.answer(answer))}
      </div>
    </section>`;
  }
}
customElements.define('fl-growth', Growth);

function missing() {
  throw new Malformed('checkpoint_missing');
}
