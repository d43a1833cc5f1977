// What could not become an event, with the reason: nothing that a device sent is lost without a word.

import { get, post } from '../api.js';
import { number, t, when, word } from '../i18n.js';
import { say } from '../parts/dialog.js';
import { AskingPart, asProblem, empty, html, nothing, shown, waiting } from '../parts/part.js';
import { may } from '../session.js';

const PAGE = 50;
const EVERY = 5000;
/** The reasons for which a source helps. */
const OF_NO_SOURCE = ['bad_topic', 'no_uid'];

/**
 * @typedef {{
 *   quarantine_id: number, topic: string, bytes: number, excerpt: string, reason: string, detail: string,
 *   received_at: string
 * }} Message
 */

/** A message on a line of its own, as the page of sources takes it. @param {Message} message */
const line = ({ topic, excerpt }) => `${topic}\t${excerpt.replace(/\s*\n\s*/g, ' ')}`;

class Quarantine extends AskingPart {
  static properties = { list: { state: true }, total: { state: true }, busy: { state: true } };

  constructor() {
    super();
    /** @type {Message[] | null} */
    this.list = null;
    /** @type {string | null} */
    this.next = null;
    this.total = '';
    this.busy = false;
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(EVERY, () => this.load());
  }

  /** Adds what is new at the top; what was read on stays below it. */
  load() {
    return this.attempt(async () => {
      const page = await get(`/quarantine?count=true&limit=${PAGE}`);
      const last = page.items.at(-1)?.quarantine_id ?? 0;
      const older = (this.list ?? []).filter((one) => one.quarantine_id < last);
      if (older.length === 0) this.next = page.has_more ? page.next_cursor : null;
      this.list = [...page.items, ...older];
      this.total = number(page.total) + (page.total_is_lower_bound ? '+' : '');
    });
  }

  async more() {
    try {
      const page = await get(`/quarantine?limit=${PAGE}&cursor=${encodeURIComponent(this.next ?? '')}`);
      this.list = [...(this.list ?? []), ...page.items];
      this.next = page.has_more ? page.next_cursor : null;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /**
   * Takes messages in again: these, or all of them, some at a time.
   * @param {number[]} [ids]
   */
  async again(ids) {
    this.busy = true;
    let [taken, refused] = [0, 0];
    await this.attempt(async () => {
      /** @type {number | null} */
      let after = 0;
      while (after !== null) {
        const done = await post('/quarantine/reprocess', ids ? { ids } : { after });
        taken += done.recorded + done.duplicates;
        refused += done.refused.length + done.cut.length;
        after = ids ? null : done.next;
      }
      say(t('quarantine.again.done', { taken: number(taken), refused: number(refused) }));
    });
    this.busy = false;
    // What went wrong stays until the list is asked for again.
    if (this.problem) return;
    this.list = null;
    await this.load();
  }

  table() {
    if (!this.list) return this.problem ? nothing : waiting(6);
    if (this.list.length === 0) return empty(t('quarantine.none'), html`<p>${t('quarantine.none.next')}</p>`);
    return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
        <table>
          <thead>
            <tr>
              <th class="wide">${t('quarantine.received')}</th>
              <th>${t('quarantine.reason')}</th>
              <th>${t('quarantine.message')}</th>
              <th class="end wide">${t('quarantine.bytes')}</th>
            </tr>
          </thead>
          <tbody>
            ${this.list.map(
              (one) =>
                html`<tr>
                  <td class="wide">${when(one.received_at)}</td>
                  <td>
                    <span class="pill warn">${word('reason', one.reason)}</span>
                    <div class="small muted">${one.detail}</div>
                    <div class="small faint only-small">${when(one.received_at)}</div>
                  </td>
                  <td>
                    <code class="small topic">${one.topic}</code>
                    <pre class="json" tabindex="0">${one.excerpt}</pre>
                    <div class="small actions">
                      <a href="/api/v1/quarantine/${one.quarantine_id}/payload" download>${t('quarantine.download')}</a>
                      ${
                        may('sources.write') && OF_NO_SOURCE.includes(one.reason)
                          ? html`<a href=${`/app/sources?message=${encodeURIComponent(line(one))}`}
                              >${t('sources.make')}</a
                            >`
                          : nothing
                      }
                      ${
                        may('quarantine.write')
                          ? html`<button
                              class="plain"
                              ?disabled=${this.busy}
                              @click=${() => this.again([one.quarantine_id])}
                            >
                              ${t('quarantine.again')}
                            </button>`
                          : nothing
                      }
                    </div>
                  </td>
                  <td class="end numeric wide">${number(one.bytes)}</td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
      ${this.next ? html`<div class="more"><button @click=${this.more}>${t('more')}</button></div>` : nothing}`;
  }

  render() {
    return html`<div class="page-head">
        <div class="grow">
          <h1>${t('nav.quarantine')}</h1>
          <p class="sub">${this.total ? t('quarantine.sub', { total: this.total }) : ' '}</p>
        </div>
        ${
          this.list?.length && may('quarantine.write')
            ? html`<button ?disabled=${this.busy} @click=${() => this.again()}>${t('quarantine.again.all')}</button>`
            : nothing
        }
      </div>
      ${shown(this.problem)}
      <section class="sheet" aria-label=${t('nav.quarantine')}>${this.table()}</section>`;
  }
}
customElements.define('fl-quarantine', Quarantine);
