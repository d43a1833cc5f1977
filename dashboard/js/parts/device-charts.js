// The charts of a device: which metrics, which range; live as long as the range ends now.

import { moment, t } from '../i18n.js';
import { follow } from '../live.js';
import { go, query, withQuery } from '../router.js';
import { may } from '../session.js';
import { keep, kept } from '../settings.js';
import './chart.js';
import { icon } from './icons.js';
import { Part, asProblem, empty, html, nothing, shown, waiting } from './part.js';
import { liveSign } from './pills.js';
import { compareChoice, comparison, moved } from './compare.js';
import './publish-line.js';
import { metrics, readingTable } from './readings.js';
import { fromReadings, fromWindows, latestReadings, metricNames, rawReadings, stepFor, windows } from './series.js';

/** The ranges that end now, in seconds. */
const SPANS = /** @type {const} */ ({
  '5m': 300,
  '15m': 900,
  '1h': 3600,
  '6h': 21_600,
  '24h': 86_400,
  '7d': 604_800,
  '30d': 2_592_000,
});
const SPAN = '15m';
/** The most charts, and how many are drawn before anybody chooses. */
const CHARTS = { most: 4, first: 4 };
/** How many of the latest readings the table has. */
const LATEST = 25;
/** The shortest range that one can zoom to, in seconds. */
const SHORTEST = 5;
/** How often windows are asked for again, in milliseconds. */
const EVERY = 10_000;
/** How many of the readings that came live are kept until a question that was under way is answered. */
const LIVE_KEPT = 200;

const LIVE = `subscription ($uid: String, $after: String, $from: String) { telemetry(deviceUid: $uid, maxRate: 10,
  after: $after, from: $from) {
  at reading { ts recordedAt position msgId flags payload } leftOut } }`;

/** @typedef {import('./readings.js').Reading} Reading */

/** All readings of two lists, each once, in the order of their positions. @param {Reading[]} one @param {Reading[]} other */
function united(one, other) {
  const all = new Map([...one, ...other].map((reading) => [reading.position, reading]));
  return [...all.values()].sort((before, after) => before.position - after.position);
}

/** Whether a reading was taken after a moment, in seconds. @param {number} moment */
const since = (moment) => (/** @type {Reading} */ reading) => Date.parse(reading.ts) / 1000 >= moment;

export class DeviceCharts extends Part {
  static properties = {
    uid: {},
    until: { attribute: false },
    logId: { attribute: false },
    names: { state: true },
    readings: { state: true },
    problem: { state: true },
    now: { state: true },
  };

  constructor() {
    super();
    this.uid = '';
    /** The moment that the page shows; `null`: now. @type {string | null} */
    this.until = null;
    /** @type {string[] | null} */
    this.names = null;
    /** The readings of the range, if they are drawn one by one. @type {Reading[] | null} */
    this.readings = null;
    /** @type {Record<string, import('./series.js').Window[]>} */
    this.windows = {};
    /** The same of what it is compared with. @type {{ readings: Reading[] | null, windows: Record<string, import('./series.js').Window[]> }} */
    this.others = { readings: null, windows: {} };
    /** The latest readings, newest first. @type {Reading[]} */
    this.latest = [];
    /** What came live at last, in order: an answer may be older than it. @type {Reading[]} */
    this.came = [];
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    this.now = Date.now() / 1000;
    /** The number of the log that the readings are in. @type {number | null} */
    this.logId = null;
    this.asked = 0;
    this.loading = false;
    this.fresh = false;
  }

  connectedCallback() {
    super.connectedCallback();
    const page = this.closest('fl-device');
    const turn = () => this.load();
    page?.addEventListener('query', turn);
    this.whenGone(() => page?.removeEventListener('query', turn));
    this.whenBack(turn);
    this.every(1000, async () => this.tick());
    this.load();
    this.every(EVERY, async () => this.isFollowing && !this.loading && this.load());
    if (!this.until && may('streams.follow')) this.listen();
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has('until') && this.hasUpdated) this.load();
  }

  listen() {
    this.whenGone(
      follow(
        LIVE,
        { uid: this.uid, from: 'now' },
        {
          next: ({ telemetry }) => telemetry.reading && this.take(telemetry.reading),
          fail: (problem) => (this.problem = problem),
        },
      ),
    );
  }

  /** @param {Reading} reading */
  take(reading) {
    this.came = [...this.came.slice(1 - LIVE_KEPT), reading];
    this.latest = united(this.latest, [reading]).reverse().slice(0, LATEST);
    const isNew = !this.readings?.some((known) => known.position === reading.position);
    if (this.isFollowing && isNew) this.readings?.push(reading);
    for (const name of Object.keys(metrics(reading.payload)))
      if (this.names && !this.names.includes(name)) this.names = [...this.names, name];
    // Several that come at once are drawn once.
    this.fresh = true;
  }

  tick() {
    if (!this.isFollowing) return;
    this.now = Date.now() / 1000;
    if (this.readings && this.fresh) {
      const from = this.range[0] - 60;
      this.readings = this.readings.filter((reading) => new Date(reading.ts).getTime() / 1000 > from);
    }
    this.fresh = false;
  }

  get end() {
    return this.until ? new Date(this.until).getTime() / 1000 : this.now;
  }

  get isFollowing() {
    return !this.until && !query('from');
  }

  /** The range that is seen, in seconds. @returns {[number, number]} */
  get range() {
    const [from, to] = [Number(query('from')), Number(query('to'))];
    if (from && to > from) return [from, to];
    const span = SPANS[/** @type {keyof typeof SPANS} */ (query('span') ?? SPAN)] ?? SPANS[SPAN];
    return [this.end - span, this.end];
  }

  /** The metrics that are drawn. */
  get chosen() {
    const wanted = (query('metrics') ?? kept(`metrics.${this.uid}`) ?? '')
      .split(',')
      .filter((name) => this.names?.includes(name));
    return wanted.length ? wanted.slice(0, CHARTS.most) : (this.names ?? []).slice(0, CHARTS.first);
  }

  async load() {
    const asked = (this.asked += 1);
    const range = this.range;
    this.loading = true;
    try {
      const found = await rawReadings(this.uid, range);
      // What came later was not known then.
      const until = this.until;
      const raw = until
        ? (found?.filter((reading) => Date.parse(reading.recordedAt) <= Date.parse(until)) ?? null)
        : found;
      const newest = raw ?? (this.latest.length === 0 ? await latestReadings(this.uid, this.end, LATEST) : []);
      if (asked !== this.asked) return;
      this.latest = united(newest, until ? [] : this.latest)
        .slice(-LATEST)
        .reverse();
      const named = await this.loadNames(range);
      if (asked !== this.asked) return;
      this.names = named;
      const [list, others] = await Promise.all([
        raw ? {} : windows(this.uid, range, this.chosen),
        this.loadOthers(range),
      ]);
      if (asked !== this.asked) return;
      this.others = others;
      this.windows = list;
      this.readings = raw && (this.isFollowing ? united(raw, this.came.filter(since(range[0]))) : raw);
      this.problem = null;
    } catch (error) {
      this.problem = asProblem(error);
    } finally {
      this.loading = false;
    }
    this.requestUpdate();
  }

  /** What the charts are compared with: another device, or the same one earlier. @param {[number, number]} range */
  async loadOthers([from, to]) {
    const other = comparison();
    if (!other) return { readings: null, windows: {} };
    const uid = other.uid ?? this.uid;
    /** @type {[number, number]} */
    const then = [from - other.shift, to - other.shift];
    const readings = await rawReadings(uid, then);
    return { readings, windows: readings ? {} : await windows(uid, then, this.chosen) };
  }

  /** @param {[number, number]} range */
  async loadNames([from, to]) {
    const known = this.names ?? (await metricNames(this.uid, [Math.min(from, to - 86_400), to]));
    const seen = this.latest.flatMap((reading) => Object.keys(metrics(reading.payload)));
    // In the device's own order, as far as its readings show one.
    return [...new Set([...seen, ...known])];
  }

  /** @param {CustomEvent<{ from: number, to: number } | null>} event */
  zoom({ detail }) {
    if (!detail) return go(withQuery({ from: null, to: null }), { replace: true });
    const middle = (detail.from + detail.to) / 2;
    const half = Math.max(detail.to - detail.from, SHORTEST) / 2;
    const to = Math.min(middle + half, this.end + half);
    go(withQuery({ from: (to - 2 * half).toFixed(1), to: to.toFixed(1) }), { replace: true });
  }

  /** @param {number} move @param {number} zoom */
  step(move, zoom) {
    const [from, to] = this.range;
    const span = to - from;
    const first = from + span * move + (span * (1 - zoom)) / 2;
    this.zoom(new CustomEvent('range', { detail: { from: first, to: first + span * zoom } }));
  }

  /** @param {string} name */
  choose(name) {
    const now = this.chosen;
    const next = now.includes(name) ? now.filter((one) => one !== name) : [...now, name].slice(-CHARTS.most);
    if (next.length === 0) return;
    keep(`metrics.${this.uid}`, next.join(','));
    go(withQuery({ metrics: next.join(',') }), { replace: true });
  }

  tools() {
    const span = query('from') ? '' : (query('span') ?? SPAN);
    const [from, to] = this.range;
    return html`<div class="sheet-head chart-tools">
      <h2 id="charts">${t('charts')}</h2>
      <div class="choices" role="group" aria-label=${t('charts.range')}>
        ${Object.keys(SPANS).map((one) => html`<a href=${withQuery({ span: one, from: null, to: null })} aria-current=${span === one ? 'true' : nothing}>${one}</a>`)}
      </div>
      <span class="grow"></span>
      <span class="range-text"
        >${this.isFollowing ? liveSign() : `${moment(new Date(from * 1000))} – ${moment(new Date(to * 1000))}`}</span
      >
      <div class="actions">
        <button
          class="square plain"
          title=${t('charts.left')}
          aria-label=${t('charts.left')}
          @click=${() => this.step(-0.25, 1)}
        >
          ${icon('left')}
        </button>
        <button
          class="square plain"
          title=${t('charts.right')}
          aria-label=${t('charts.right')}
          @click=${() => this.step(0.25, 1)}
        >
          ${icon('right')}
        </button>
        <button
          class="square plain"
          title=${t('charts.in')}
          aria-label=${t('charts.in')}
          @click=${() => this.step(0, 0.5)}
        >
          ${icon('in')}
        </button>
        <button
          class="square plain"
          title=${t('charts.out')}
          aria-label=${t('charts.out')}
          @click=${() => this.step(0, 2)}
        >
          ${icon('out')}
        </button>
        <button
          class="square plain"
          title=${t('charts.reset')}
          aria-label=${t('charts.reset')}
          ?disabled=${!query('from')}
          @click=${() => this.zoom(new CustomEvent('range', { detail: null }))}
        >
          ${icon('reset')}
        </button>
      </div>
    </div>`;
  }

  /** @param {string} name @param {number} tone */
  chart(name, tone) {
    const range = this.range;
    const data = this.readings
      ? fromReadings(this.readings, name, range)
      : fromWindows(this.windows[name] ?? [], range);
    const other = comparison();
    if (other) {
      const { readings, windows: list } = this.others;
      /** @type {[number, number]} */
      const then = [range[0] - other.shift, range[1] - other.shift];
      data.other = moved(
        readings ? fromReadings(readings, name, then) : fromWindows(list[name] ?? [], then),
        other.shift,
      );
    }
    return html`<fl-chart .metric=${name} .tone=${tone} .range=${range} .data=${data}></fl-chart>`;
  }

  charts() {
    if (!this.names) return this.problem ? nothing : waiting(6);
    if (this.names.length === 0)
      return empty(
        t('charts.none'),
        html`<p>${t('charts.none.next')}</p>
          <fl-publish-line .uid=${this.uid}></fl-publish-line>`,
      );
    const [, step] = stepFor(this.range[1] - this.range[0]);
    const readings = this.readings;
    const late = readings?.some((reading) => reading.flags.includes('late'));
    return html`<div class="sheet-body">
      <div class="chart-choices">
        <div class="metric-choice" role="group" aria-label=${t('charts.metrics')}>
          ${this.names.map((name) => html`<button aria-pressed=${this.chosen.includes(name)} @click=${() => this.choose(name)}>${name}</button>`)}
        </div>
        ${compareChoice()}
      </div>
      <div class="charts" @range=${this.zoom}>${this.chosen.map((name, at) => this.chart(name, at + 1))}</div>
      <div class="legend">
        <span>${readings ? t('charts.raw') : t('charts.windows', { step })}</span>
        ${readings ? nothing : html`<span><i class="band"></i>${t('charts.band')}</span>`}
        <span><i class="gap"></i>${t('charts.gap')}</span
        >${late ? html`<span><i class="late"></i>${t('charts.late')}</span>` : nothing}
        ${comparison() ? html`<span><i class="other"></i>${comparison()?.name}</span>` : nothing}
        <span class="wide">${t('charts.how')}</span>
      </div>
    </div>`;
  }

  render() {
    return html`${shown(this.problem)}
      <section class="sheet" aria-labelledby="charts">${this.tools()}${this.charts()}</section>
      <section class="sheet" aria-labelledby="readings">
        <div class="sheet-head"><h2 id="readings" class="grow">${t('readings')}</h2></div>
        ${this.names ? readingTable(this.latest, this.logId, html`<p>${t('readings.none.next')}</p>`) : waiting(4)}
      </section>`;
  }
}
customElements.define('fl-device-charts', DeviceCharts);
