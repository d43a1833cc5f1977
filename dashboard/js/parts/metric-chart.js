// The chart of one metric of one device over one range, with what is marked on it: single readings where they are few, else windows.

import { t } from '../i18n.js';
import './chart.js';
import { Part, asProblem, html, nothing, shown, waiting } from './part.js';
import { fromReadings, fromWindows, rawReadings, stepFor, windows } from './series.js';

/** How often a range that has not ended is asked for again, in milliseconds. */
const EVERY = 5000;

class MetricChart extends Part {
  static properties = {
    uid: {},
    metric: {},
    range: { attribute: false },
    marks: { attribute: false },
    legend: { attribute: false },
    data: { state: true },
    problem: { state: true },
  };

  constructor() {
    super();
    this.uid = '';
    this.metric = '';
    /** In seconds. @type {[number, number]} */
    this.range = [0, 1];
    /** @type {import('./chart.js').Marks} */
    this.marks = {};
    /** What the marks mean. @type {unknown} */
    this.legend = nothing;
    /** @type {import('./chart.js').Data | null} */
    this.data = null;
    this.isRaw = true;
    /** The range that the data are of. @type {[number, number]} */
    this.shownRange = this.range;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    this.asked = 0;
  }

  connectedCallback() {
    super.connectedCallback();
    this.whenBack(() => this.load());
    this.every(EVERY, async () => this.range[1] > Date.now() / 1000 - 60 && this.data && this.load());
  }

  /** @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has('uid') || changed.has('metric')) this.data = null;
    const before = /** @type {[number, number] | undefined} */ (changed.get('range'));
    const isOther = changed.has('range') && `${before}` !== `${this.range}`;
    if (isOther || changed.has('uid') || changed.has('metric')) this.load();
  }

  async load() {
    const asked = (this.asked += 1);
    const { uid, metric, range } = this;
    try {
      const raw = await rawReadings(uid, range);
      const found = raw ? null : await windows(uid, range, [metric]);
      if (asked !== this.asked) return;
      this.data = raw ? fromReadings(raw, metric, range) : fromWindows(found?.[metric] ?? [], range);
      this.isRaw = raw !== null;
      this.shownRange = range;
      this.problem = null;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  render() {
    if (!this.data) return this.problem ? shown(this.problem) : waiting(4);
    const [, step] = stepFor(this.shownRange[1] - this.shownRange[0]);
    return html`${shown(this.problem)}<fl-chart
        .metric=${this.metric}
        .range=${this.shownRange}
        .data=${this.data}
        .marks=${this.marks}
      ></fl-chart>
      <div class="legend">
        <span>${this.isRaw ? t('charts.raw') : t('charts.windows', { step })}</span>${this.legend}
        <span><i class="gap"></i>${t('charts.gap')}</span><span class="wide">${t('charts.how')}</span>
      </div>`;
  }
}
customElements.define('fl-metric-chart', MetricChart);
