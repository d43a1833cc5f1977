// Sends one command to many devices: which ones, what, how fast.

import { get, graphql, post } from '../api.js';
import { number, t } from '../i18n.js';
import { allUids, count, filterOf, words } from '../parts/device-filter.js';
import { HANDED_OVER } from '../parts/device-selection.js';
import { Part, asProblem, empty, html, nothing, shown, waiting } from '../parts/part.js';
import { fields, values } from '../parts/schema-form.js';
import { newKey, options } from '../parts/send-command.js';
import { go, query } from '../router.js';
import { may } from '../session.js';

/** How long typing rests before devices are counted, in milliseconds. */
const REST = 300;
/** How many of the devices are named. */
const NAMED = 8;
/** How many devices a batch may have. */
const MOST = 100_000;

/** @typedef {import('../parts/send-command.js').Type} Type */
/** @typedef {import('../parts/device-filter.js').Filter} Filter */
/** @typedef {{ total: number | null, names: string[] }} Found */

class NewBatch extends Part {
  static properties = {
    types: { state: true },
    type: { state: true },
    way: { state: true },
    labels: { state: true },
    list: { state: true },
    found: { state: true },
    rate: { state: true },
    problem: { state: true },
    busy: { state: true },
  };

  constructor() {
    super();
    /** @type {Type[] | null} */
    this.types = null;
    /** @type {Type | undefined} */
    this.type = undefined;
    /** How the devices are chosen. @type {'labels' | 'list' | 'matching'} */
    this.way = 'labels';
    this.labels = '';
    this.list = '';
    /** @type {Found | null} */
    this.found = null;
    this.rate = 10;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    this.busy = false;
    this.key = newKey();
    this.resting = 0;
    this.asked = 0;
  }

  connectedCallback() {
    super.connectedCallback();
    this.begin();
    this.addEventListener('query', () => this.begin());
    this.load();
  }

  /** Takes over what the address says of the devices. */
  begin() {
    const devices = query('devices');
    this.labels = query('label') ?? '';
    this.list = (devices === 'selected' ? (sessionStorage.getItem(HANDED_OVER) ?? '') : (devices ?? '')).replaceAll(
      ',',
      '\n',
    );
    this.way = query('matching') && !this.isOnlyLabels ? 'matching' : devices !== null ? 'list' : 'labels';
    this.look();
  }

  async load() {
    try {
      this.types = (await get('/command-types')).items;
      const wanted = query('cmd');
      this.type = this.types?.find((one) => one.name === wanted) ?? this.types?.[0];
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** The filter that the page of devices had. @returns {Filter} */
  get matching() {
    return filterOf();
  }

  /** Labels alone are a selector of their own: the service finds the devices. */
  get isOnlyLabels() {
    const { label, ...others } = this.matching;
    return Boolean(label) && Object.keys(others).length === 0;
  }

  /** The uids of the list, each once. */
  get uids() {
    return [...new Set(this.list.split(/[\s,;]+/).filter(Boolean))];
  }

  /** The labels as the service takes them; `null` while they are none. @returns {Record<string, string> | null} */
  get selector() {
    const pairs = words(this.labels);
    if (pairs.length === 0 || pairs.some((pair) => pair.indexOf('=') < 1)) return null;
    return Object.fromEntries(
      pairs.map((pair) => [pair.slice(0, pair.indexOf('=')), pair.slice(pair.indexOf('=') + 1)]),
    );
  }

  /** Finds out which devices are chosen. */
  async look() {
    const asked = (this.asked += 1);
    const { uids } = this;
    if (this.way === 'list') {
      this.found = { total: uids.length, names: uids.slice(0, NAMED) };
      return;
    }
    const filter = this.way === 'matching' ? this.matching : { label: words(this.labels) };
    if (this.way === 'labels' && !this.selector) {
      this.found = null;
      return;
    }
    try {
      const [total, { devices }] = await Promise.all([
        count(filter),
        graphql(
          'query ($filter: DeviceFilter, $first: Int) { devices(filter: $filter, first: $first) { nodes { uid } } }',
          {
            filter,
            first: NAMED,
          },
        ),
      ]);
      if (asked !== this.asked) return;
      this.found = { total, names: devices.nodes.map((/** @type {{ uid: string }} */ node) => node.uid) };
      this.problem = null;
    } catch (error) {
      if (asked === this.asked) this.problem = asProblem(error);
    }
  }

  /** @param {'labels' | 'list' | 'matching'} way */
  choose(way) {
    this.way = way;
    this.found = null;
    this.look();
  }

  /** @param {'labels' | 'list'} what @param {Event} event */
  enter(what, event) {
    this[what] = /** @type {HTMLInputElement} */ (event.target).value;
    clearTimeout(this.resting);
    this.resting = window.setTimeout(() => this.look(), REST);
  }

  /** Which devices, as the request says it. */
  async chosen() {
    if (this.way === 'labels') return { labels: this.selector ?? {} };
    return { devices: this.way === 'list' ? this.uids : await allUids(this.matching) };
  }

  /** @param {SubmitEvent} event */
  async send(event) {
    event.preventDefault();
    const { type } = this;
    if (this.busy || !type) return;
    this.busy = true;
    this.problem = null;
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const number = (/** @type {string} */ name) => Number(form.get(name)) || undefined;
    try {
      const body = {
        selector: await this.chosen(),
        cmd: type.name,
        params: values(type.params, form),
        rate_per_s: this.rate,
        abort_after_failures: number('limit'),
        timeout_s: number('timeout'),
        max_attempts: number('attempts'),
      };
      const { batch_id: id } = await post('/command-batches', body, { key: this.key });
      sessionStorage.removeItem(HANDED_OVER);
      go(`/app/commands/batches/${id}`, { replace: true });
    } catch (error) {
      this.problem = asProblem(error);
      // A repeat of a request whose answer was lost is the same batch. Another one is not.
      if (this.problem.status > 0) this.key = newKey();
    } finally {
      this.busy = false;
    }
  }

  ways() {
    const ways = query('matching') && !this.isOnlyLabels ? ['matching', 'labels', 'list'] : ['labels', 'list'];
    return html`<div class="choices" role="group" aria-label=${t('batch.for')}>
      ${ways.map((way) => html`<button type="button" aria-pressed=${this.way === way} @click=${() => this.choose(/** @type {any} */ (way))}>${t(/** @type {any} */ (`batch.way.${way}`))}</button>`)}
    </div>`;
  }

  field() {
    if (this.way === 'matching') {
      const { q, status, label } = this.matching;
      const said = [
        q && `“${q}”`,
        status && t(/** @type {any} */ (`device.${status.toLowerCase()}`)),
        ...(label ?? []),
      ];
      return html`<p class="labels">
        ${said.some(Boolean) ? said.filter(Boolean).map((one) => html`<span class="label">${one}</span>`) : html`<span class="label">${t('devices.state.all')}</span>`}
      </p>`;
    }
    if (this.way === 'list')
      return html`<div class="field">
        <label for="list">${t('batch.list')}</label
        ><textarea
          id="list"
          rows="5"
          spellcheck="false"
          autocapitalize="none"
          .value=${this.list}
          placeholder="dev-01"
          @input=${(/** @type {Event} */ event) => this.enter('list', event)}
        ></textarea>
        <p class="hint">${t('batch.list.hint')}</p>
      </div>`;
    return html`<div class="field">
      <label for="labels">${t('labels')}</label
      ><input
        id="labels"
        autocapitalize="none"
        autocomplete="off"
        spellcheck="false"
        placeholder="site=hanoi"
        .value=${this.labels}
        @input=${(/** @type {Event} */ event) => this.enter('labels', event)}
      />
      <p class="hint">${t('batch.labels.hint')}</p>
    </div>`;
  }

  who() {
    const { found } = this;
    if (!found) return html`<p class="muted small">${t('batch.none')}</p>`;
    if (found.total === 0) return html`<p class="notice warn">${t('batch.nobody')}</p>`;
    const further = (found.total ?? 0) - found.names.length;
    return html`<div role="status">
      <p>
        <strong class="numeric"
          >${found.total === null ? t('batch.some') : t('batch.devices', { n: found.total })}</strong
        >
      </p>
      <p class="labels">
        ${found.names.map((uid) => html`<span class="label mono">${uid}</span>`)}${further > 0 ? html`<span class="muted small">${t('batch.others', { n: further })}</span>` : nothing}
      </p>
    </div>`;
  }

  /** @param {Type} type @param {Type[]} types */
  what(type, types) {
    const choose = (/** @type {Event} */ event) => {
      this.type = types.find((one) => one.name === /** @type {HTMLSelectElement} */ (event.target).value);
      this.key = newKey();
    };
    return html`<div class="field">
        <label for="cmd">${t('command')}</label
        ><select id="cmd" name="cmd" @change=${choose}>
          ${types.map((one) => html`<option value=${one.name} ?selected=${one === type}>${one.name}</option>`)}</select
        >${type.description ? html`<p class="hint">${type.description}</p>` : nothing}
      </div>
      ${fields(type.params)}${options()}`;
  }

  pace() {
    return html`<div class="field">
        <label for="rate">${t('batch.rate')}</label
        ><input
          id="rate"
          type="number"
          min="1"
          max="1000"
          required
          inputmode="numeric"
          .value=${`${this.rate}`}
          @input=${(/** @type {Event} */ event) => (this.rate = Math.max(Number(/** @type {HTMLInputElement} */ (event.target).value) || 1, 1))}
        />
        <p class="hint">${t('batch.rate.hint')}</p>
      </div>
      <div class="field">
        <label for="limit">${t('batch.limit')} <span class="faint">${t('optional')}</span></label
        ><input id="limit" name="limit" type="number" min="1" max=${MOST} inputmode="numeric" />
        <p class="hint">${t('batch.limit.hint')}</p>
      </div>`;
  }

  /** How long the requests take, in words. */
  takes() {
    const seconds = Math.ceil((this.found?.total ?? 0) / this.rate);
    if (seconds < 120) return t('batch.takes.s', { n: Math.max(seconds, 1) });
    return seconds < 7200
      ? t('batch.takes.m', { n: Math.round(seconds / 60) })
      : t('batch.takes.h', { n: Math.round(seconds / 3600) });
  }

  form() {
    const { types, type, found } = this;
    if (!types) return this.problem ? shown(this.problem) : waiting(8);
    if (!type) return html`<section class="sheet">${empty(t('send.none'))}</section>`;
    const total = found?.total;
    return html`<form class="grid" @submit=${this.send}>
      <section class="sheet" aria-labelledby="whom">
        <div class="sheet-head">
          <h2 id="whom" class="grow">${t('batch.whom')}</h2>
          ${this.ways()}
        </div>
        <div class="sheet-body fields">${this.field()}${this.who()}</div>
      </section>
      <div class="grid two equal">
        <section class="sheet" aria-labelledby="what">
          <div class="sheet-head"><h2 id="what">${t('batch.what')}</h2></div>
          <div class="sheet-body fields">${this.what(type, types)}</div>
        </section>
        <section class="sheet" aria-labelledby="pace">
          <div class="sheet-head"><h2 id="pace">${t('batch.pace')}</h2></div>
          <div class="sheet-body fields">${this.pace()}</div>
        </section>
      </div>
      ${shown(this.problem)}
      <div class="sheet send-off">
        <p class="grow">
          ${found && total !== 0 ? html`<strong>${type.name}</strong> → ${total === null || total === undefined ? t('batch.some') : t('batch.devices', { n: total })} <span class="muted">· ${this.takes()}</span>` : html`<span class="muted">${t('batch.choose')}</span>`}
        </p>
        <a class="button" href="/app/commands/batches">${t('cancel')}</a>
        <button class="primary" ?disabled=${this.busy || !found || total === 0}>
          ${total ? t('batch.send', { n: number(total) }) : t('send.button')}
        </button>
      </div>
    </form>`;
  }

  render() {
    return html`<div class="page-head">
        <div class="grow">
          <p class="small"><a href="/app/commands/batches">${t('batches')}</a></p>
          <h1>${t('batches.new')}</h1>
          <p class="sub">${t('batches.new.sub')}</p>
        </div>
      </div>
      ${may('devices.read') ? this.form() : nothing}`;
  }
}
customElements.define('fl-new-batch', NewBatch);
