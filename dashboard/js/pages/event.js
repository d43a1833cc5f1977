// One event of the log: what it says, its bytes, who caused it, what it followed from and what followed from it; and its proof.

import { get, graphql } from '../api.js';
import { exactly, number, t, when } from '../i18n.js';
import { eventLine, eventPath, place, related, subject, titleOf } from '../parts/event.js';
import '../parts/event-verify.js';
import { icon } from '../parts/icons.js';
import { Part, asProblem, empty, html, nothing, shown, waiting } from '../parts/part.js';
import { checked } from '../parts/proof-report.js';
import { recordBytes } from '../parts/record-bytes.js';
import { who } from '../parts/who.js';

/** @typedef {import('../parts/event.js').Event} Event */

class EventPage extends Part {
  static properties = {
    params: { attribute: false },
    event: { state: true },
    around: { state: true },
    bytes: { state: true },
    head: { state: true },
    problem: { state: true },
  };

  constructor() {
    super();
    /** @type {Record<string, string>} */
    this.params = {};
    /** @type {Event | null} */
    this.event = null;
    /** @type {Awaited<ReturnType<typeof related>> | null} */
    this.around = null;
    /** @type {unknown} */
    this.bytes = null;
    this.head = 0;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
  }

  connectedCallback() {
    super.connectedCallback();
    this.whenBack(() => this.event ?? this.load());
    this.load();
  }

  async load() {
    const { log, position } = this.params;
    try {
      const [event, { logs }] = await Promise.all([
        get(`/events/${log}/${position}`),
        graphql('{ logs { logId head } }').catch(() => ({ logs: [] })),
      ]);
      this.event = event;
      this.head = logs.find((/** @type {any} */ { logId }) => logId === event.log_id)?.head ?? 0;
      this.problem = null;
      await Promise.all([this.loadAround(event), this.loadBytes()]);
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** @param {Event} event */
  async loadAround(event) {
    this.around = await related(event);
  }

  async loadBytes() {
    const found = await get(`/events/${this.params.log}/${this.params.position}/record`);
    this.bytes = await checked(async () => recordBytes(found));
  }

  /** @param {Event} event */
  facts(event) {
    const { actor, correlation_id: correlation } = event.metadata ?? {};
    const lane = event.msg_id === undefined ? 'control' : 'telemetry';
    const list = (/** @type {Record<string, string>} */ filter) =>
      `/app/events?${new URLSearchParams(lane === 'control' ? filter : { log: lane, ...filter })}`;
    return html`<dl class="facts sheet-body">
      <dt>${t('events.kind')}</dt>
      <dd><code>${event.event_type}</code> ${event.event_version} · ${event.aggregate_type}</dd>
      <dt>${t('events.of')}</dt>
      <dd>
        ${subject(event)}
        <a class="small mono" href=${list({ aggregate: event.aggregate_id })}>${event.aggregate_id}</a>
        ${lane === 'control' ? html`<span class="faint">#${number(event.sequence)}</span>` : nothing}
      </dd>
      <dt>${t('events.actor')}</dt>
      <dd>
        ${actor ? html`<a href=${list({ actor })}>${who(actor)}</a> <span class="small mono faint">${actor}</span>` : html`<span class="none">–</span>`}
      </dd>
      <dt>${t('events.occurred')}</dt>
      <dd>${when(event.occurred_at)} <span class="faint">${exactly(event.occurred_at)}</span></dd>
      <dt>${t('events.recorded')}</dt>
      <dd>${when(event.recorded_at)} <span class="faint">${exactly(event.recorded_at)}</span></dd>
      ${
        event.msg_id === undefined
          ? nothing
          : html`<dt>msg_id</dt>
              <dd><code>${event.msg_id}</code></dd>`
      }
      ${
        correlation
          ? html`<dt>${t('command.correlation')}</dt>
              <dd><a class="mono small" href=${list({ correlation_id: correlation })}>${correlation}</a></dd>`
          : nothing
      }
      <dt>${t('events.payload')}</dt>
      <dd><pre class="json" tabindex="0">${JSON.stringify(event.payload, null, 2)}</pre></dd>
      <dt>${t('events.metadata')}</dt>
      <dd><pre class="json" tabindex="0">${JSON.stringify(event.metadata, null, 2)}</pre></dd>
    </dl>`;
  }

  links() {
    const { around } = this;
    const part = (/** @type {string} */ title, /** @type {Event[]} */ list, /** @type {string} */ none) =>
      html`<h3>${title}</h3>
        ${
          list.length
            ? html`<ul class="event-lines">
                ${list.map(eventLine)}
              </ul>`
            : html`<p class="small muted">${none}</p>`
        }`;
    return html`<section class="sheet" aria-labelledby="around">
      <div class="sheet-head"><h2 id="around">${t('event.around')}</h2></div>
      <div class="sheet-body stack">
        ${
          around
            ? html`${part(t('events.cause'), around.cause ? [around.cause] : [], t('event.cause.none'))}
              ${part(t('event.effects'), around.effects, t('event.effects.none'))}
              ${around.request.length ? part(t('event.request'), around.request, '') : nothing}`
            : waiting(3)
        }
      </div>
    </section>`;
  }

  steps() {
    const { log, position } = this.params;
    const here = Number(position);
    const to = (/** @type {number} */ at, /** @type {'left' | 'right'} */ side, /** @type {string} */ label) =>
      at < 1 || (this.head && at > this.head)
        ? html`<span class="button square" aria-disabled="true">${icon(side)}</span>`
        : html`<a class="button square" href=${eventPath(log ?? '', at)} title=${label} aria-label=${label}
            >${icon(side)}</a
          >`;
    return html`<div class="actions">
      ${to(here - 1, 'left', t('event.before'))}${to(here + 1, 'right', t('event.after'))}
      <a class="button" href=${`/app/events?log=${log}&order=asc&after=${Math.max(0, here - 1)}`}
        >${t('event.inlog')}</a
      >
    </div>`;
  }

  render() {
    const { event } = this;
    const { log, position } = this.params;
    return html`<div class="page-head">
        <div class="grow">
          <p class="sub"><a href="/app/events">${t('nav.events')}</a> / <span class="mono">${log}:${position}</span></p>
          <h1>${event ? titleOf(event) : t('events.open', { place: `${log}:${position}` })}</h1>
        </div>
        ${this.steps()}
      </div>
      ${
        this.problem?.status === 404
          ? html`<section class="sheet">
              ${empty(t('event.missing', { place: `${log}:${position}` }), html`<a href="/app/events">${t('events.all')}</a>`)}
            </section>`
          : shown(this.problem)
      }
      ${
        event
          ? html`<div class="grid two">
              <div class="grid whole-first">
                <section class="sheet" aria-labelledby="facts">
                  <div class="sheet-head">
                    <h2 id="facts" class="grow">${t('details')}</h2>
                    <span class="pill mono">${place(event)}</span>
                  </div>
                  ${this.facts(event)}
                </section>
                <section class="sheet last" aria-labelledby="bytes">
                  <div class="sheet-head"><h2 id="bytes">${t('event.bytes')}</h2></div>
                  ${this.bytes ?? (this.problem ? nothing : waiting(4))}
                </section>
              </div>
              <div class="grid">
                <fl-event-verify .log=${event.log_id} .position=${event.position}></fl-event-verify>
                ${this.links()}
              </div>
            </div>`
          : this.problem
            ? nothing
            : waiting(8)
      }`;
  }
}
customElements.define('fl-event', EventPage);
