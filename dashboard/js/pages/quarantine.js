// What could not become an event, with the reason: nothing that a device sent is lost without a word.

import { get } from '../api.js';
import { number, t, when, word } from '../i18n.js';
import { AskingPart, asProblem, empty, html, nothing, shown, waiting } from '../parts/part.js';

const PAGE = 50;
const EVERY = 5000;

/**
 * @typedef {{
 *   quarantine_id: number, topic: string, bytes: number, excerpt: string, reason: string, detail: string,
 *   received_at: string
 * }} Message
 */

class Quarantine extends AskingPart {
  static properties = { list: { state: true }, total: { state: true } };

  constructor() {
    super();
    /** @type {Message[] | null} */
    this.list = null;
    /** @type {string | null} */
    this.next = null;
    this.total = '';
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
      </div>
      ${shown(this.problem)}
      <section class="sheet" aria-label=${t('nav.quarantine')}>${this.table()}</section>`;
  }
}
customElements.define('fl-quarantine', Quarantine);
