// Batches: one command for many devices, the newest first.

import { get } from '../api.js';
import { ago, number, t } from '../i18n.js';
import { bar, chosen, ended, isOpen } from '../parts/batch.js';
import { shortParams } from '../parts/command-life.js';
import { commandTabs } from '../parts/command-tabs.js';
import { icon } from '../parts/icons.js';
import { Part, asProblem, empty, html, nothing, shown, waiting } from '../parts/part.js';
import { pill } from '../parts/pills.js';
import { who } from '../parts/who.js';
import { may } from '../session.js';

const EVERY = 3000;
const PAGE = 50;

/** @typedef {import('../parts/batch.js').Batch} Batch */

class Batches extends Part {
  static properties = { list: { state: true }, problem: { state: true } };

  constructor() {
    super();
    /** @type {Batch[] | null} */
    this.list = null;
    /** @type {string | null} */
    this.next = null;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(EVERY, () => this.load());
  }

  async load() {
    // Once there are further pages, only what may still change is asked for: the newest.
    try {
      const { items, next_cursor: next } = await get(`/command-batches?limit=${PAGE}`);
      const known = new Set(items.map((/** @type {Batch} */ one) => one.batch_id));
      const older = (this.list ?? []).slice(PAGE).filter((one) => !known.has(one.batch_id));
      if (older.length === 0) this.next = next;
      this.list = [...items, ...older];
      this.problem = null;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  async more() {
    try {
      const page = await get(`/command-batches?limit=${PAGE}&cursor=${encodeURIComponent(this.next ?? '')}`);
      this.list = [...(this.list ?? []), ...page.items];
      this.next = page.next_cursor;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** @param {Batch} batch */
  row(batch) {
    return html`<tr>
      <td><a href=${`/app/commands/batches/${batch.batch_id}`}>${batch.cmd}</a> ${shortParams(batch.params)}</td>
      <td>${pill('batch', batch.status)}</td>
      <td class="bar-cell">
        ${bar(batch)}<span class="small muted numeric"
          >${t('batch.done', { done: ended(batch.commands), all: batch.devices })}</span
        >
      </td>
      <td class="wide end numeric">
        ${batch.commands.failed + batch.commands.timed_out ? html`<span class="wrong">${number(batch.commands.failed + batch.commands.timed_out)}</span>` : html`<span class="none">–</span>`}
      </td>
      <td class="wide">${chosen(batch)}</td>
      <td class="wide">${ago(batch.requested_at)}</td>
      <td class="wide" title=${batch.requested_by}>${who(batch.requested_by)}</td>
    </tr>`;
  }

  table() {
    if (!this.list) return this.problem ? nothing : waiting(6);
    if (this.list.length === 0)
      return empty(
        t('batches.none'),
        html`<p>${t('batches.none.next')}</p>
          ${may('commands.write') ? html`<p><a class="button primary" href="/app/commands/batches/new">${icon('plus')}${t('batches.new')}</a></p>` : nothing}`,
      );
    return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
        <table>
          <thead>
            <tr>
              <th>${t('command')}</th>
              <th>${t('status')}</th>
              <th>${t('batch.progress')}</th>
              <th class="wide end">${t('batch.failures')}</th>
              <th class="wide">${t('batch.for')}</th>
              <th class="wide">${t('commands.requested')}</th>
              <th class="wide">${t('events.actor')}</th>
            </tr>
          </thead>
          <tbody>
            ${this.list.map((batch) => this.row(batch))}
          </tbody>
        </table>
      </div>
      ${this.next ? html`<div class="more"><button @click=${this.more}>${t('more')}</button></div>` : nothing}`;
  }

  render() {
    const open = this.list?.filter((batch) => isOpen(batch.status)).length;
    return html`<div class="page-head">
        <div class="grow">
          <h1>${t('nav.commands')}</h1>
          <p class="sub">${open ? t('batches.open', { n: open }) : t('batches.sub')}</p>
        </div>
        ${may('commands.write') ? html`<a class="button primary" href="/app/commands/batches/new">${icon('plus')}${t('batches.new')}</a>` : nothing}
      </div>
      ${commandTabs('batches')} ${shown(this.problem)}
      <section class="sheet" aria-label=${t('batches')}>${this.table()}</section>`;
  }
}
customElements.define('fl-batches', Batches);
