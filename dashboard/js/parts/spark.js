// A line that shows how a number went, without axes.

import { html, nothing } from './part.js';
import { svg } from '../../vendor/lit/index.js';

const [WIDTH, HEIGHT] = [100, 30];

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
