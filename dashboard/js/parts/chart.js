// A chart of one metric over time, drawn by uPlot: the mean as a line within the band of smallest and largest, or single readings as
// they are. Where there is nothing, nothing is drawn: a gap is shaded, and no line leads over it.

import uPlot from '../../vendor/uplot/dist/uPlot.esm.js';
import { language, number, shortNumber, t } from '../i18n.js';
import { Part, html } from './part.js';

/**
 * What a chart shows. Times are in seconds; a hole has `null` in each series.
 * @typedef {object} Data
 * @property {number[]} at
 * @property {(number | null)[]} value
 * @property {(number | null)[]} [least]
 * @property {(number | null)[]} [most]
 * @property {(number | null)[]} [late]
 * @property {[number, number][]} gaps
 * @property {{ at: number[], value: (number | null)[] }} [other] What it is compared with, moved to the times of this chart.
 */

/**
 * What is marked on a chart: values that mean something, and times at which something was so.
 * @typedef {object} Marks
 * @property {{ value: number, tone: string }[]} [lines]
 * @property {{ from: number, to: number, tone: string }[]} [spans]
 */

const HEIGHT = 190;
/** How far a step moves: a quarter of what is seen. */
const STEP = 0.25;

const token = (/** @type {string} */ name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const clock = new Intl.DateTimeFormat(language, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const clockS = new Intl.DateTimeFormat(language, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
});
const day = new Intl.DateTimeFormat(language, { day: 'numeric', month: 'short' });

/** The texts along the axis of time: the day where it begins, else the time of day. @param {number[]} splits @param {number} step */
function times(splits, step) {
  return splits.map((at, index) => {
    const date = new Date(at * 1000);
    const before = splits[index - 1];
    const begins = before !== undefined && new Date(before * 1000).toDateString() !== date.toDateString();
    if (step >= 86_400) return day.format(date);
    const text = step < 60 ? clockS.format(date) : clock.format(date);
    return begins ? `${text}\n${day.format(date)}` : text;
  });
}

export class Chart extends Part {
  static properties = {
    metric: {},
    tone: { type: Number },
    data: { attribute: false },
    marks: { attribute: false },
    range: { attribute: false },
    at: { state: true },
  };

  constructor() {
    super();
    this.metric = '';
    this.tone = 1;
    /** @type {Data} */
    this.data = { at: [], value: [], gaps: [] };
    /** @type {Marks} */
    this.marks = {};
    /** What is seen, in seconds. @type {[number, number]} */
    this.range = [0, 1];
    /** @type {number | null} */
    this.at = null;
    /** @type {uPlot | null} */
    this.plot = null;
    this.shape = '';
    /** The columns that are drawn. @type {any} */
    this.table = [];
  }

  connectedCallback() {
    super.connectedCallback();
    this.sizing = new ResizeObserver(() => this.fit());
    const rebuild = () => this.build();
    document.addEventListener('theme', rebuild);
    const system = matchMedia('(prefers-color-scheme: dark)');
    system.addEventListener('change', rebuild);
    this.whenGone(() => {
      this.sizing?.disconnect();
      document.removeEventListener('theme', rebuild);
      system.removeEventListener('change', rebuild);
      this.plot?.destroy();
      this.plot = null;
    });
  }

  firstUpdated() {
    const place = this.querySelector('.plot');
    if (place) this.sizing?.observe(place);
  }

  fit() {
    const width = this.querySelector('.plot')?.clientWidth ?? 0;
    if (!width) return;
    if (!this.plot) this.build();
    else if (this.plot.width !== width) this.plot.setSize({ width, height: HEIGHT });
  }

  /**
   * The data as uPlot wants them: one more series where there are bands or late readings, and one to compare with, which has times
   * of its own.
   * @returns {any}
   */
  columns() {
    const { at, value, least, most, late, other } = this.data;
    const none = () => at.map(() => null);
    const own = [at, least ?? none(), most ?? none(), value, late ?? none()];
    return other?.at.length ? uPlot.join(/** @type {any} */ ([own, [other.at, other.value]])) : [...own, none()];
  }

  /** Before it renders: the value beside the name is one of those that are drawn. @param {Map<string, unknown>} changed */
  willUpdate(changed) {
    if (changed.has('data')) this.table = this.columns();
  }

  updated() {
    const shape = `${Boolean(this.data.least)} ${this.tone}`;
    if (shape !== this.shape) this.build();
    else if (this.plot) {
      this.plot.setData(this.table, false);
      this.plot.setScale('x', { min: this.range[0], max: this.range[1] });
    }
  }

  /** Asks for another range. @param {number} from @param {number} to */
  see(from, to) {
    this.dispatchEvent(new CustomEvent('range', { detail: { from, to }, bubbles: true }));
  }

  /** Moves and zooms by a share of what is seen. @param {number} move @param {number} zoom @param {number} around */
  step(move, zoom = 1, around = 0.5) {
    const [from, to] = this.range;
    const span = to - from;
    const first = from + span * move + span * (1 - zoom) * around;
    this.see(first, first + span * zoom);
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const moves = /** @type {Record<string, [number, number]>} */ ({
      ArrowLeft: [-STEP, 1],
      ArrowRight: [STEP, 1],
      '+': [0, 0.5],
      '=': [0, 0.5],
      '-': [0, 2],
      '−': [0, 2],
    });
    const found = moves[event.key];
    if (found) this.step(...found);
    else if (event.key === '0') this.dispatchEvent(new CustomEvent('range', { detail: null, bubbles: true }));
    else return;
    event.preventDefault();
  }

  /** A pinch zooms; sideways moves. A wheel alone scrolls the page. @param {WheelEvent} event */
  wheel(event) {
    const box = this.querySelector('.u-over')?.getBoundingClientRect();
    if (!box) return;
    if (event.ctrlKey || event.metaKey)
      this.step(0, event.deltaY > 0 ? 1.15 : 0.87, (event.clientX - box.left) / box.width);
    else if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) this.step(event.deltaX / box.width);
    else return;
    event.preventDefault();
  }

  build() {
    const place = /** @type {HTMLElement | null} */ (this.querySelector('.plot'));
    if (!place?.clientWidth) return;
    this.shape = `${Boolean(this.data.least)} ${this.tone}`;
    this.plot?.destroy();
    place.textContent = '';
    this.plot = new uPlot(/** @type {any} */ (this.options(place.clientWidth)), this.table, place);
    this.plot.setScale('x', { min: this.range[0], max: this.range[1] });
  }

  /** @param {number} width */
  options(width) {
    const colour = token(`--series-${this.tone}`);
    const font = `12px ${token('--sans')}`;
    const axis = {
      stroke: token('--muted'),
      grid: { stroke: token('--line'), width: 1 },
      ticks: { show: false },
      font,
    };
    const isRaw = !this.data.least;
    return {
      width,
      height: HEIGHT,
      padding: [10, 22, 0, 0],
      legend: { show: false },
      scales: {
        x: { time: true, auto: false },
        y: {
          range: (/** @type {uPlot} */ _, /** @type {number | null} */ least, /** @type {number | null} */ most) =>
            range(least, most, this.marks.lines ?? []),
        },
      },
      axes: [
        {
          ...axis,
          space: 84,
          size: 40,
          gap: 6,
          values: (
            /** @type {uPlot} */ _,
            /** @type {number[]} */ splits,
            /** @type {number} */ _axis,
            /** @type {number} */ _space,
            /** @type {number} */ step,
          ) => times(splits, step),
        },
        {
          ...axis,
          size: 58,
          gap: 8,
          space: 36,
          values: (/** @type {uPlot} */ _, /** @type {number[]} */ splits) => splits.map((value) => shortNumber(value)),
        },
      ],
      series: [
        {},
        { stroke: 'transparent', points: { show: false } },
        { stroke: 'transparent', points: { show: false } },
        {
          stroke: colour,
          width: 1.8,
          spanGaps: false,
          points: { show: isRaw ? undefined : false, size: 4, fill: colour },
        },
        {
          stroke: token('--warn'),
          width: 0,
          paths: () => null,
          points: { show: true, size: 9, stroke: token('--warn'), fill: token('--sheet'), width: 2 },
        },
        { stroke: token('--muted'), width: 1.4, dash: [5, 4], spanGaps: false, points: { show: false } },
      ],
      bands: [{ series: [2, 1], fill: `color-mix(in srgb, ${colour} 22%, transparent)` }],
      cursor: { sync: { key: 'device' }, drag: { x: true, y: false, setScale: false }, points: { size: 8 }, y: false },
      hooks: {
        drawClear: [(/** @type {uPlot} */ plot) => this.shade(plot)],
        draw: [(/** @type {uPlot} */ plot) => this.rule(plot)],
        setCursor: [(/** @type {uPlot} */ plot) => (this.at = plot.cursor.idx ?? null)],
        setSelect: [(/** @type {uPlot} */ plot) => this.select(plot)],
      },
    };
  }

  /** @param {uPlot} plot */
  select(plot) {
    const { left, width } = plot.select;
    if (width < 4) return;
    this.see(plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x'));
    plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
  }

  /** @param {uPlot} plot */
  shade(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.fillStyle = token('--sunken');
    for (const [from, to] of this.data.gaps) {
      const left = plot.valToPos(from, 'x', true);
      ctx.fillRect(left, bbox.top, plot.valToPos(to, 'x', true) - left, bbox.height);
    }
    for (const { from, to, tone } of this.marks.spans ?? []) {
      const left = plot.valToPos(from, 'x', true);
      const width = Math.max(plot.valToPos(to, 'x', true) - left, devicePixelRatio);
      ctx.fillStyle = `color-mix(in srgb, ${token(`--${tone}`)} 14%, transparent)`;
      ctx.fillRect(left, bbox.top, width, bbox.height);
      ctx.fillStyle = token(`--${tone}`);
      ctx.fillRect(left, bbox.top, devicePixelRatio, bbox.height);
    }
    ctx.restore();
  }

  /** Draws the values that mean something across the chart. @param {uPlot} plot */
  rule(plot) {
    const { ctx, bbox } = plot;
    ctx.save();
    ctx.setLineDash([6 * devicePixelRatio, 4 * devicePixelRatio]);
    ctx.lineWidth = 1.5 * devicePixelRatio;
    for (const { value, tone } of this.marks.lines ?? []) {
      const at = Math.round(plot.valToPos(value, 'y', true)) + 0.5;
      ctx.strokeStyle = token(`--${tone}`);
      ctx.beginPath();
      ctx.moveTo(bbox.left, at);
      ctx.lineTo(bbox.left + bbox.width, at);
      ctx.stroke();
    }
    ctx.restore();
  }

  value() {
    const [at = [], least = [], most = [], value = [], , other = []] = this.table;
    /** The last value up to the cursor: of what is compared, each series has times of its own. @param {(number | null | undefined)[]} series */
    const last = (series) =>
      this.at === null
        ? series.findLastIndex((one) => one !== null && one !== undefined)
        : this.data.other && series[this.at] === undefined
          ? series.slice(0, this.at).findLastIndex((one) => one !== undefined)
          : this.at;
    const [index, beside] = [last(value), last(other)];
    const [now, then] = [value[index], other[beside]];
    const compared =
      then === null || then === undefined ? '' : html`<span class="value other"><i></i>${number(then)}</span>`;
    if (now === null || now === undefined) return html`<span class="value none">–</span>${compared}`;
    const band = this.data.least
      ? html` <span class="muted">${number(least[index] ?? 0)} – ${number(most[index] ?? 0)}</span>`
      : '';
    return html`<span class="value"><strong>${number(now)}</strong>${band}</span>${compared}
      <span class="range-text">${this.at === null ? '' : clockS.format(new Date((at[this.at] ?? 0) * 1000))}</span>`;
  }

  render() {
    return html`<div
      class="chart"
      tabindex="0"
      role="group"
      aria-label=${t('chart.label', { metric: this.metric })}
      @keydown=${this.press}
      @wheel=${this.wheel}
      @dblclick=${() => this.dispatchEvent(new CustomEvent('range', { detail: null, bubbles: true }))}
    >
      <p class="chart-head">
        <span class="name"><span class="swatch s${this.tone}" aria-hidden="true"></span>${this.metric}</span
        >${this.value()}
      </p>
      <div class="plot"></div>
    </div>`;
  }
}
customElements.define('fl-chart', Chart);

/**
 * The range of values: a little more than what there is, and never a line without height.
 * @param {number | null} lowest
 * @param {number | null} highest
 * @param {{ value: number }[]} lines
 * @returns {[number, number]}
 */
function range(lowest, highest, lines) {
  const values = [lowest, highest, ...lines.map((line) => line.value)].filter((value) => value !== null);
  if (values.length === 0) return [0, 1];
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const room = (most - least) * 0.08 || Math.abs(most) * 0.05 || 1;
  const low = least - room;
  return [least >= 0 && low < 0 ? 0 : low, most + room];
}
