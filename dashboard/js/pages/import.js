// Many devices out of a file: chosen, checked as a whole, shown, registered, and each one's outcome.

import { patch, post } from '../api.js';
import { number, t, word } from '../i18n.js';
import { each } from '../parts/bulk.js';
import { MOST, download, readDevices } from '../parts/device-file.js';
import { icon } from '../parts/icons.js';
import { labelList } from '../parts/labels.js';
import { Part, empty, html, nothing, sentence } from '../parts/part.js';
import { pill } from '../parts/pills.js';

/** How many rows of the file are shown, how many mistakes, and how many outcomes. */
const SHOWN = { rows: 8, mistakes: 100, results: 200 };
const EXAMPLE = 'uid,name,labels\ndev-01,Boiler,site=hanoi;floor=3\ndev-02,Pump,site=hue\n';

/** @typedef {import('../parts/device-file.js').Row} Row */
/** @typedef {import('../parts/device-file.js').Read} Read */
/** @typedef {import('../parts/bulk.js').Result<Row>} Result */

class Import extends Part {
  static properties = {
    file: { state: true },
    read: { state: true },
    changes: { state: true },
    state: { state: true },
    results: { state: true },
    over: { state: true },
  };

  constructor() {
    super();
    /** The file's name. */
    this.file = '';
    /** @type {Read | null} */
    this.read = null;
    /** Whether devices that are registered already get the file's names and labels. */
    this.changes = false;
    /** @type {'choose' | 'working' | 'done'} */
    this.state = 'choose';
    /** @type {Result[]} */
    this.results = [];
    this.over = false;
    this.abort = new AbortController();
    this.drawing = 0;
  }

  connectedCallback() {
    super.connectedCallback();
    const ask = (/** @type {BeforeUnloadEvent} */ event) => this.state === 'working' && event.preventDefault();
    addEventListener('beforeunload', ask);
    this.whenGone(() => {
      removeEventListener('beforeunload', ask);
      this.abort.abort();
    });
  }

  /** @param {File | undefined} file */
  async take(file) {
    this.over = false;
    if (!file) return;
    this.file = file.name;
    this.read =
      file.size > MOST.bytes
        ? { rows: [], mistakes: [{ row: 1, column: '–', reason: t('import.wrong.large', { n: MOST.bytes >> 20 }) }] }
        : readDevices(await file.text());
    this.results = [];
    this.state = 'choose';
  }

  /** @param {DragEvent} event */
  drop(event) {
    event.preventDefault();
    this.take(event.dataTransfer?.files[0]);
  }

  async start() {
    const rows = this.read?.rows ?? [];
    this.state = 'working';
    this.results = [];
    this.abort = new AbortController();
    /** @type {Result[]} */
    const results = [];
    const told = (/** @type {Result} */ result) => {
      results.push(result);
      // Thousands of outcomes are drawn some at a time.
      this.drawing ||= window.setTimeout(() => {
        this.drawing = 0;
        this.results = [...results];
      }, 200);
    };
    await each(rows, (row) => this.register(row), told, this.abort.signal);
    clearTimeout(this.drawing);
    this.drawing = 0;
    this.results = results.sort((one, other) => one.item.row - other.item.row);
    this.state = 'done';
  }

  /** @param {Row} row */
  async register({ uid, name, labels }) {
    const said = { ...(name ? { name } : {}), ...(Object.keys(labels).length ? { labels } : {}) };
    try {
      await post('/devices', { uid, ...said });
      return 'registered';
    } catch (error) {
      if (/** @type {import('../api.js').Problem} */ (error).code !== 'already_registered') throw error;
    }
    if (!this.changes || Object.keys(said).length === 0) return 'known';
    const { position } = await patch(`/devices/${encodeURIComponent(uid)}`, said);
    return position ? 'changed' : 'known';
  }

  save() {
    const rows = this.results.map(({ item, outcome, problem }) => [
      item.row,
      item.uid,
      word('import.outcome', outcome),
      problem ? sentence(problem.message) : '',
    ]);
    download('devices-result.csv', [[t('import.row'), 'uid', t('import.outcome'), t('import.reason')], ...rows]);
  }

  chooser() {
    return html`<section class="sheet" aria-labelledby="choose">
      <div class="sheet-head"><h2 id="choose">${t('import.choose')}</h2></div>
      <div class="sheet-body fields">
        <label
          class="drop ${this.over ? 'over' : ''}"
          @dragover=${(/** @type {DragEvent} */ event) => {
            event.preventDefault();
            this.over = true;
          }}
          @dragleave=${() => (this.over = false)}
          @drop=${this.drop}
        >
          ${icon('upload')}
          <span><strong>${this.file || t('import.drop')}</strong></span>
          <span class="muted small">${t('import.kinds')}</span>
          <input
            type="file"
            class="visually-hidden"
            accept=".csv,.ndjson,.jsonl,.txt,text/csv,application/x-ndjson"
            @change=${(/** @type {Event} */ event) => {
              const input = /** @type {HTMLInputElement} */ (event.target);
              // The same file again, once it is corrected, is a change too.
              this.take(input.files?.[0]).then(() => (input.value = ''));
            }}
          />
        </label>
        <details ?open=${!this.read}>
          <summary>${t('import.form')}</summary>
          <div class="two-forms">
            <div>
              <p class="small muted">${t('import.form.csv')}</p>
              <pre class="json" tabindex="0">${EXAMPLE}</pre>
              <button
                @click=${() =>
                  download(
                    'devices.csv',
                    EXAMPLE.trim()
                      .split('\n')
                      .map((line) => line.split(',')),
                  )}
              >
                ${icon('download')}${t('import.example')}
              </button>
            </div>
            <div>
              <p class="small muted">${t('import.form.json')}</p>
              <pre class="json" tabindex="0">
{"uid":"dev-01","name":"Boiler","labels":{"site":"hanoi"}}
{"uid":"dev-02","labels":{"site":"hue"}}</pre>
            </div>
          </div>
        </details>
      </div>
    </section>`;
  }

  /** @param {Read} read */
  mistakes({ mistakes }) {
    return html`<section class="sheet" aria-labelledby="mistakes">
      <div class="sheet-head">
        <h2 id="mistakes" class="grow">${t('import.mistakes', { n: mistakes.length })}</h2>
      </div>
      <p class="sheet-body small muted">${t('import.mistakes.why')}</p>
      <div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
        <table class="compact">
          <thead>
            <tr>
              <th class="end row-number">${t('import.row')}</th>
              <th>${t('import.column')}</th>
              <th>${t('import.reason')}</th>
            </tr>
          </thead>
          <tbody>
            ${mistakes.slice(0, SHOWN.mistakes).map(
              ({ row, column, reason }) =>
                html`<tr>
                  <td class="end numeric">${number(row)}</td>
                  <td><code>${column}</code></td>
                  <td>${sentence(reason)}</td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
      ${mistakes.length > SHOWN.mistakes ? html`<p class="more">${t('import.further', { n: mistakes.length - SHOWN.mistakes })}</p>` : nothing}
    </section>`;
  }

  /** @param {Read} read */
  preview({ rows }) {
    return html`<section class="sheet" aria-labelledby="preview">
      <div class="sheet-head">
        <h2 id="preview" class="grow">${t('import.preview', { n: rows.length })}</h2>
        <button class="primary" @click=${this.start}>${t('import.start', { n: rows.length })}</button>
      </div>
      <div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
        <table class="compact">
          <thead>
            <tr>
              <th class="end row-number">${t('import.row')}</th>
              <th>${t('device.uid')}</th>
              <th>${t('name')}</th>
              <th class="wide">${t('labels')}</th>
            </tr>
          </thead>
          <tbody>
            ${rows.slice(0, SHOWN.rows).map(
              (row) =>
                html`<tr>
                  <td class="end numeric">${number(row.row)}</td>
                  <td><code>${row.uid}</code></td>
                  <td>${row.name || html`<span class="none">–</span>`}</td>
                  <td class="wide">${labelList(row.labels)}</td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
      ${rows.length > SHOWN.rows ? html`<p class="more">${t('import.further', { n: rows.length - SHOWN.rows })}</p>` : nothing}
      <div class="sheet-body">
        <label class="check"
          ><input
            type="checkbox"
            .checked=${this.changes}
            @change=${(/** @type {Event} */ event) => (this.changes = /** @type {HTMLInputElement} */ (event.target).checked)}
          />${t('import.changes')}</label
        >
      </div>
    </section>`;
  }

  progress() {
    const all = this.read?.rows.length ?? 0;
    const done = this.results.length;
    const count = (/** @type {string} */ outcome) => this.results.filter((result) => result.outcome === outcome).length;
    const outcomes = ['registered', 'changed', 'known', 'failed'].filter((outcome) => count(outcome));
    return html`<section class="sheet" aria-labelledby="progress">
      <div class="sheet-head">
        <h2 id="progress" class="grow">
          ${this.state === 'working' ? t('import.working') : done < all ? t('import.stopped') : t('import.done')}
        </h2>
        ${
          this.state === 'working'
            ? html`<button @click=${() => this.abort.abort()}>${t('import.stop')}</button>`
            : html`<button @click=${this.save}>${icon('download')}${t('import.save')}</button
                ><a class="button primary" href="/app/devices">${t('devices.all')}</a>`
        }
      </div>
      <div class="sheet-body fields">
        <progress max=${all} value=${done} aria-labelledby="progress"></progress>
        <p role="status">
          <strong class="numeric">${t('import.of', { done, all })}</strong>
          ${outcomes.map((outcome) => html` · <span class="numeric">${number(count(outcome))} ${word('import.outcome', outcome)}</span>`)}
        </p>
      </div>
      ${this.state === 'done' ? this.outcomes() : nothing}
    </section>`;
  }

  outcomes() {
    // What went wrong comes first: it is what is left to do.
    const failed = this.results.filter((result) => result.problem);
    const list = [...failed, ...this.results.filter((result) => !result.problem)];
    if (list.length === 0) return empty(t('import.none'));
    return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
        <table class="compact">
          <thead>
            <tr>
              <th class="end row-number">${t('import.row')}</th>
              <th>${t('device')}</th>
              <th>${t('import.outcome')}</th>
              <th>${t('import.reason')}</th>
            </tr>
          </thead>
          <tbody>
            ${list.slice(0, SHOWN.results).map(
              ({ item, outcome, problem }) =>
                html`<tr>
                  <td class="end numeric">${number(item.row)}</td>
                  <td>
                    ${problem ? html`<code>${item.uid}</code>` : html`<a href=${`/app/devices/${encodeURIComponent(item.uid)}`}>${item.uid}</a>`}
                  </td>
                  <td>${pill('import.outcome', outcome)}</td>
                  <td>${problem ? sentence(problem.errors[0]?.reason ?? problem.message) : nothing}</td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
      ${list.length > SHOWN.results ? html`<p class="more">${t('import.further.saved', { n: list.length - SHOWN.results })}</p>` : nothing}`;
  }

  render() {
    const { read, state } = this;
    return html`<div class="page-head">
        <div class="grow">
          <p class="small"><a href="/app/devices">${t('nav.devices')}</a></p>
          <h1>${t('import.title')}</h1>
          <p class="sub">${t('import.sub')}</p>
        </div>
      </div>
      ${state === 'working' ? nothing : this.chooser()}
      ${
        state !== 'choose'
          ? this.progress()
          : read
            ? read.mistakes.length
              ? this.mistakes(read)
              : this.preview(read)
            : nothing
      }`;
  }
}
customElements.define('fl-import', Import);
