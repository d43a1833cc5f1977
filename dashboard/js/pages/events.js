// The log itself: every event, by its position, live or from any place on.

import { get } from '../api.js';
import { exactly, moment, t, when, word } from '../i18n.js';
import { follow } from '../live.js';
import { eventPath, place, placeOf, subject } from '../parts/event.js';
import { icon } from '../parts/icons.js';
import { Part, asProblem, empty, html, nothing, shown, waiting } from '../parts/part.js';
import { liveSign } from '../parts/pills.js';
import { who } from '../parts/who.js';
import { go, query, withQuery } from '../router.js';
import { may } from '../session.js';

const PAGE = 50;
/** How long events are collected before they are shown, in milliseconds. */
const TOGETHER = 400;
const LIVE = `subscription ($log: String, $device: [String!], $type: [String!], $actor: String, $after: String, $from: String) {
  events(log: $log, device: $device, type: $type, actor: $actor, maxRate: 5, after: $after, from: $from) { at event
    { logId position aggregateType aggregateId sequence eventType eventVersion payload metadata occurredAt recordedAt } } }`;

/** @typedef {import('../parts/event.js').Event} Event */

/** @param {any} event @returns {Event} */
const fromLive = (event) => ({
  log_id: event.logId,
  position: event.position,
  aggregate_type: event.aggregateType,
  aggregate_id: event.aggregateId,
  sequence: event.sequence,
  event_type: event.eventType,
  event_version: event.eventVersion,
  payload: event.payload,
  metadata: event.metadata,
  occurred_at: event.occurredAt,
  recorded_at: event.recordedAt,
});

class Events extends Part {
  static properties = { list: { state: true }, problem: { state: true }, open: { state: true }, live: { state: true } };

  constructor() {
    super();
    /** @type {Event[] | null} */
    this.list = null;
    /** @type {string | null} */
    this.next = null;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    /** @type {string} */
    this.open = '';
    this.live = false;
    this.asked = 0;
    this.typing = 0;
    /** What has happened and is not shown yet, the newest first. @type {Event[]} */
    this.fresh = [];
    this.showing = 0;
    /** @type {(() => void) | null} */
    this.leave = null;
  }

  connectedCallback() {
    super.connectedCallback();
    this.addEventListener('query', () => this.load());
    this.whenGone(() => this.leave?.());
    this.load();
    this.whenBack(() => this.isNewest && this.load());
  }

  get log() {
    return query('log') === 'telemetry' ? 'telemetry' : 'control';
  }

  /** Whether the newest come first, and new ones are added as they happen. */
  get isNewest() {
    return query('order') !== 'asc';
  }

  path(after = /** @type {string | null} */ (null)) {
    const asked = new URLSearchParams({ log: this.log, order: this.isNewest ? 'desc' : 'asc', limit: `${PAGE}` });
    for (const name of ['aggregate', 'type', 'actor', 'correlation_id']) {
      const value = query(name);
      if (value) asked.set(name, value);
    }
    const from = after ?? (this.isNewest ? null : query('after'));
    if (from) asked.set('after', from);
    return `/events?${asked}`;
  }

  async load(after = /** @type {string | null} */ (null)) {
    const asked = (this.asked += 1);
    if (!after) {
      this.leave?.();
      this.fresh = [];
    }
    try {
      const page = await get(this.path(after));
      if (asked !== this.asked) return;
      this.list = after ? [...(this.list ?? []), ...page.items] : page.items;
      this.next = page.has_more ? `${page.next_cursor}` : null;
      if (!after && !this.isNewest && this.list?.[0]) this.open = place(this.list[0]);
      this.problem = null;
      if (!after) this.listen();
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  listen() {
    this.live = false;
    const filtered = query('aggregate') || query('correlation_id');
    if (!this.isNewest || filtered || !may('streams.follow') || !this.isConnected) return;
    const [type, actor] = [query('type'), query('actor')];
    const last = this.list?.[0];
    const from = last && !type && !actor ? { after: `${last.log_id}:${last.position}` } : { from: 'now' };
    this.live = true;
    this.leave = follow(
      LIVE,
      { log: this.log, ...(type ? { type: [type] } : {}), ...(actor ? { actor } : {}), ...from },
      {
        next: ({ events }) => events.event && this.take(fromLive(events.event)),
        fail: (problem) => (this.problem = problem),
      },
    );
  }

  /** Takes what has happened: several that come at once are shown at once. @param {Event} event */
  take(event) {
    this.fresh.unshift(event);
    if (this.fresh.length > PAGE) this.fresh.length = PAGE;
    this.showing ||= window.setTimeout(() => {
      this.showing = 0;
      this.list = [...this.fresh.splice(0), ...(this.list ?? [])].slice(0, Math.max(PAGE, this.list?.length ?? 0));
    }, TOGETHER);
  }

  /** @param {string} name @param {globalThis.Event} event */
  type(name, event) {
    clearTimeout(this.typing);
    const text = /** @type {HTMLInputElement} */ (event.target).value.trim();
    this.typing = window.setTimeout(() => go(withQuery({ [name]: text, after: null }), { replace: true }), 300);
  }

  filters() {
    return html`<div class="sheet-head filters">
      <div class="choices" role="group" aria-label=${t('events.log')}>
        ${/** @type {const} */ (['control', 'telemetry']).map((one) => html`<a href=${withQuery({ log: one === 'control' ? null : one, after: null, order: null })} aria-current=${this.log === one ? 'true' : nothing}>${word('log', one)}</a>`)}
      </div>
      <div class="search">
        ${icon('search')}<input
          type="search"
          aria-label=${t('events.stream')}
          placeholder=${t('events.stream')}
          .value=${query('aggregate') ?? ''}
          @input=${(/** @type {globalThis.Event} */ event) => this.type('aggregate', event)}
        />
      </div>
      <div class="search">
        ${icon('search')}<input
          type="search"
          aria-label=${t('events.type')}
          placeholder=${t('events.type')}
          .value=${query('type') ?? ''}
          @input=${(/** @type {globalThis.Event} */ event) => this.type('type', event)}
        />
      </div>
      ${['actor', 'correlation_id'].map((name) => {
        const value = query(name);
        return value
          ? html`<a class="button" href=${withQuery({ [name]: null })} aria-label=${t('filter.drop', { value })}
              >${value.slice(0, 20)}${icon('close')}</a
            >`
          : nothing;
      })}
      <span class="grow"></span>
      ${this.live ? liveSign() : nothing}
      ${
        this.isNewest
          ? nothing
          : html`<a class="button" href=${withQuery({ order: null, after: null })}>${t('events.newest')}</a>`
      }
    </div>`;
  }

  /** @param {Event} event */
  row(event) {
    const open = this.open === place(event);
    const actor = event.metadata?.actor;
    return html`<tr>
        <td>
          <button
            class="plain disclose mono"
            aria-expanded=${open}
            aria-label=${t('events.open', { place: place(event) })}
            @click=${() => (this.open = open ? '' : place(event))}
          >
            ${icon(open ? 'close' : 'plus')}${place(event)}
          </button>
        </td>
        <td title=${event.event_type}>
          ${word('event', event.event_type)}
          <span class="small faint only-small">${when(event.recorded_at, exactly)}</span>
        </td>
        <td>${subject(event)}</td>
        <td class="wide">
          ${actor ? html`<a class="small" title=${actor} href=${withQuery({ actor, after: null })}>${who(actor)}</a>` : html`<span class="none">–</span>`}
        </td>
        <td class="end wide">
          ${when(event.recorded_at, exactly)}
          <div class="faint small">${moment(event.recorded_at).split(',')[0]}</div>
        </td>
      </tr>
      ${
        open
          ? html`<tr class="opened">
              <td colspan="5">${this.detail(event)}</td>
            </tr>`
          : nothing
      }`;
  }

  /** @param {Event} event */
  detail(event) {
    const { correlation_id: correlation, causation_id: cause } = event.metadata ?? {};
    const from = placeOf(cause);
    return html`<dl class="facts">
      <dt>${t('events.kind')}</dt>
      <dd>
        <code>${event.event_type}</code> · ${event.aggregate_type} ·
        <span class="mono">${event.aggregate_id}</span> #${event.sequence}
      </dd>
      <dt>${t('events.occurred')}</dt>
      <dd>${when(event.occurred_at)} <span class="faint">${exactly(event.occurred_at)}</span></dd>
      <dt>${t('events.recorded')}</dt>
      <dd>${when(event.recorded_at)} <span class="faint">${exactly(event.recorded_at)}</span></dd>
      ${
        correlation
          ? html`<dt>${t('command.correlation')}</dt>
              <dd>
                <a class="mono small" href=${withQuery({ correlation_id: correlation, after: null, order: null })}
                  >${correlation}</a
                >
              </dd>`
          : nothing
      }
      ${
        from
          ? html`<dt>${t('events.cause')}</dt>
              <dd>
                <a class="mono" href=${eventPath(from.log, from.position)}>${cause}</a>
              </dd>`
          : nothing
      }
      <dt>${t('events.payload')}</dt>
      <dd><pre class="json" tabindex="0">${JSON.stringify(event.payload, null, 2)}</pre></dd>
      <dt>${t('events.metadata')}</dt>
      <dd><pre class="json" tabindex="0">${JSON.stringify(event.metadata, null, 2)}</pre></dd>
      <dt></dt>
      <dd>
        <a class="button" href=${eventPath(event.log_id, event.position)}>${icon('proof')}${t('event.page')}</a>
      </dd>
    </dl>`;
  }

  table() {
    if (!this.list) return this.problem ? nothing : waiting(8);
    if (this.list.length === 0) return empty(t('events.none'), html`<a href="/app/events">${t('events.all')}</a>`);
    return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
        <table class="events">
          <thead>
            <tr>
              <th>${t('position')}</th>
              <th>${t('events.event')}</th>
              <th>${t('events.of')}</th>
              <th class="wide">${t('events.actor')}</th>
              <th class="end wide">${t('events.recorded')}</th>
            </tr>
          </thead>
          <tbody>
            ${this.list.map((event) => this.row(event))}
          </tbody>
        </table>
      </div>
      ${this.next ? html`<div class="more"><button @click=${() => this.load(this.next)}>${t('more')}</button></div>` : nothing}`;
  }

  render() {
    return html`<div class="page-head">
        <div class="grow">
          <h1>${t('nav.events')}</h1>
          <p class="sub">${t('events.sub')}</p>
        </div>
      </div>
      ${shown(this.problem)}
      <section class="sheet" aria-label=${t('nav.events')}>${this.filters()}${this.table()}</section>`;
  }
}
customElements.define('fl-events', Events);
