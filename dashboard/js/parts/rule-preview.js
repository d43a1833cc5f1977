// What a rule would have raised: the same evaluation as the service's own, over days that are past.

import { graphql, post } from '../api.js';
import { duration, number, t, when, word } from '../i18n.js';
import { may } from '../session.js';
import './metric-chart.js';
import { Part, asProblem, html, nothing, sentence, shown, waiting } from './part.js';
import { metrics } from './readings.js';

/** @typedef {import('./rules.js').Definition} Definition */
/** @typedef {{ device_uid: string, cmd: string | null, value: number | null, since: string, raised_at: string, cleared_at: string | null }} Alarm */
/** @typedef {{ alarms: Alarm[], devices: number, events: number, complete: boolean }} Preview */

const SPANS = /** @type {const} */ (['yesterday', '24h', '7d']);
/** How long a form rests before its rule is tried, in milliseconds. */
const REST = 600;
/** How many alarms are listed before anybody asks for more. */
const LISTED = 8;
const DAY = 86_400;

/** A span of the past, in seconds: yesterday is the viewer's own. @param {string} name @returns {[number, number]} */
function span(name) {
  const now = Math.floor(Date.now() / 1000);
  if (name !== 'yesterday') return [now - (name === '7d' ? 7 * DAY : DAY), now];
  const today = new Date();
  today.setHours(0, 0, 0, 0);
  const yesterday = new Date(today);
  yesterday.setDate(yesterday.getDate() - 1);
  return [yesterday.getTime() / 1000, today.getTime() / 1000];
}

const iso = (/** @type {number} */ seconds) => new Date(seconds * 1000).toISOString();

class RulePreview extends Part {
  static properties = {
    rule: { attribute: false },
    span: { state: true },
    found: { state: true },
    problem: { state: true },
    busy: { state: true },
    device: { state: true },
    all: { state: true },
    zoomed: { state: true },
  };

  constructor() {
    super();
    /** The rule to try; `null` while the form says none. @type {Definition | null} */
    this.rule = null;
    /** @type {typeof SPANS[number]} */
    this.span = 'yesterday';
    /** @type {Preview | null} */
    this.found = null;
    /** The range and the rule that were tried. @type {{ range: [number, number], rule: Definition } | null} */
    this.tried = null;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    this.busy = false;
    /** The device whose chart is drawn. */
    this.device = '';
    this.all = false;
    /** @type {[number, number] | null} */
    this.zoomed = null;
    this.resting = 0;
    this.asked = 0;
  }

  connectedCallback() {
    super.connectedCallback();
    this.whenGone(() => clearTimeout(this.resting));
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    const said = (/** @type {unknown} */ rule) => {
      const { devices, condition } = /** @type {Partial<Definition>} */ (rule ?? {});
      return JSON.stringify([devices, condition]);
    };
    const isOther = changed.has('rule') && said(changed.get('rule')) !== said(this.rule);
    if (!isOther && !changed.has('span')) return;
    clearTimeout(this.resting);
    this.asked += 1;
    if (this.rule) this.resting = window.setTimeout(() => this.run(), this.found && isOther ? REST : 0);
  }

  async run() {
    const { rule } = this;
    if (!rule) return;
    const asked = (this.asked += 1);
    const range = span(this.span);
    this.busy = true;
    try {
      // A rule is tried before it has a title, too.
      const body = { rule: { ...rule, title: rule.title || '–', mail: [] }, from: iso(range[0]), to: iso(range[1]) };
      const found = await post('/alarm-rules/preview', body);
      if (asked !== this.asked) return;
      const uids = new Set(found.alarms.map((/** @type {Alarm} */ one) => one.device_uid));
      const device = uids.has(this.device) ? this.device : (found.alarms[0]?.device_uid ?? (await anyDevice(rule)));
      if (asked !== this.asked) return;
      Object.assign(this, { found, device, tried: { range, rule }, zoomed: null, problem: null });
    } catch (error) {
      if (asked === this.asked) Object.assign(this, { problem: asProblem(error), found: null });
    } finally {
      if (asked === this.asked) this.busy = false;
    }
  }

  /** @param {Preview} found */
  sum(found) {
    const uids = new Set(found.alarms.map((one) => one.device_uid)).size;
    const about =
      this.tried?.rule.condition.kind === 'command_failed' ? 'rule.preview.commands' : 'rule.preview.readings';
    return html`<div class="preview-sum ${found.alarms.length ? 'some' : ''}">
      <b class="big">${number(found.alarms.length)}${found.complete ? '' : '+'}</b>
      <div>
        <p>
          ${found.alarms.length ? t('rule.preview.some', { devices: uids }) : found.events ? t('rule.preview.none') : t('rule.preview.empty')}
        </p>
        <p class="small muted">
          ${t(about, { events: found.events, devices: found.devices })} ${found.complete ? '' : t('rule.preview.cut')}
        </p>
      </div>
    </div>`;
  }

  /** @returns {import('./chart.js').Marks} */
  marks() {
    const { condition } = this.tried?.rule ?? {};
    const lines = condition?.kind === 'threshold' ? [{ value: condition.value ?? 0, tone: 'bad' }] : [];
    if (condition?.clear_value !== undefined && condition.clear_value !== null)
      lines.push({ value: condition.clear_value, tone: 'good' });
    const own = (this.found?.alarms ?? []).filter((one) => one.device_uid === this.device);
    return { lines, spans: own.map((one) => this.mark(one)) };
  }

  /** An alarm on the chart. What readings that came late would have raised would have been raised later: only its beginning is marked. @param {Alarm} alarm */
  mark({ since, raised_at: raised, cleared_at: cleared }) {
    const end = this.tried?.range[1] ?? 0;
    const at = (/** @type {string} */ time) => Date.parse(time) / 1000;
    if (at(raised) > end) return { from: at(since), to: at(since), tone: 'bad' };
    return { from: at(raised), to: Math.min(cleared ? at(cleared) : end, end), tone: 'bad' };
  }

  chart() {
    const metric = this.tried?.rule.condition.metric;
    if (!metric || !this.device || !this.tried || !may('telemetry.read')) return nothing;
    const legend = html`<span><i class="span bad"></i>${t('alarm.chart.raised')}</span>
      ${this.tried.rule.condition.kind === 'threshold' ? html`<span><i class="line bad"></i>${t('alarm.chart.limit')}</span>` : nothing}`;
    const zoom = (/** @type {CustomEvent<{ from: number, to: number } | null>} */ { detail }) =>
      (this.zoomed = detail && [detail.from, detail.to]);
    return html`<div class="preview-chart" @range=${zoom}>
      <p class="small"><a href=${`/app/devices/${encodeURIComponent(this.device)}`}>${this.device}</a></p>
      <fl-metric-chart
        .uid=${this.device}
        .metric=${metric}
        .range=${this.zoomed ?? this.tried.range}
        .marks=${this.marks()}
        .legend=${legend}
      ></fl-metric-chart>
    </div>`;
  }

  /** @param {Alarm} alarm */
  item(alarm) {
    const lasted = alarm.cleared_at
      ? duration((Date.parse(alarm.cleared_at) - Date.parse(alarm.raised_at)) / 1000)
      : t('rule.preview.open');
    return html`<li>
      <button
        class="link"
        aria-pressed=${this.device === alarm.device_uid}
        @click=${() => (this.device = alarm.device_uid)}
      >
        ${alarm.device_uid}
      </button>
      ${when(alarm.since)}<span class="muted">${alarm.cmd ?? (alarm.value === null ? '' : number(alarm.value))}</span
      ><span class="muted">${lasted}</span>
    </li>`;
  }

  /** @param {Alarm[]} alarms */
  list(alarms) {
    if (alarms.length === 0) return nothing;
    const listed = this.all ? alarms : alarms.slice(0, LISTED);
    return html`<ul class="preview-list">
        ${listed.map((one) => this.item(one))}
      </ul>
      ${listed.length < alarms.length ? html`<div class="more"><button type="button" @click=${() => (this.all = true)}>${t('rule.preview.all', { n: alarms.length })}</button></div>` : nothing}`;
  }

  render() {
    const { found } = this;
    const body = this.problem
      ? html`<div class="sheet-body">${refused(this.problem)}</div>`
      : found
        ? html`<div class="sheet-body preview ${this.busy ? 'busy' : ''}">${this.sum(found)}${this.chart()}</div>
            ${this.list(found.alarms)}`
        : this.rule
          ? waiting(5)
          : html`<div class="empty"><p class="empty-next">${t('rule.preview.fill')}</p></div>`;
    return html`<section class="sheet" aria-labelledby="preview" aria-busy=${this.busy}>
      <div class="sheet-head">
        <h2 id="preview" class="grow">${t('rule.preview')}</h2>
        <div class="choices" role="group" aria-label=${t('rule.preview.span')}>
          ${SPANS.map((one) => html`<button type="button" aria-pressed=${this.span === one} @click=${() => (this.span = one)}>${word('rule.preview.span', one)}</button>`)}
        </div>
      </div>
      <div role="status">${body}</div>
    </section>`;
  }
}
customElements.define('fl-rule-preview', RulePreview);

/** Why there is no preview: of a rule that is not right yet, what is wrong with it. @param {import('../api.js').Problem} problem */
const refused = (problem) =>
  problem.status === 422 && problem.errors.length
    ? html`<p class="notice warn">${problem.errors.map((one) => sentence(one.reason))}</p>`
    : shown(problem);

/** A device that the rule is about and that has its metric, to draw even where nothing would have been raised. @param {Definition} rule */
async function anyDevice({ devices, condition }) {
  if (devices && 'uids' in devices) return devices.uids[0] ?? '';
  if (!condition.metric || !may('devices.read')) return '';
  const { devices: page } = await graphql(
    '{ devices(sort: LAST_SEEN_AT_DESC, first: 100) { nodes { uid labels lastReading { payload } } } }',
  );
  const labels = Object.entries(devices?.labels ?? {});
  const found = page.nodes.find(
    (/** @type {{ labels: Record<string, string>, lastReading: { payload: any } | null }} */ one) =>
      labels.every(([key, value]) => one.labels[key] === value) &&
      condition.metric &&
      condition.metric in metrics(one.lastReading?.payload),
  );
  return found?.uid ?? '';
}
