// One alarm: what it is about, its life step by step, and the readings around it.

import { get, graphql } from '../api.js';
import { ago, number, t, when } from '../i18n.js';
import { follow } from '../live.js';
import { LIFE, causeLog, life } from '../parts/alarm-life.js';
import { ALARM, acknowledge, because, clear, isOpen, lasted, mayAct, seen } from '../parts/alarms.js';
import '../parts/metric-chart.js';
import { Part, asProblem, html, nothing, shown, waiting } from '../parts/part.js';
import { people } from '../parts/people.js';
import { pill } from '../parts/pills.js';
import { conditionText } from '../parts/rule-text.js';
import { onRecord } from '../parts/timeline.js';
import { who } from '../parts/who.js';
import { go, query, withQuery } from '../router.js';
import { may } from '../session.js';

const ONE = `query ($id: ID!) { alarm(id: $id) { ${ALARM} ${LIFE} } }`;
const LIVE = `subscription ($uid: String, $after: String, $from: String) { alarmChanged(deviceUid: $uid, after: $after,
  from: $from) { at alarm { ${ALARM} ${LIFE} } } }`;
/** What the chart shows before and after an alarm: a share of how long it lasted, and at least as many seconds. */
const AROUND = { share: 0.5, least: 300 };

/** @typedef {import('../parts/alarm-life.js').AlarmWithLife} Alarm */
/** @typedef {import('../parts/rule-text.js').Rule} Rule */

const seconds = (/** @type {string} */ at) => Date.parse(at) / 1000;

class AlarmPage extends Part {
  static properties = {
    params: { attribute: false },
    alarm: { state: true },
    rule: { state: true },
    problem: { state: true },
    now: { state: true },
  };

  constructor() {
    super();
    /** @type {Record<string, string>} */
    this.params = {};
    /** @type {Alarm | null | undefined} */
    this.alarm = undefined;
    /** The rule as it is now; `null`: it is gone, or the viewer may not see it. @type {Rule | null} */
    this.rule = null;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    this.now = Date.now() / 1000;
  }

  async connectedCallback() {
    super.connectedCallback();
    this.addEventListener('query', () => this.requestUpdate());
    this.whenBack(() => this.load());
    people()
      .then(() => this.requestUpdate())
      .catch(() => {});
    await this.load();
    if (!this.isConnected || !this.alarm) return;
    if (may('streams.follow'))
      this.whenGone(
        follow(
          LIVE,
          { uid: this.alarm.deviceUid, from: 'now' },
          {
            next: ({ alarmChanged }) => alarmChanged.alarm?.id === this.alarm?.id && (this.alarm = alarmChanged.alarm),
          },
        ),
      );
    this.every(5000, async () => (this.now = Date.now() / 1000));
  }

  async load() {
    try {
      this.alarm = (await graphql(ONE, { id: this.params.id })).alarm;
      this.problem = null;
      if (this.alarm && may('alarm_rules.read')) await this.loadRule(this.alarm.rule);
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** @param {string} name */
  async loadRule(name) {
    try {
      this.rule = await get(`/alarm-rules/${encodeURIComponent(name)}`);
    } catch (error) {
      if (asProblem(error).status !== 404) throw error;
      this.rule = null;
    }
  }

  /** What the rule looked for when it raised the alarm, if it looks for the same today. */
  get condition() {
    return this.rule && this.rule.version === this.alarm?.ruleVersion ? this.rule.condition : null;
  }

  /** @param {Alarm} alarm @returns {[number, number]} */
  range(alarm) {
    const [from, to] = [Number(query('from')), Number(query('to'))];
    if (from && to > from) return [from, to];
    const begin = seconds(alarm.since);
    const end = alarm.clearedAt ? seconds(alarm.clearedAt) : this.now;
    const around = Math.max((end - begin) * AROUND.share, AROUND.least);
    return [begin - around, Math.min(end + around, this.now)];
  }

  /** @param {Alarm} alarm @returns {import('../parts/chart.js').Marks} */
  marks(alarm) {
    const end = alarm.clearedAt ? seconds(alarm.clearedAt) : this.now;
    const raised = seconds(alarm.raisedAt);
    const { condition } = this;
    const lines = condition?.kind === 'threshold' ? [{ value: condition.value ?? 0, tone: 'bad' }] : [];
    const clears = condition?.clear_value;
    if (clears !== null && clears !== undefined) lines.push({ value: clears, tone: 'good' });
    return {
      lines,
      spans: [
        { from: seconds(alarm.since), to: raised, tone: 'warn' },
        { from: raised, to: end, tone: 'bad' },
      ],
    };
  }

  /** @param {CustomEvent<{ from: number, to: number } | null>} event */
  zoom({ detail }) {
    const range = detail && { from: detail.from.toFixed(1), to: Math.min(detail.to, this.now + 60).toFixed(1) };
    go(withQuery(range ?? { from: null, to: null }), { replace: true });
  }

  /** @param {Alarm} alarm */
  chart(alarm) {
    if (!alarm.metric || !may('telemetry.read')) return nothing;
    const range = this.range(alarm);
    const there = `/app/devices/${encodeURIComponent(alarm.deviceUid)}?from=${range[0].toFixed(1)}&to=${range[1].toFixed(1)}&metrics=${encodeURIComponent(alarm.metric)}`;
    const legend = html`<span><i class="span warn"></i>${t('alarm.chart.began')}</span>
      <span><i class="span bad"></i>${t('alarm.chart.raised')}</span>
      ${this.marks(alarm).lines?.length ? html`<span><i class="line bad"></i>${t('alarm.chart.limit')}</span>` : nothing}`;
    return html`<section class="sheet" aria-labelledby="chart">
      <div class="sheet-head">
        <h2 id="chart" class="grow">${t('alarm.chart')}</h2>
        ${query('from') ? html`<a class="small" href=${withQuery({ from: null, to: null })}>${t('alarm.chart.back')}</a>` : nothing}
        <a class="small" href=${there}>${t('alarm.chart.device')}</a>
      </div>
      <div class="sheet-body" @range=${this.zoom}>
        <fl-metric-chart
          .uid=${alarm.deviceUid}
          .metric=${alarm.metric}
          .range=${range}
          .marks=${this.marks(alarm)}
          .legend=${legend}
        ></fl-metric-chart>
      </div>
    </section>`;
  }

  /** @param {Alarm} alarm */
  ruleFact(alarm) {
    const name = this.rule
      ? html`<a href=${`/app/alarms/rules/${encodeURIComponent(alarm.rule)}`}>${alarm.rule}</a>`
      : alarm.rule;
    const version =
      this.rule && this.rule.version !== alarm.ruleVersion
        ? t('alarm.rule.changed', { then: alarm.ruleVersion, now: this.rule.version })
        : t('alarm.rule.version', { version: alarm.ruleVersion });
    return html`<dt>${t('alarm.rule')}</dt>
      <dd>
        ${name} <span class="muted">${version}</span>
        ${this.condition ? html`<div class="muted">${conditionText(this.condition)}</div>` : nothing}
        <div class="small">
          <a href=${`/app/alarms?rule=${encodeURIComponent(alarm.rule)}`}>${t('alarm.rule.alarms')}</a>
        </div>
      </dd>`;
  }

  /** @param {Alarm} alarm */
  facts(alarm) {
    return html`<section class="sheet" aria-labelledby="facts">
      <div class="sheet-head"><h2 id="facts">${t('details')}</h2></div>
      <dl class="facts sheet-body">
        <dt>${t('device')}</dt>
        <dd>
          <a href=${`/app/devices/${encodeURIComponent(alarm.deviceUid)}`}>${alarm.deviceUid}</a>
          <div class="small">
            <a href=${`/app/devices/${encodeURIComponent(alarm.deviceUid)}?tab=alarms`}>${t('alarm.device.alarms')}</a>
          </div>
        </dd>
        ${
          alarm.cmd
            ? html`<dt>${t('command')}</dt>
                <dd>
                  <a
                    href=${`/app/commands?device=${encodeURIComponent(alarm.deviceUid)}&cmd=${encodeURIComponent(alarm.cmd)}`}
                    >${alarm.cmd}</a
                  >
                </dd>`
            : nothing
        }
        ${
          alarm.metric
            ? html`<dt>${t('alarm.metric')}</dt>
                <dd>
                  ${seen(alarm)}${alarm.clearValue === null ? nothing : html` <span class="muted">${t('alarm.cleared_at', { value: number(alarm.clearValue) })}</span>`}
                </dd>`
            : nothing
        }
        ${this.ruleFact(alarm)}
        <dt>${t('alarm.since')}</dt>
        <dd>${when(alarm.since)}</dd>
        <dt>${t('alarm.at.raised')}</dt>
        <dd>${when(alarm.raisedAt)}</dd>
        ${
          alarm.acknowledgedAt
            ? html`<dt>${t('alarm.at.acknowledged')}</dt>
                <dd>${when(alarm.acknowledgedAt)} <span class="muted">${who(alarm.acknowledgedBy ?? '')}</span></dd>`
            : nothing
        }
        ${
          alarm.clearedAt
            ? html`<dt>${t('alarm.at.cleared')}</dt>
                <dd>${when(alarm.clearedAt)} <span class="muted">${because(alarm.clearedBecause)}</span></dd>`
            : nothing
        }
        <dt>${t('alarm.lasted')}</dt>
        <dd class="numeric">${lasted(alarm)}</dd>
        <dt>${t('alarm.cause')}</dt>
        <dd>${onRecord(causeLog(alarm), Number(alarm.cause.split(':')[1]))}</dd>
        <dt>${t('command.id')}</dt>
        <dd class="mono small">${alarm.id}</dd>
      </dl>
    </section>`;
  }

  /** @param {Alarm} alarm */
  actions(alarm) {
    if (!mayAct() || !isOpen(alarm)) return nothing;
    const again = () => this.load();
    return html`${alarm.status === 'RAISED' ? html`<button class="primary" @click=${() => acknowledge(alarm, again)}>${t('alarm.ack')}</button>` : nothing}
      <button class="danger" @click=${() => clear(alarm, again)}>${t('alarm.clear.open')}</button>`;
  }

  render() {
    const { alarm } = this;
    if (alarm === undefined)
      return html`<div class="page-head"><h1>${t('alarm')}</h1></div>
        ${this.problem ? shown(this.problem) : waiting(6)}`;
    if (alarm === null)
      return html`<div class="sheet narrow">
        <h1>${t('alarm.missing')}</h1>
        <p><a href="/app/alarms">${t('alarms.all')}</a></p>
      </div>`;
    return html`<div class="page-head">
        <div class="grow">
          <p class="small"><a href="/app/alarms">${t('nav.alarms')}</a></p>
          <h1>${alarm.title}</h1>
          <p class="sub">
            <a href=${`/app/devices/${encodeURIComponent(alarm.deviceUid)}`}>${alarm.deviceUid}</a> · ${seen(alarm)} ·
            ${ago(alarm.raisedAt)}
          </p>
        </div>
        <div class="actions">
          ${pill('severity', alarm.severity)}${pill('alarm', alarm.status)}${this.actions(alarm)}
        </div>
      </div>
      ${shown(this.problem)}${this.chart(alarm)}
      <div class="grid two">
        <section class="sheet" aria-labelledby="life">
          <div class="sheet-head"><h2 id="life">${t('life')}</h2></div>
          <div class="sheet-body">${life(alarm, this.condition)}</div>
        </section>
        ${this.facts(alarm)}
      </div>`;
  }
}
customElements.define('fl-alarm', AlarmPage);
