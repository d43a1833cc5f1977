// The rules that raise alarms.

import { graphql } from '../api.js';
import { number, t } from '../i18n.js';
import { icon } from '../parts/icons.js';
import { AskingPart, empty, html, nothing, shown, waiting } from '../parts/part.js';
import { pill } from '../parts/pills.js';
import { conditionText, devicesText } from '../parts/rule-text.js';
import { listRules } from '../parts/rules.js';
import { may } from '../session.js';

const EVERY = 10_000;
/** How many open alarms are looked at to count them by rule. */
const COUNTED = 1000;
const OPEN = `query ($first: Int) { alarms(filter: { state: OPEN }, first: $first) { pageInfo { hasNextPage } nodes { rule } } }`;

/** @typedef {import('../parts/rule-text.js').Rule} Rule */

class AlarmRules extends AskingPart {
  static properties = { list: { state: true }, open: { state: true } };

  constructor() {
    super();
    /** @type {Rule[] | null} */
    this.list = null;
    /** How many alarms of each rule are open. @type {Record<string, number> | null} */
    this.open = null;
    this.more = false;
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(EVERY, () => this.load());
  }

  load() {
    return this.attempt(async () => {
      this.list = await listRules();
      if (may('alarms.read')) await this.count();
    });
  }

  async count() {
    const { alarms } = await graphql(OPEN, { first: COUNTED });
    /** @type {Record<string, number>} */
    const open = {};
    for (const { rule } of alarms.nodes) open[rule] = (open[rule] ?? 0) + 1;
    this.more = alarms.pageInfo.hasNextPage;
    this.open = open;
  }

  /** @param {Rule} rule */
  openOf(rule) {
    const count = this.open?.[rule.name] ?? 0;
    if (!count) return html`<span class="none">${this.open && !this.more ? number(0) : '–'}</span>`;
    return html`<a href=${`/app/alarms?state=open&rule=${encodeURIComponent(rule.name)}`}
      >${number(count)}${this.more ? '+' : ''}</a
    >`;
  }

  /** @param {Rule} rule */
  row(rule) {
    return html`<tr>
      <td>
        <div class="alarm-name">
          ${pill('severity', rule.severity)}<a href=${`/app/alarms/rules/${encodeURIComponent(rule.name)}`}
            >${rule.title}</a
          >
        </div>
        <div class="small faint mono">${rule.name}</div>
        <div class="small muted only-small">${conditionText(rule.condition)}</div>
      </td>
      <td class="wide">${conditionText(rule.condition)}</td>
      <td class="wide">${devicesText(rule.devices)}</td>
      <td class="end numeric">${this.openOf(rule)}</td>
      <td class="wide end numeric">${rule.mail.length || html`<span class="none">–</span>`}</td>
    </tr>`;
  }

  table() {
    if (!this.list) return this.problem ? nothing : waiting(5);
    if (this.list.length === 0)
      return empty(
        t('rules.none'),
        html`<p>${t('rules.none.next')}</p>
          ${this.create()}`,
      );
    return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
      <table>
        <thead>
          <tr>
            <th>${t('alarm.rule')}</th>
            <th class="wide">${t('rule.condition')}</th>
            <th class="wide">${t('nav.devices')}</th>
            <th class="end">${t('alarms.open')}</th>
            <th class="wide end">${t('rule.mails')}</th>
          </tr>
        </thead>
        <tbody>
          ${this.list.map((rule) => this.row(rule))}
        </tbody>
      </table>
    </div>`;
  }

  create() {
    return may('alarm_rules.write')
      ? html`<a class="button primary" href="/app/alarms/new-rule">${icon('plus')}${t('rules.new')}</a>`
      : nothing;
  }

  render() {
    return html`<div class="page-head">
        <div class="grow">
          <p class="small">
            ${may('alarms.read') ? html`<a href="/app/alarms">${t('nav.alarms')}</a>` : t('nav.alarms')}
          </p>
          <h1>${t('rules')}</h1>
          <p class="sub">${t('rules.sub')}</p>
        </div>
        ${this.list?.length ? this.create() : nothing}
      </div>
      ${shown(this.problem)}
      <section class="sheet" aria-label=${t('rules')}>${this.table()}</section>`;
  }
}
customElements.define('fl-alarm-rules', AlarmRules);
