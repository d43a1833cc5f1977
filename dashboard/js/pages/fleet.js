// The fleet at a glance: what an operator keeps open all day.

import { get, graphql } from '../api.js';
import { ago, number, shortNumber, t, timeOfDay, when, word } from '../i18n.js';
import { follow } from '../live.js';
import { AskingPart, asProblem, empty, html, nothing, shown, waiting } from '../parts/part.js';
import { pill } from '../parts/pills.js';
import { firstSteps } from '../parts/first-steps.js';
import { spark } from '../parts/spark.js';
import { pageOf } from '../parts/streams.js';
import { may } from '../session.js';

const EVERY = 2000;
/** How many rates the line under the number has. */
const RATES = 60;
/** How many events the feed shows. */
const FEED = 14;

const DEVICES = `online: devices(filter: { status: ONLINE }, first: 1) { totalCount }
  offline: devices(filter: { status: OFFLINE }, sort: LAST_SEEN_AT_DESC, first: 6) { totalCount nodes { uid name lastSeenAt } }`;
const COMMANDS = `requested: commands(filter: { status: REQUESTED }, first: 1) { totalCount }
  sent: commands(filter: { status: SENT }, first: 1) { totalCount }`;

const ALARMS = `open: alarms(filter: { state: OPEN }, first: 1) { totalCount }
  raised: alarms(filter: { state: RAISED }, first: 1) { totalCount }`;

/** What this viewer may ask for. */
function question() {
  const parts = [
    may('devices.read') && DEVICES,
    may('commands.read') && COMMANDS,
    may('alarms.read') && ALARMS,
    may('logs.read') && 'logs { lane head }',
    may('projections.read') && 'projections { name version live state lag parked error since }',
  ];
  return `{ __typename ${parts.filter(Boolean).join('\n')} }`;
}

const EVENTS = `subscription ($after: String, $from: String) { events(log: "control", after: $after, from: $from) {
  at event { logId position eventType aggregateType aggregateId deviceUid recordedAt metadata payload } } }`;

/**
 * @typedef {{
 *   logId: number, position: number, eventType: string, aggregateType: string, aggregateId: string, deviceUid:
 *   string | null, recordedAt: string, metadata: any, payload: any
 * }} Event
 */

/** A rate as a tile has room for. @param {number} rate */
const rounded = (rate) => (rate < 100 ? Math.round(rate * 10) / 10 : Math.round(rate));

class Fleet extends AskingPart {
  static properties = {
    data: { state: true },
    quarantine: { state: true },
    feed: { state: true },
  };

  constructor() {
    super();
    /** @type {any} */
    this.data = null;
    /** @type {{ total: number, more: boolean } | null} */
    this.quarantine = null;
    /** @type {Event[] | null} */
    this.feed = null;
    /** @type {{ at: number, head: number }[]} */
    this.heads = [];
    /** @type {number[]} */
    this.rates = [];
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(EVERY, () => this.load());
    if (may('quarantine.read')) this.every(5 * EVERY, () => this.count());
    if (may('events.read')) this.followEvents();
  }

  load() {
    return this.attempt(async () => {
      this.data = await graphql(question());
      this.measure();
    });
  }

  async count() {
    try {
      const answer = await get('/quarantine?count=true&limit=1');
      this.quarantine = { total: answer.total, more: answer.total_is_lower_bound === true };
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** The rate of messages: how far the telemetry logs have come between two answers. */
  measure() {
    const logs = this.data.logs?.filter((/** @type {{ lane: string }} */ log) => log.lane === 'telemetry');
    if (!logs) return;
    const head = logs.reduce((/** @type {number} */ sum, /** @type {{ head: number }} */ log) => sum + log.head, 0);
    const now = { at: performance.now(), head };
    const before = this.heads.at(-1);
    this.heads = [...this.heads.slice(-3), now];
    // A page that was hidden, or a service that was down, leaves a pause that has no rate of its own.
    if (before && now.at - before.at < 4 * EVERY)
      this.rates = [...this.rates.slice(1 - RATES), ((head - before.head) * 1000) / (now.at - before.at)];
  }

  /** Messages a second over the last few answers. */
  get rate() {
    const [first, last] = [this.heads[0], this.heads.at(-1)];
    return first && last && last.at > first.at ? ((last.head - first.head) * 1000) / (last.at - first.at) : null;
  }

  async followEvents() {
    try {
      const page = await get(`/events?log=control&order=desc&limit=${FEED}`);
      this.feed = page.items.map((/** @type {any} */ event) => ({
        logId: event.log_id,
        position: event.position,
        eventType: event.event_type,
        aggregateType: event.aggregate_type,
        aggregateId: event.aggregate_id,
        deviceUid: null,
        recordedAt: event.recorded_at,
        metadata: event.metadata,
        payload: event.payload,
      }));
      if (!may('streams.follow') || !this.isConnected) return;
      const last = page.items[0];
      const from = last ? { after: `${last.log_id}:${last.position}` } : { from: 'start' };
      this.whenGone(
        follow(EVENTS, from, {
          next: ({ events }) => events.event && (this.feed = [events.event, ...(this.feed ?? [])].slice(0, FEED)),
        }),
      );
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  tiles() {
    const { online, offline, requested, sent, open, raised, projections } = this.data;
    const live = projections?.filter((/** @type {any} */ one) => one.live) ?? [];
    const lag = Math.max(0, ...live.map((/** @type {any} */ one) => one.lag));
    const ill = live.some((/** @type {any} */ one) => !['FOLLOWING', 'STARTING'].includes(one.state));
    return html`<div class="tiles">
      ${online ? this.devices(online.totalCount, offline.totalCount) : nothing}
      ${open ? this.alarms(open.totalCount, raised.totalCount) : nothing} ${this.data.logs ? this.messages() : nothing}
      ${
        requested
          ? tile({
              to: '/app/commands?status=open',
              name: t('fleet.commands'),
              value: (requested.totalCount ?? 0) + (sent.totalCount ?? 0),
              below: t('fleet.commands.below', { requested: requested.totalCount ?? 0, sent: sent.totalCount ?? 0 }),
            })
          : nothing
      }
      ${may('quarantine.read') ? this.refused() : nothing}
      ${
        projections
          ? tile({
              to: '#projections',
              name: t('fleet.behind'),
              value: lag,
              below: t(ill ? 'fleet.behind.ill' : lag ? 'fleet.behind.lag' : 'fleet.behind.none'),
              tone: ill ? 'bad' : '',
            })
          : nothing
      }
    </div>`;
  }

  /** @param {number | null} online @param {number | null} offline */
  devices(online, offline) {
    const all = (online ?? 0) + (offline ?? 0);
    return html`${tile({
      to: '/app/devices?status=online',
      name: t('fleet.online'),
      value: online,
      below: t('fleet.of', { n: all }),
    })}${tile({
      to: '/app/devices?status=offline',
      name: t('fleet.offline'),
      value: offline,
      below: t('fleet.offline.below'),
      tone: offline ? 'warn' : '',
    })}`;
  }

  /** @param {number | null} open @param {number | null} raised */
  alarms(open, raised) {
    return tile({
      to: '/app/alarms?state=open',
      name: t('alarms.open'),
      value: open,
      below:
        open === null
          ? ''
          : raised
            ? t('fleet.alarms.raised', { n: raised })
            : t(open ? 'fleet.alarms.seen' : 'fleet.alarms.none'),
      tone: raised ? 'bad' : open ? 'warn' : '',
    });
  }

  messages() {
    return tile({
      to: may('events.read') ? '/app/events?log=telemetry' : '/app/devices',
      name: t('fleet.rate'),
      value: this.rate === null ? null : rounded(this.rate),
      below: spark(this.rates),
    });
  }

  refused() {
    return tile({
      to: '/app/quarantine',
      name: t('nav.quarantine'),
      value: this.quarantine?.total ?? null,
      more: this.quarantine?.more ?? false,
      below: t('fleet.quarantine.below'),
      tone: this.quarantine?.total ? 'warn' : '',
    });
  }

  happening() {
    if (!may('events.read')) return nothing;
    const body = !this.feed
      ? waiting(6)
      : this.feed.length === 0
        ? empty(t('fleet.feed.none'))
        : html`<ol class="feed">
            ${this.feed.map(happened)}
          </ol>`;
    return html`<section class="sheet" aria-labelledby="feed">
      <div class="sheet-head">
        <h2 id="feed" class="grow">${t('fleet.feed')}</h2>
        <a class="small" href="/app/events">${t('fleet.feed.all')}</a>
      </div>
      ${body}
    </section>`;
  }

  silent() {
    const { offline } = this.data;
    if (!offline?.nodes.length) return nothing;
    return html`<section class="sheet" aria-labelledby="silent">
      <div class="sheet-head">
        <h2 id="silent" class="grow">${t('fleet.silent')}</h2>
        <a class="small" href="/app/devices?status=offline&sort=last_seen_at_desc">${t('fleet.silent.all')}</a>
      </div>
      <ul class="feed silent">
        ${offline.nodes.map(
          (/** @type {{ uid: string, name: string | null, lastSeenAt: string | null }} */ one) =>
            html`<li>
              <span
                ><a href=${`/app/devices/${encodeURIComponent(one.uid)}`}>${one.uid}</a>
                <span class="faint small">${one.name ?? nothing}</span></span
              ><span class="muted small">${ago(one.lastSeenAt)}</span>
            </li>`,
        )}
      </ul>
    </section>`;
  }

  projections() {
    const rows = this.data.projections?.filter((/** @type {any} */ one) => one.live || one.state === 'BUILDING');
    if (!rows) return nothing;
    return html`<section class="sheet" id="projections" tabindex="-1" aria-labelledby="projections-heading">
      <div class="sheet-head"><h2 id="projections-heading">${t('fleet.projections')}</h2></div>
      <div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
        <table class="compact">
          <thead>
            <tr>
              <th>${t('fleet.projection')}</th>
              <th>${t('status')}</th>
              <th class="end">${t('fleet.lag')}</th>
              <th class="end wide">${t('fleet.parked')}</th>
            </tr>
          </thead>
          <tbody>
            ${rows.map(
              (/** @type {any} */ one) =>
                html`<tr>
                  <td>
                    <code>${one.name}</code>
                    <span class="faint small">v${one.version}</span
                    >${one.error ? html`<div class="small wrong">${one.error}</div>` : nothing}
                  </td>
                  <td>${pill('projection', one.state)}</td>
                  <td class="end numeric">${number(one.lag)}</td>
                  <td class="end numeric wide">${number(one.parked)}</td>
                </tr>`,
            )}
          </tbody>
        </table>
      </div>
      <p class="small muted sheet-body">${t('fleet.lag.means')}</p>
    </section>`;
  }

  render() {
    const head = html`<div class="page-head">
      <div class="grow">
        <h1>${t('nav.fleet')}</h1>
        <p class="sub">${t('fleet.sub')}</p>
      </div>
    </div>`;
    if (!this.data) return html`${head}${this.problem ? shown(this.problem) : waiting(6)}`;
    const none = this.data.online && this.data.online.totalCount === 0 && this.data.offline.totalCount === 0;
    return html`${head}${this.problem && this.problem.status !== 0 ? shown(this.problem) : nothing}
      ${none ? html`<section class="sheet first">${firstSteps()}</section>` : nothing} ${this.tiles()}
      <div class="grid ${may('events.read') ? 'two' : ''}">
        ${this.happening()}
        <div class="grid">${this.silent()}${this.projections()}</div>
      </div>`;
  }
}
customElements.define('fl-fleet', Fleet);

/**
 * A number that leads to what it counts. `null`: it is not known yet, or policies hide it. `more`: there are more than it says.
 * @param {{ to: string, name: string, value: number | null, below: unknown, tone?: string, more?: boolean }} what
 */
function tile({ to, name, value, below, tone = '', more = false }) {
  const text = value === null ? '–' : shortNumber(value) + (more ? '+' : '');
  return html`<a class="sheet tile ${tone}" href=${to}>
    <span class="name">${name}</span><span class="big">${text}</span><span class="below">${below}</span>
  </a>`;
}

/** An event in the feed. @param {Event} event */
function happened(event) {
  const there = `/app/events?log=control&after=${event.position - 1}&order=asc`;
  return html`<li>
    ${when(event.recordedAt, timeOfDay)}<span>${line(event)}</span>
    <a class="faint small mono" href=${there} title=${t('events.see')}>${event.logId}:${event.position}</a>
  </li>`;
}

/** An event in a few words. @param {Event} event */
function line(event) {
  const name = event.aggregateId.slice(event.aggregateId.indexOf('/') + 1);
  const what = word('event', event.eventType);
  const uid =
    event.aggregateType === 'Device'
      ? name
      : (event.deviceUid ?? event.payload?.device_uid ?? event.payload?.[event.eventType]?.device_uid);
  const to = event.aggregateType === 'Device' ? null : pageOf(event.aggregateType, name);
  const of = to ? html`<a href=${to}>${what}</a>` : what;
  return html`${of}${uid ? html` · <a href=${`/app/devices/${encodeURIComponent(uid)}`}>${uid}</a>` : nothing}`;
}
