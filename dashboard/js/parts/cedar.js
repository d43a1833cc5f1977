// Policies as people read them: Cedar with its words in colour, what a policy does at all, and what changed between two of them.

import { html } from './part.js';

const WORDS =
  /(\/\/[^\n]*)|("(?:[^"\\]|\\.)*")|\b(permit|forbid|when|unless)\b|\b(principal|action|resource|context)\b|\b(in|is|has|like|if|then|else|true|false)\b/g;
const CLASSES = ['comment', 'text', 'effect', 'subject', 'word'];

/** A policy's source with its words in colour. @param {string} source */
function coloured(source) {
  const parts = [];
  let last = 0;
  for (const found of source.matchAll(WORDS)) {
    parts.push(source.slice(last, found.index));
    const kind = CLASSES[found.slice(1).findIndex((group) => group !== undefined)];
    parts.push(html`<span class=${`cedar-${kind}`}>${found[0]}</span>`);
    last = found.index + found[0].length;
  }
  return [...parts, source.slice(last)];
}

/** @param {string} source */
export const cedar = (source) => html`<pre class="cedar" tabindex="0">${coloured(source)}</pre>`;

/** Whether a policy permits or forbids. @param {string} source @returns {'permit' | 'forbid'} */
export const effectOf = (source) =>
  /\b(permit|forbid)\b/.exec(source.replace(/\/\/[^\n]*/g, '').replace(/"(?:[^"\\]|\\.)*"/g, ''))?.[1] === 'permit'
    ? 'permit'
    : 'forbid';

/**
 * The lines of two texts by their longest common run of lines: `-` was, `+` is, and a blank stays.
 * @param {string} before
 * @param {string} after
 * @returns {{ sign: '-' | '+' | ' ', line: string }[]}
 */
export function difference(before, after) {
  const [one, other] = [before.split('\n'), after.split('\n')];
  const longest = Array.from({ length: one.length + 1 }, () => new Array(other.length + 1).fill(0));
  const at = (/** @type {number} */ i, /** @type {number} */ j) => longest[i]?.[j] ?? 0;
  for (let i = one.length - 1; i >= 0; i -= 1)
    for (let j = other.length - 1; j >= 0; j -= 1) {
      const row = longest[i];
      if (row) row[j] = one[i] === other[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  /** @type {{ sign: '-' | '+' | ' ', line: string }[]} */
  const lines = [];
  let [i, j] = [0, 0];
  while (i < one.length || j < other.length) {
    if (i < one.length && one[i] === other[j]) {
      lines.push({ sign: ' ', line: one[i] ?? '' });
      i += 1;
      j += 1;
    } else if (j >= other.length || (i < one.length && at(i + 1, j) >= at(i, j + 1))) {
      lines.push({ sign: '-', line: one[i] ?? '' });
      i += 1;
    } else {
      lines.push({ sign: '+', line: other[j] ?? '' });
      j += 1;
    }
  }
  return lines;
}

const SIGNS = /** @type {const} */ ({ '-': 'gone', '+': 'new', ' ': 'same' });

/** What changed from one policy to the next. @param {string} before @param {string} after */
export const changes = (before, after) =>
  html`<pre class="cedar" tabindex="0">
${difference(before, after).map(({ sign, line }) => html`<span class=${`line ${SIGNS[sign]}`}>${sign} ${coloured(line)}${'\n'}</span>`)}</pre>`;
