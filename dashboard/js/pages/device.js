// One device: its charts, its commands, its credentials, what is known of it; now, or as it was at any moment.

import { graphql } from '../api.js';
import { ago, moment, t, utc, word } from '../i18n.js';
import { follow } from '../live.js';
import '../parts/alarm-list.js';
import { DEVICE, about } from '../parts/device-about.js';
import '../parts/device-charts.js';
import '../parts/device-commands.js';
import '../parts/device-credentials.js';
import { icon } from '../parts/icons.js';
import { labelList } from '../parts/labels.js';
import { Part, asProblem, empty, html, nothing, shown, waiting } from '../parts/part.js';
import { pill } from '../parts/pills.js';
import { go, query, withQuery } from '../router.js';
import { may } from '../session.js';

/** @typedef {import('../parts/device-about.js').Device} Device */

const QUESTION = `query ($uid: String!, $asOf: DateTime) { device(uid: $uid, asOf: $asOf) { ${DEVICE} } }`;
const OPEN = `query ($uid: String) { alarms(filter: { deviceUid: $uid, state: OPEN }, first: 1) { totalCount } }`;
const LIVE =
  'subscription ($uid: String, $after: String, $from: String) { deviceChanged(deviceUid: $uid, after: $after, from: $from) { at event { position } } }';
const EVERY = 4000;
/** How long the slider rests before the past is asked for, in milliseconds. */
const REST = 300;

class DevicePage extends Part {
  static properties = {
    params: { attribute: false },
    device: { state: true },
    now: { state: true },
    problem: { state: true },
    sliding: { state: true },
    alarms: { state: true },
  };

  constructor() {
    super();
    /** @type {Record<string, string>} */
    this.params = {};
    /** The device as the page shows it. @type {Device | null} */
    this.device = null;
    /** The device as it is now: the slider needs its beginning. @type {Device | null} */
    this.now = null;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    /** @type {number | null} */
    this.sliding = null;
    this.rest = 0;
    /** How many of its alarms are open. @type {number | null} */
    this.alarms = null;
    /** The moment that `device` is of. @type {string | null | undefined} */
    this.shownAt = undefined;
  }

  get uid() {
    return this.params.uid ?? '';
  }

  /** The moment that the page shows; `null`: now. */
  get until() {
    const text = query('as_of');
    return text && !Number.isNaN(Date.parse(text)) ? new Date(text).toISOString() : null;
  }

  get tab() {
    const wanted = query('tab') ?? 'charts';
    return this.tabs().some((one) => one.name === wanted) ? wanted : 'charts';
  }

  tabs() {
    return /** @type {const} */ ([
      { name: 'charts', may: 'telemetry.read' },
      { name: 'commands', may: 'commands.read' },
      { name: 'alarms', may: 'alarms.read' },
      { name: 'credentials', may: 'credentials.read' },
      { name: 'about', may: 'devices.read' },
    ]).filter((one) => may(one.may) && !(this.until && ['alarms', 'credentials'].includes(one.name)));
  }

  connectedCallback() {
    super.connectedCallback();
    this.addEventListener('query', () => this.load());
    this.every(EVERY, () => this.load());
    this.addEventListener('alarms', () => this.countAlarms());
    if (may('alarms.read')) this.every(EVERY, () => this.countAlarms());
    if (may('streams.follow')) this.whenGone(follow(LIVE, { uid: this.uid, from: 'now' }, { next: () => this.load() }));
  }

  async load() {
    const until = this.until;
    try {
      const [now, then] = await Promise.all([
        graphql(QUESTION, { uid: this.uid }),
        until &&
          (this.device?.asOf && this.shownAt === until
            ? { device: this.device }
            : graphql(QUESTION, { uid: this.uid, asOf: until })),
      ]);
      if (until !== this.until) return;
      this.now = now.device;
      this.device = then ? then.device : now.device;
      this.shownAt = until;
      this.problem = null;
    } catch (error) {
      this.problem = asProblem(error);
    }
    this.requestUpdate();
  }

  async countAlarms() {
    try {
      this.alarms = (await graphql(OPEN, { uid: this.uid })).alarms.totalCount;
    } catch {
      // The page's own question tells of problems.
    }
  }

  /** @param {InputEvent} event */
  slide(event) {
    const input = /** @type {HTMLInputElement} */ (event.target);
    this.sliding = Number(input.value);
    clearTimeout(this.rest);
    this.rest = window.setTimeout(() => {
      const at = this.sliding;
      this.sliding = null;
      if (at !== null)
        go(
          withQuery({
            as_of: at >= Number(input.max) - 1 ? null : new Date(at * 1000).toISOString(),
            from: null,
            to: null,
          }),
          { replace: true },
        );
    }, REST);
  }

  slider() {
    if (!this.now) return nothing;
    const first = Math.floor(new Date(this.now.registeredAt).getTime() / 1000);
    const last = Math.max(Math.ceil(Date.now() / 1000), first + 1);
    const at = this.sliding ?? (this.until ? Date.parse(this.until) / 1000 : last);
    const text = at >= last - 1 && !this.until ? t('past.now') : moment(new Date(at * 1000));
    return html`<div class="sheet past ${this.until ? 'then' : ''}">
      <label for="as-of">${icon('clock')}${t('past.label')}</label>
      <input
        id="as-of"
        type="range"
        min=${first}
        max=${last}
        step="1"
        .value=${`${at}`}
        aria-valuetext=${text}
        @input=${this.slide}
      />
      <span class="actions"
        ><output for="as-of" title=${utc(new Date(at * 1000))}>${text}</output
        >${this.until ? html`<a class="button" href=${withQuery({ as_of: null })}>${t('past.back')}</a>` : nothing}</span
      >
      ${this.until ? html`<p class="whole small">${this.device?.asOf ? t('past.positions', { positions: this.device.asOf.join(', ') }) : nothing} ${t('past.means')}</p>` : nothing}
    </div>`;
  }

  /** @param {Device} device */
  state(device) {
    return html`<div class="actions">
      ${Object.keys(device.labels).length ? labelList(device.labels) : nothing}${pill('device', device.status)}
      <span class="sub">${t('device.seen')} ${ago(device.lastSeenAt)}</span>
    </div>`;
  }

  head() {
    const device = this.device;
    return html`<div class="page-head">
      <div class="grow">
        <p class="small"><a href="/app/devices">${t('nav.devices')}</a></p>
        <h1>${this.uid}</h1>
        <p class="sub">${device?.name ?? ''}</p>
      </div>
      ${device ? this.state(device) : nothing}
    </div>`;
  }

  content() {
    const { device, until, uid } = this;
    if (!device)
      return html`<div class="sheet">
        ${
          this.shownAt === until && this.now
            ? html`<p class="empty">${t('past.none')}</p>`
            : html`<div class="empty">
                <p class="empty-title">${t('device.missing')}</p>
                <p class="empty-next">${t('device.missing.why')}</p>
              </div>`
        }
      </div>`;
    const inService = device.status !== 'DECOMMISSIONED' && !until;
    switch (this.tab) {
      case 'commands':
        return html`<fl-device-commands .uid=${uid} .until=${until} .canSend=${inService}></fl-device-commands>`;
      case 'alarms':
        return this.alarmList();
      case 'credentials':
        return html`<fl-device-credentials .uid=${uid} .inService=${inService}></fl-device-credentials>`;
      case 'about':
        return about(device, () => this.load());
      default:
        return html`<fl-device-charts
          .uid=${uid}
          .until=${until}
          .logId=${device.lastTelemetryEvent?.logId ?? null}
        ></fl-device-charts>`;
    }
  }

  alarmList() {
    const rule = may('alarm_rules.write')
      ? html`<a class="button" href=${`/app/alarms/new-rule?device=${encodeURIComponent(this.uid)}`}
          >${icon('plus')}${t('device.alarms.rule')}</a
        >`
      : nothing;
    return html`<fl-alarm-list
      .filter=${{ deviceUid: this.uid }}
      .isOfDevice=${true}
      .tools=${html`<h2>${t('nav.alarms')}</h2>
        ${rule}`}
      .none=${empty(t('device.alarms.none'), rule)}
    ></fl-alarm-list>`;
  }

  /** @param {string} name */
  tabName(name) {
    const open = name === 'alarms' && this.alarms ? html` <span class="pill bad">${this.alarms}</span>` : nothing;
    return html`${word('device.tab', name)}${open}`;
  }

  render() {
    if (this.device === null && this.shownAt === undefined)
      return html`${this.head()}${this.problem ? shown(this.problem) : waiting(8)}`;
    const problem = this.problem && this.problem.status !== 0 ? shown(this.problem) : nothing;
    if (!this.now) return html`${this.head()}${problem}${this.content()}`;
    return html`${this.head()}${problem}${this.slider()}
      <nav class="tabs" aria-label=${t('device.parts')}>
        ${this.tabs().map((one) => {
          const to = withQuery({ tab: one.name === 'charts' ? null : one.name });
          const here = this.tab === one.name ? 'page' : nothing;
          return html`<a href=${to} aria-current=${here}>${this.tabName(one.name)}</a>`;
        })}
      </nav>
      ${this.content()}`;
  }
}
customElements.define('fl-device', DevicePage);
