// A list of alarms, the open ones first, as they are raised and cleared: of all devices, or of one.

import { graphql } from '../api.js';
import { ago, moment, t, utc } from '../i18n.js';
import { follow } from '../live.js';
import { may } from '../session.js';
import { ALARM, acknowledge, acknowledgeAll, isOpen, lasted, mayAct, seen } from './alarms.js';
import { icon } from './icons.js';
import { Part, asProblem, html, nothing, shown, waiting } from './part.js';
import { liveSign, pill } from './pills.js';
import { people } from './people.js';
import { who } from './who.js';

const PAGE = 50;
const LIST = `query ($filter: AlarmFilter, $first: Int, $after: String) { alarms(filter: $filter, sort: OPEN_FIRST,
  first: $first, after: $after) { pageInfo { endCursor hasNextPage } nodes { ${ALARM} } } }`;
const LIVE = `subscription ($uid: String, $after: String, $from: String) { alarmChanged(deviceUid: $uid, after: $after,
  from: $from) { at alarm { ${ALARM} } } }`;

/** @typedef {import('./alarms.js').Alarm} Alarm */
/**
 * What is listed; an absent field selects all.
 * @typedef {{ state?: string, severity?: string, deviceUid?: string, rule?: string, from?: string }} Filter
 */

/** Whether an alarm is in the list of a filter. @param {Alarm} alarm @param {Filter} filter */
function fits(alarm, { state, severity, deviceUid, rule, from }) {
  return (
    (!state || state === alarm.status || (state === 'OPEN' && isOpen(alarm))) &&
    (!severity || severity === alarm.severity) &&
    (!deviceUid || deviceUid === alarm.deviceUid) &&
    (!rule || rule === alarm.rule) &&
    (!from || Date.parse(alarm.raisedAt) >= Date.parse(from))
  );
}

/** Those that are open first; of each kind, the newest first. @param {Alarm} one @param {Alarm} other */
const order = (one, other) => Number(isOpen(other)) - Number(isOpen(one)) || other.position - one.position;

class AlarmList extends Part {
  static properties = {
    filter: { attribute: false },
    none: { attribute: false },
    tools: { attribute: false },
    isOfDevice: { attribute: false },
    list: { state: true },
    problem: { state: true },
  };

  constructor() {
    super();
    /** @type {Filter} */
    this.filter = {};
    /** What to say while there is none. @type {unknown} */
    this.none = nothing;
    /** What stands above the list. @type {unknown} */
    this.tools = nothing;
    this.isOfDevice = false;
    /** @type {Alarm[] | null} */
    this.list = null;
    /** @type {string | null} */
    this.more = null;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    this.asked = 0;
  }

  connectedCallback() {
    super.connectedCallback();
    this.whenBack(() => this.load());
    people()
      .then(() => this.requestUpdate())
      .catch(() => {});
    if (may('streams.follow'))
      this.whenGone(
        follow(
          LIVE,
          { uid: this.filter.deviceUid ?? null, from: 'now' },
          {
            next: ({ alarmChanged }) => alarmChanged.alarm && this.take(alarmChanged.alarm),
            fail: (problem) => (this.problem = problem),
          },
        ),
      );
    // How long they last goes on by itself.
    this.every(5000, async () => this.requestUpdate());
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    const before = /** @type {Filter | undefined} */ (changed.get('filter'));
    if (changed.has('filter') && JSON.stringify(before) !== JSON.stringify(this.filter)) this.load();
  }

  async load(after = /** @type {string | null} */ (null)) {
    const asked = (this.asked += 1);
    try {
      const { alarms } = await graphql(LIST, { filter: this.filter, first: PAGE, after });
      if (asked !== this.asked) return;
      const known = new Set(alarms.nodes.map((/** @type {Alarm} */ one) => one.id));
      const before = after ? (this.list ?? []).filter((one) => !known.has(one.id)) : [];
      this.list = [...before, ...alarms.nodes];
      this.more = alarms.pageInfo.hasNextPage ? alarms.pageInfo.endCursor : null;
      this.problem = null;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** A change: an alarm that no longer fits the filter leaves the list. @param {Alarm} alarm */
  take(alarm) {
    const others = (this.list ?? []).filter((one) => one.id !== alarm.id);
    this.list = (fits(alarm, this.filter) ? [...others, alarm] : others).sort(order);
    this.tell();
  }

  /** Tells the page that numbers have changed. */
  tell() {
    this.dispatchEvent(new CustomEvent('alarms', { bubbles: true }));
  }

  async reload() {
    await this.load();
    this.tell();
  }

  /** @param {Alarm} alarm */
  state(alarm) {
    const said = alarm.status === 'ACKNOWLEDGED' ? alarm.acknowledgedBy : alarm.clearedBy;
    const note = alarm.status === 'ACKNOWLEDGED' ? alarm.acknowledgeNote : alarm.clearNote;
    return html`${pill('alarm', alarm.status)}${said ? html`<div class="small faint" title=${note ?? nothing}>${who(said)}${note ? ` · ${note}` : ''}</div>` : nothing}`;
  }

  /** @param {Alarm} alarm */
  row(alarm) {
    const device = html`<a href=${`/app/devices/${encodeURIComponent(alarm.deviceUid)}`}>${alarm.deviceUid}</a>`;
    const acknowledges = mayAct() && alarm.status === 'RAISED';
    return html`<tr class="alarm ${isOpen(alarm) ? alarm.severity.toLowerCase() : 'over'}">
      <td>
        <div class="alarm-name">
          ${pill('severity', alarm.severity)}<a href=${`/app/alarms/${alarm.id}`}>${alarm.title}</a>
        </div>
        <div class="small muted">${seen(alarm)}</div>
        ${this.isOfDevice ? nothing : html`<div class="small only-small">${device}</div>`}
      </td>
      ${this.isOfDevice ? nothing : html`<td class="wide">${device}</td>`}
      <td class="alarm-state">${this.state(alarm)}</td>
      <td title=${`${moment(alarm.raisedAt)} · ${utc(alarm.raisedAt)}`}>
        ${ago(alarm.raisedAt)}
        <div class="small faint only-small">${lasted(alarm)}</div>
      </td>
      <td class="wide numeric">${lasted(alarm)}</td>
      ${mayAct() ? html`<td class="wide end">${acknowledges ? html`<button @click=${() => acknowledge(alarm, () => this.reload())}>${t('alarm.ack')}</button>` : nothing}</td>` : nothing}
    </tr>`;
  }

  table() {
    if (!this.list) return this.problem ? nothing : waiting(6);
    if (this.list.length === 0) return this.none;
    return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
        <table class="alarms">
          <thead>
            <tr>
              <th>${t('alarm')}</th>
              ${this.isOfDevice ? nothing : html`<th class="wide">${t('device')}</th>`}
              <th>${t('status')}</th>
              <th>${t('alarm.at.raised')}</th>
              <th class="wide">${t('alarm.lasted')}</th>
              ${mayAct() ? html`<th class="wide"><span class="visually-hidden">${t('actions')}</span></th>` : nothing}
            </tr>
          </thead>
          <tbody>
            ${this.list.map((alarm) => this.row(alarm))}
          </tbody>
        </table>
      </div>
      ${this.more ? html`<div class="more"><button @click=${() => this.load(this.more)}>${t('more')}</button></div>` : nothing}`;
  }

  render() {
    const raised = (this.list ?? []).filter((one) => one.status === 'RAISED');
    return html`${shown(this.problem)}
      <section class="sheet" aria-label=${t('nav.alarms')}>
        <div class="sheet-head filters">
          ${this.tools}<span class="grow"></span>${may('streams.follow') ? liveSign() : nothing}
          ${
            mayAct() && raised.length > 1
              ? html`<button @click=${() => acknowledgeAll(raised, () => this.reload())}>
                  ${icon('check')}${t('alarms.ack', { n: raised.length })}
                </button>`
              : nothing
          }
        </div>
        ${this.table()}
      </section>`;
  }
}
customElements.define('fl-alarm-list', AlarmList);
