// All devices: found, sorted, and read as one scrolls. Only the rows near what is seen are drawn, and only they are asked for again.

import { graphql } from '../api.js';
import { t, word } from '../i18n.js';
import { filterOf, labelFilter } from '../parts/device-filter.js';
import { deviceTable } from '../parts/device-rows.js';
import { maySelect, selectionBar } from '../parts/device-selection.js';
import { firstSteps } from '../parts/first-steps.js';
import { icon } from '../parts/icons.js';
import { Part, asProblem, empty, html, nothing, shown, waiting } from '../parts/part.js';
import { metrics } from '../parts/readings.js';
import { registerDevice } from '../parts/register-device.js';
import '../parts/simulations.js';
import { trends } from '../parts/trends.js';
import { go, query, withQuery } from '../router.js';
import { may } from '../session.js';
import { keep, kept } from '../settings.js';

const PAGE = 100;
const EVERY = 4000;
/** How old the line of a row may be, and how long scrolling rests before lines are asked for, in milliseconds. */
const TREND = { age: 30_000, rest: 200 };
const STATES = /** @type {const} */ (['', 'online', 'offline', 'decommissioned']);
/** How many labels the filter suggests. */
const LABELS = 50;

const FIELDS =
  'pageInfo { endCursor hasNextPage } nodes { uid name labels status lastSeenAt lastReading { payload } messages }';

/** @typedef {import('../parts/device-rows.js').Page} Page */

class Devices extends Part {
  static properties = {
    pages: { state: true },
    total: { state: true },
    problem: { state: true },
    selected: { state: true },
    all: { state: true },
    lines: { state: true },
  };

  constructor() {
    super();
    /** @type {Page[]} */
    this.pages = [];
    /** How many devices fit; `null` where policies hide some. @type {number | null | undefined} */
    this.total = undefined;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    /** @type {Set<string>} */
    this.selected = new Set();
    /** Whether everything that fits the filter is selected. */
    this.all = false;
    /** How the chosen metric went, by device. @type {Map<string, { at: number, values: (number | null)[] }>} */
    this.lines = new Map();
    /** The devices whose rows are seen. @type {Set<string>} */
    this.visible = new Set();
    this.loading = false;
    this.asked = '';
    this.typing = 0;
    this.resting = 0;
  }

  connectedCallback() {
    super.connectedCallback();
    const seen = (/** @type {IntersectionObserverEntry[]} */ entries) => entries.forEach((entry) => this.see(entry));
    this.near = new IntersectionObserver(seen, { rootMargin: '800px' });
    this.rows = new IntersectionObserver((entries) => this.seeRows(entries));
    this.whenGone(() => {
      this.near?.disconnect();
      this.rows?.disconnect();
      clearTimeout(this.resting);
    });
    this.addEventListener('query', () => this.begin());
    this.every(EVERY, () => this.refresh());
    this.every(TREND.age / 3, () => this.loadLines());
  }

  /** Asks for pages of the list, and for the number of all devices, in one question. @param {(string | null)[]} afters */
  async fetch(afters) {
    const sort = query('sort')?.toUpperCase() ?? 'UID';
    const declared = afters.map((_, at) => `$a${at}: String`).join(' ');
    const parts = afters.map(
      (_, at) => `p${at}: devices(filter: $filter, sort: $sort, first: ${PAGE}, after: $a${at}) { ${FIELDS} }`,
    );
    const answer = await graphql(
      `query ($filter: DeviceFilter $sort: DeviceSort ${declared}) { count: devices(filter: $filter, first: 1) {
        totalCount } ${parts.join('\n')} }`,
      { filter: filterOf(), sort, ...Object.fromEntries(afters.map((after, at) => [`a${at}`, after])) },
    );
    const pages = afters.map((after, at) => {
      const { pageInfo, nodes } = answer[`p${at}`];
      return { after, end: pageInfo.endCursor, more: pageInfo.hasNextPage, nodes, near: true, height: 0 };
    });
    return { pages: /** @type {Page[]} */ (pages), total: /** @type {number | null} */ (answer.count.totalCount) };
  }

  /** What the present address asks for, but for what is only shown otherwise. */
  get question() {
    return JSON.stringify([filterOf(), query('sort')]);
  }

  /** Begins the list anew: another filter, another order. */
  async begin() {
    const { question: asked } = this;
    if (this.asked === asked && this.pages.length) return this.loadLines();
    this.asked = asked;
    this.unselect();
    try {
      const { pages, total } = await this.fetch([null]);
      if (this.asked !== asked) return;
      this.pages = pages;
      this.total = total;
      this.problem = null;
      this.loadLines();
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  async refresh() {
    if (this.pages.length === 0 || this.asked !== this.question) return this.begin();
    const asked = this.asked;
    const near = this.pages.filter((page) => page.near).slice(0, 5);
    try {
      const { pages, total } = await this.fetch(near.map((page) => page.after));
      if (this.asked !== asked) return;
      const fresh = new Map(near.map((page, at) => [page.after, pages[at]]));
      // Pages that were loaded meanwhile stay; one that is far keeps what it had.
      this.pages = this.pages.map((page) => {
        const now = fresh.get(page.after);
        return now ? { ...now, near: page.near, height: page.height } : page;
      });
      this.total = total;
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
      const { pages } = await this.fetch([last.end]);
      if (this.asked === asked) this.pages = [...this.pages, ...pages];
    } catch (error) {
      this.problem = asProblem(error);
    } finally {
      this.loading = false;
    }
  }

  /** A part of the list comes near, or is left behind. @param {IntersectionObserverEntry} entry */
  see({ target, isIntersecting, boundingClientRect }) {
    const at = Number(/** @type {HTMLElement} */ (target).dataset.page);
    if (Number.isNaN(at)) {
      if (isIntersecting) this.more();
      return;
    }
    const page = this.pages[at];
    // A list of one page is shown whole, also where it is printed.
    if (!page || page.near === isIntersecting || this.pages.length === 1) return;
    if (!isIntersecting) page.height = boundingClientRect.height;
    page.near = isIntersecting;
    this.requestUpdate();
  }

  /** @param {IntersectionObserverEntry[]} entries */
  seeRows(entries) {
    for (const { target, isIntersecting } of entries) {
      const uid = /** @type {HTMLElement} */ (target).dataset.uid ?? '';
      if (isIntersecting) this.visible.add(uid);
      else this.visible.delete(uid);
    }
    clearTimeout(this.resting);
    this.resting = window.setTimeout(() => this.loadLines(), TREND.rest);
  }

  updated() {
    this.near?.disconnect();
    this.rows?.disconnect();
    this.visible.clear();
    for (const part of this.querySelectorAll('tbody, .list-end')) this.near?.observe(part);
    if (this.metric) for (const row of this.querySelectorAll('tr[data-uid]')) this.rows?.observe(row);
    for (const space of this.querySelectorAll('.space'))
      if (space instanceof HTMLElement) space.style.height = `${space.dataset.height}px`;
  }

  /** The metrics that the devices have had lately. */
  get metrics() {
    const names = this.pages.flatMap((page) =>
      page.nodes.flatMap((node) => Object.keys(metrics(node.lastReading?.payload))),
    );
    return [...new Set(names)];
  }

  /** The metric whose lines are shown; '': none. */
  get metric() {
    const wanted = query('metric') ?? kept('devices.metric');
    if (wanted === 'none' || !may('telemetry.read')) return '';
    return wanted ?? this.metrics[0] ?? '';
  }

  /** Asks for the lines of the rows that are seen. */
  async loadLines() {
    const { metric } = this;
    const now = Date.now();
    const isDue = (/** @type {string} */ uid) => now - (this.lines.get(`${metric} ${uid}`)?.at ?? 0) > TREND.age;
    const due = metric ? [...this.visible].filter(isDue) : [];
    if (due.length === 0) return;
    try {
      const found = await trends(due, metric);
      for (const [uid, values] of found) this.lines.set(`${metric} ${uid}`, { at: now, values });
      this.lines = new Map(this.lines);
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** @param {Event} event */
  chooseMetric(event) {
    const metric = /** @type {HTMLSelectElement} */ (event.target).value;
    keep('devices.metric', metric);
    go(withQuery({ metric }), { replace: true });
  }

  /** @param {string} text */
  search(text) {
    clearTimeout(this.typing);
    this.typing = window.setTimeout(() => go(withQuery({ q: text.trim() }), { replace: true }), 200);
  }

  unselect() {
    this.selected = new Set();
    this.all = false;
  }

  /** @param {string} uid @param {boolean} wanted */
  select(uid, wanted) {
    const selected = new Set(this.all ? this.loaded() : this.selected);
    if (wanted) selected.add(uid);
    else selected.delete(uid);
    this.selected = selected;
    this.all = false;
  }

  loaded() {
    return this.pages.flatMap((page) => page.nodes.map((node) => node.uid));
  }

  table() {
    const loaded = this.loaded();
    const whole = this.all || (loaded.length > 0 && loaded.every((uid) => this.selected.has(uid)));
    return html`${deviceTable({
      pages: this.pages,
      size: PAGE,
      total: this.total ?? loaded.length,
      metric: this.metric,
      line: (uid) => this.lines.get(`${this.metric} ${uid}`)?.values,
      selection: maySelect()
        ? {
            some: this.all || this.selected.size > 0,
            whole,
            has: (uid) => this.all || this.selected.has(uid),
            select: (uid, wanted) => this.select(uid, wanted),
            toggle: () => {
              this.selected = new Set(whole ? [] : loaded);
              this.all = false;
            },
          }
        : null,
    })}
    ${this.pages.at(-1)?.more ? html`<div class="more list-end" role="status">${t('loading')}</div>` : nothing}`;
  }

  list() {
    if (this.pages.length === 0) return this.problem ? nothing : waiting(8);
    if (this.pages[0]?.nodes.length) return this.table();
    if (Object.keys(filterOf()).length)
      return empty(
        t('devices.none'),
        html`<p>${t('devices.none.next')}</p>
          <p><a href="/app/devices">${t('devices.all')}</a></p>`,
      );
    return firstSteps();
  }

  metricChoice() {
    const names = this.metrics;
    const { metric } = this;
    if (!may('telemetry.read') || (names.length === 0 && !metric)) return nothing;
    const known = metric && !names.includes(metric) ? [metric, ...names] : names;
    return html`<label class="choice wide"
      ><span class="muted small">${t('trend.choose')}</span
      ><select @change=${this.chooseMetric}>
        <option value="none" ?selected=${!metric}>${t('trend.none')}</option>
        ${known.map((name) => html`<option value=${name} ?selected=${name === metric}>${name}</option>`)}
      </select></label
    >`;
  }

  filters() {
    const state = query('status') ?? '';
    const labels = this.pages.flatMap((page) =>
      page.nodes.flatMap((node) => Object.entries(node.labels).map(([key, value]) => `${key}=${value}`)),
    );
    return html`<div class="sheet-head filters">
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
      ${labelFilter([...new Set(labels)].sort().slice(0, LABELS))}
      <span class="grow"></span>${this.metricChoice()}
    </div>`;
  }

  render() {
    const { total } = this;
    const empty = this.pages.length > 0 && !this.pages[0]?.nodes.length && !Object.keys(filterOf()).length;
    return html`<div class="page-head">
        <div class="grow">
          <h1>${t('nav.devices')}</h1>
          <p class="sub">${total === undefined || total === null ? ' ' : t('devices.total', { n: total })}</p>
        </div>
        ${
          may('devices.write')
            ? html`<div class="actions">
                <a class="button" href="/app/import">${icon('upload')}${t('import.open')}</a
                ><button class="primary" @click=${registerDevice}>${icon('plus')}${t('devices.register')}</button>
              </div>`
            : nothing
        }
      </div>
      ${shown(this.problem)} ${empty ? nothing : html`<fl-simulations></fl-simulations>`}
      <section class="sheet" aria-label=${t('nav.devices')}>${this.filters()}${this.list()}</section>
      ${selectionBar({
        uids: [...this.selected],
        all: this.all,
        total: total ?? null,
        clear: () => this.unselect(),
        selectAll: () => (this.all = true),
        done: () => {
          this.asked = '';
          this.begin();
        },
      })}`;
  }
}
customElements.define('fl-devices', Devices);
