// What happened to one thing, as the log has it: who changed it, when, and where that is on the record.

import { get } from '../api.js';
import { dayOf, t, word } from '../i18n.js';
import { may, me } from '../session.js';
import { grouped } from './groups.js';
import { Part, asProblem, empty, html, nothing, shown, waiting } from './part.js';
import { people } from './people.js';
import { happened } from './timeline.js';

const PAGE = 50;

/** @typedef {{ position: number, event_type: string, recorded_at: string, payload: any, metadata: any }} Event */

/** @type {Record<string, string>} */
const TONES = {
  UserLoginFailed: 'bad',
  UserDeactivated: 'bad',
  ApiKeyRevoked: 'bad',
  PolicyRemoved: 'bad',
  TenantSuspended: 'bad',
  UserRegistered: 'good',
  UserReactivated: 'good',
  ApiKeyIssued: 'good',
  PolicyDefined: 'good',
  TenantCreated: 'good',
  TenantResumed: 'good',
};

/** @param {Event} event */
export const payloadOf = (event) => event.payload?.[event.event_type] ?? {};

/** The plain values of an event, in few words. @param {Event} event */
function says(event) {
  const own = payloadOf(event);
  const values = Object.entries(own.settings ?? own).filter(([, value]) => value === null || typeof value !== 'object');
  return values.map(([name, value]) => `${name}: ${value ?? '–'}`).join(', ');
}

class StreamHistory extends Part {
  static properties = {
    name: {},
    kind: {},
    version: {},
    says: { attribute: false },
    extra: { attribute: false },
    list: { state: true },
    problem: { state: true },
  };

  constructor() {
    super();
    /** What the stream is called within its tenant. */
    this.name = '';
    /** The type of its aggregate. */
    this.kind = '';
    /** What changes whenever there may be more. @type {unknown} */
    this.version = null;
    /** @type {(event: Event) => unknown} */
    this.says = says;
    /** @type {(event: Event, before: Event | undefined) => unknown} */
    this.extra = () => nothing;
    /** @type {Event[] | null} */
    this.list = null;
    /** @type {number | string | null} */
    this.next = null;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    this.asked = 0;
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (['name', 'kind', 'version'].some((one) => changed.has(one)) && this.name) this.load(null);
  }

  /** @param {number | string | null} after */
  async load(after) {
    if (!may('events.read')) return;
    const asked = (this.asked += 1);
    const which = new URLSearchParams({
      log: 'control',
      order: 'desc',
      limit: `${PAGE}`,
      aggregate: `${me()?.tenant}/${this.name}`,
      aggregate_type: this.kind,
    });
    if (after) which.set('after', `${after}`);
    try {
      const [page] = await Promise.all([get(`/events?${which}`), people().catch(() => [])]);
      if (asked !== this.asked) return;
      this.list = after ? [...(this.list ?? []), ...page.items] : page.items;
      this.next = page.has_more ? page.next_cursor : null;
      this.problem = null;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** @param {Event} event @param {Event | undefined} before */
  step(event, before) {
    return happened({
      tone: TONES[event.event_type] ?? 'calm',
      what: word('event', event.event_type),
      says: this.says(event),
      at: event.recorded_at,
      actor: event.metadata?.actor ?? null,
      position: event.position,
      extra: this.extra(event, before),
    });
  }

  body() {
    if (!this.list) return this.problem ? nothing : waiting(3);
    const { list } = this;
    if (list.length === 0) return empty(t('history.none'));
    return html`${[...grouped(list, ({ recorded_at }) => dayOf(recorded_at))].map(
      ([day, events]) =>
        html`<h3 class="day">${day}</h3>
          <ol class="timeline">
            ${events.map((event) => this.step(event, list[list.indexOf(event) + 1]))}
          </ol>`,
    )}
    ${this.next ? html`<button @click=${() => this.load(this.next)}>${t('more')}</button>` : nothing}`;
  }

  render() {
    if (!may('events.read')) return nothing;
    return html`<section class="sheet" aria-labelledby="history">
      <div class="sheet-head"><h2 id="history" class="grow">${t('history')}</h2></div>
      <div class="sheet-body">${shown(this.problem)}${this.body()}</div>
    </section>`;
  }
}
customElements.define('fl-stream-history', StreamHistory);
