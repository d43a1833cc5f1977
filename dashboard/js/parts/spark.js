// Lines that show how a number went, without axes.

import { number, t } from '../i18n.js';
import { html, nothing } from './part.js';
import { svg } from '../../vendor/lit/index.js';

const [WIDTH, HEIGHT] = [100, 30];
/** The least share of a value that a trend's whole height stands for. */
const STILL = 0.05;

/** @param {number[]} values */
export function spark(values) {
  if (values.length < 2) return html`<svg class="spark" aria-hidden="true"></svg>`;
  const most = Math.max(...values, 1);
  const x = (/** @type {number} */ at) => ((at * WIDTH) / (values.length - 1)).toFixed(2);
  const y = (/** @type {number} */ value) => (HEIGHT - 1 - (value / most) * (HEIGHT - 3)).toFixed(2);
  const line = values.map((value, at) => `${at ? 'L' : 'M'}${x(at)} ${y(value)}`).join('');
  return html`<svg class="spark" viewBox="0 0 ${WIDTH} ${HEIGHT}" preserveAspectRatio="none" aria-hidden="true">
    ${svg`<path class="under" d=${`${line}L${WIDTH} ${HEIGHT}L0 ${HEIGHT}Z`}></path><path d=${line}></path>`}${nothing}
  </svg>`;
}

/**
 * The means of windows, from its own smallest to its largest. A window without readings is a gap, and no line leads over it.
 * @param {string} metric
 * @param {(number | null)[] | undefined} values `undefined`: they are not known yet.
 */
export function trend(metric, values) {
  const known = values?.filter((value) => value !== null) ?? [];
  if (!values || known.length === 0) return values ? html`<span class="none">–</span>` : nothing;
  const [least, most] = [Math.min(...known), Math.max(...known)];
  const middle = (least + most) / 2;
  // What hardly moves is a calm line: a tremble does not fill the height.
  const span = Math.max(most - least, Math.abs(middle) * STILL) || 1;
  const x = (/** @type {number} */ at) => ((at * WIDTH) / (values.length - 1)).toFixed(1);
  const y = (/** @type {number} */ value) => (HEIGHT / 2 - ((value - middle) / span) * (HEIGHT - 4)).toFixed(1);
  const points = values.map((value, at) => {
    if (value === null) return '';
    const [before, after] = [values[at - 1] ?? null, values[at + 1] ?? null];
    // A window between two gaps has no line: it is a dot.
    const dot = before === null && after === null ? 'h1.5' : '';
    return `${before === null ? 'M' : 'L'}${x(at)} ${y(value)}${dot}`;
  });
  const label = t('trend.label', { metric, least: number(least), most: number(most) });
  return html`<svg
    class="spark trend"
    viewBox="0 0 ${WIDTH} ${HEIGHT}"
    preserveAspectRatio="none"
    role="img"
    aria-label=${label}
  >
    ${svg`<title>${label}</title><path d=${points.join('')}></path>`}
  </svg>`;
}
