// All devices: found, sorted, and read as one scrolls. Only the pages of the list that are seen are asked for again.

import { graphql, post } from '../api.js';
import { ago, number, shortNumber, t, word } from '../i18n.js';
import { ask, say } from '../parts/dialog.js';
import { firstSteps } from '../parts/first-steps.js';
import { icon } from '../parts/icons.js';
import { labelList, labelsOf } from '../parts/labels.js';
import { Part, asProblem, empty, html, nothing, shown, waiting } from '../parts/part.js';
import { pill } from '../parts/pills.js';
import { metrics } from '../parts/readings.js';
import { go, query, withQuery } from '../router.js';
import { may } from '../session.js';

const PAGE = 100;
const EVERY = 4000;
const STATES = /** @type {const} */ (['', 'online', 'offline', 'decommissioned']);
/** How many values of the last reading a row shows. */
const VALUES = 4;

const QUESTION = `query ($filter: DeviceFilter, $sort: DeviceSort, $first: Int, $after: String) {
  devices(filter: $filter, sort: $sort, first: $first, after: $after) {
    pageInfo { endCursor hasNextPage }
    nodes { uid name labels status lastSeenAt lastReading { payload } messages } } }`;
const COUNT = 'query ($filter: DeviceFilter) { devices(filter: $filter, first: 1) { totalCount } }';

/**
 * @typedef {{
 *   uid: string, name: string | null, labels: Record<string, string>, status: string, lastSeenAt: string | null,
 *   lastReading: { payload: any } | null, messages: number
 * }} Device
 */
/** @typedef {{ after: string | null, end: string | null, more: boolean, nodes: Device[], seen: boolean }} Page */

class Devices extends Part {
  static properties = { pages: { state: true }, total: { state: true }, problem: { state: true } };

  constructor() {
    super();
    /** @type {Page[]} */
    this.pages = [];
    /** @type {number | null} */
    this.total = null;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    this.loading = false;
    this.asked = '';
    this.typing = 0;
  }

  connectedCallback() {
    super.connectedCallback();
    this.seeing = new IntersectionObserver((entries) => entries.forEach((entry) => this.see(entry)), {
      rootMargin: '600px',
    });
    this.whenGone(() => this.seeing?.disconnect());
    this.addEventListener('query', () => this.begin());
    this.every(EVERY, () => this.refresh());
  }

  variables() {
    const status = query('status')?.toUpperCase();
    const q = query('q');
    return {
      filter: { ...(q ? { q } : {}), ...(status ? { status } : {}) },
      sort: query('sort')?.toUpperCase() ?? 'UID',
      first: PAGE,
    };
  }

  /** @param {string | null} after @returns {Promise<Page>} */
  async fetch(after) {
    const { devices } = await graphql(QUESTION, { ...this.variables(), after });
    return {
      after,
      end: devices.pageInfo.endCursor,
      more: devices.pageInfo.hasNextPage,
      nodes: devices.nodes,
      seen: true,
    };
  }

  /** Begins the list anew: another filter, another order. */
  async begin() {
    const asked = (this.asked = location.search);
    try {
      const [page, count] = await Promise.all([this.fetch(null), graphql(COUNT, { filter: this.variables().filter })]);
      if (this.asked !== asked) return;
      this.pages = [page];
      this.total = count.devices.totalCount;
      this.problem = null;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  async refresh() {
    if (this.pages.length === 0) return this.begin();
    const asked = this.asked;
    try {
      const [count, ...pages] = await Promise.all([
        graphql(COUNT, { filter: this.variables().filter }),
        ...this.pages.map((page) => (page.seen ? this.fetch(page.after) : page)),
      ]);
      if (this.asked !== asked) return;
      // Pages that were loaded meanwhile stay; one that is seen no more keeps what it had.
      this.pages = this.pages.map((page, at) => ({ ...(pages[at] ?? page), seen: page.seen }));
      this.total = count.devices.totalCount;
      this.problem = null;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  async more() {
    const last = this.pages.at(-1);
    if (this.loading || !last?.more) return;
    this.loading = true;
    const asked = this.asked;
    try {
      const page = await this.fetch(last.end);
      if (this.asked === asked) this.pages = [...this.pages, page];
    } catch (error) {
      this.problem = asProblem(error);
    } finally {
      this.loading = false;
    }
  }

  /** @param {IntersectionObserverEntry} entry */
  see({ target, isIntersecting }) {
    const at = Number(/** @type {HTMLElement} */ (target).dataset.page);
    if (Number.isNaN(at)) isIntersecting && this.more();
    else if (this.pages[at]) this.pages[at].seen = isIntersecting;
  }

  updated() {
    this.seeing?.disconnect();
    for (const part of this.querySelectorAll('tbody, .more')) this.seeing?.observe(part);
  }

  /** @param {string} text */
  search(text) {
    clearTimeout(this.typing);
    this.typing = window.setTimeout(() => go(withQuery({ q: text.trim() }), { replace: true }), 200);
  }

  register() {
    ask({
      heading: t('devices.register'),
      confirm: t('devices.register.button'),
      fields: ['uid'],
      content: (problem) =>
        html`<p>${t('devices.register.why')}</p>
          <div class="field">
            <label for="new-uid">${t('device.uid')}</label
            ><input
              id="new-uid"
              name="uid"
              required
              maxlength="64"
              pattern="[A-Za-z0-9_.\\-]+"
              autocapitalize="none"
              spellcheck="false"
              aria-invalid=${problem?.of('uid') ? 'true' : nothing}
              aria-describedby="new-uid-hint"
            />
            <p class="hint" id="new-uid-hint">${t('device.uid.rule')}</p>
            ${problem?.of('uid') ? html`<p class="wrong">${problem.of('uid')}</p>` : nothing}
          </div>
          <div class="field">
            <label for="new-name">${t('name')} <span class="faint">${t('optional')}</span></label
            ><input id="new-name" name="name" maxlength="200" />
          </div>
          <div class="field">
            <label for="new-labels">${t('labels')} <span class="faint">${t('optional')}</span></label
            ><textarea id="new-labels" name="labels" rows="3" placeholder="site=hanoi"></textarea>
            <p class="hint">${t('labels.rule')}</p>
          </div>`,
      work: async (form) => {
        const [uid, name, labels] = [
          `${form.get('uid')}`.trim(),
          `${form.get('name')}`.trim(),
          labelsOf(`${form.get('labels')}`),
        ];
        const { position } = await post('/devices', {
          uid,
          ...(name ? { name } : {}),
          ...(Object.keys(labels).length ? { labels } : {}),
        });
        say(t('devices.registered', { uid, position }));
        go(`/app/devices/${encodeURIComponent(uid)}`);
      },
    });
  }

  /** @param {string} up @param {string} down @param {string} name @param {string} classes */
  sortable(up, down, name, classes = '') {
    const now = query('sort') ?? 'uid';
    // Names begin at the first, times at the newest; a second press turns the order round.
    const first = up === 'uid' ? up : down;
    const next = now === first ? (first === up ? down : up) : first;
    const order = now === up ? 'ascending' : now === down ? 'descending' : nothing;
    return html`<th class=${classes} aria-sort=${order}>
      <button class="sort" @click=${() => go(withQuery({ sort: next }))}>
        ${name}${order === 'ascending' ? ' ↑' : order === 'descending' ? ' ↓' : ''}
      </button>
    </th>`;
  }

  /** @param {Device} device */
  row(device) {
    const values = Object.entries(metrics(device.lastReading?.payload)).slice(0, VALUES);
    return html`<tr>
      <td>
        <a class="device-name" href=${`/app/devices/${encodeURIComponent(device.uid)}`}
          >${device.uid}${device.name ? html`<span class="faint">${device.name}</span>` : nothing}</a
        >
      </td>
      <td>${pill('device', device.status)}</td>
      <td>${ago(device.lastSeenAt)}</td>
      <td class="wide">
        <div class="values">
          ${values.length || !device.lastReading ? values.map(([metric, value]) => html`<span><span class="muted">${metric}</span> <b>${shortNumber(value)}</b></span>`) : html`<code>${JSON.stringify(device.lastReading.payload).slice(0, 60)}</code>`}
        </div>
      </td>
      <td class="wide">${labelList(device.labels)}</td>
      <td class="end numeric wide">${number(device.messages)}</td>
    </tr>`;
  }

  table() {
    return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
        <table class="device-rows">
          <thead>
            <tr>
              ${this.sortable('uid', 'uid_desc', t('device'))}
              <th>${t('status')}</th>
              ${this.sortable('last_seen_at', 'last_seen_at_desc', t('device.seen'))}
              <th class="wide">${t('device.last')}</th>
              <th class="wide">${t('labels')}</th>
              <th class="end wide">${t('device.messages')}</th>
            </tr>
          </thead>
          ${this.pages.map(
            (page, at) =>
              html`<tbody data-page=${at}>
                ${page.nodes.map((device) => this.row(device))}
              </tbody>`,
          )}
        </table>
      </div>
      ${this.pages.at(-1)?.more ? html`<div class="more" role="status">${t('loading')}</div>` : nothing}`;
  }

  list() {
    if (this.pages.length === 0) return this.problem ? nothing : waiting(8);
    if (this.pages[0]?.nodes.length) return this.table();
    if (query('q') || query('status'))
      return empty(
        t('devices.none'),
        html`<p>${t('devices.none.next')}</p>
          <p><a href="/app/devices">${t('devices.all')}</a></p>`,
      );
    return firstSteps();
  }

  render() {
    const state = query('status') ?? '';
    return html`<div class="page-head">
        <div class="grow">
          <h1>${t('nav.devices')}</h1>
          <p class="sub">${this.total === null ? ' ' : t('devices.total', { n: this.total })}</p>
        </div>
        ${may('devices.write') ? html`<button class="primary" @click=${this.register}>${icon('plus')}${t('devices.register')}</button>` : nothing}
      </div>
      ${shown(this.problem)}
      <section class="sheet" aria-label=${t('nav.devices')}>
        <div class="sheet-head filters">
          <div class="search">
            ${icon('search')}<input
              type="search"
              aria-label=${t('devices.search')}
              placeholder=${t('devices.search')}
              .value=${query('q') ?? ''}
              @input=${(/** @type {InputEvent} */ event) => this.search(/** @type {HTMLInputElement} */ (event.target).value)}
            />
          </div>
          <div class="choices" role="group" aria-label=${t('status')}>
            ${STATES.map((one) => {
              const here = state === one ? 'true' : nothing;
              return html`<a href=${withQuery({ status: one })} aria-current=${here}
                >${word('devices.state', one || 'all')}</a
              >`;
            })}
          </div>
        </div>
        ${this.list()}
      </section>`;
  }
}
customElements.define('fl-devices', Devices);
