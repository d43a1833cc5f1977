// The console's answers: data in colours, errors with all that stands in them, a subscription's messages as they come.

import { exactly, t } from '../i18n.js';
import { empty, html, nothing } from './part.js';
import { coloured } from './graphql-editor.js';

/** @typedef {import('../live.js').GraphqlError} GraphqlError */
/** @typedef {{ at: Date, data: unknown }} Message */
/**
 * @typedef {object} Answer
 * @property {number} status
 * @property {unknown} data
 * @property {GraphqlError[]} errors
 * @property {Record<string, unknown>} [extensions]
 * @property {number} ms
 * @property {number} bytes
 * @property {{ left: number, seconds: number, quota: number | null } | null} limit
 */

/** What the headers say of the caller's limit: how many requests are left, and until when. @param {Headers} headers */
export function limitOf(headers) {
  const [, left, seconds] = /r=(\d+).*?t=(\d+)/.exec(headers.get('ratelimit') ?? '') ?? [];
  if (left === undefined) return null;
  const quota = /q=(\d+)/.exec(headers.get('ratelimit-policy') ?? '')?.[1];
  return { left: Number(left), seconds: Number(seconds), quota: quota ? Number(quota) : null };
}

/** @param {unknown} value */
const json = (value) =>
  html`<pre class="json answer" tabindex="0">${coloured(JSON.stringify(value, null, 2) ?? '')}</pre>`;

/** @param {GraphqlError[]} errors @param {(line: number, column: number) => void} goTo */
function problems(errors, goTo) {
  return html`<ul class="errors">
    ${errors.map(
      ({ message, locations = [], path, extensions }) =>
        html`<li class="problem" role="alert">
          <p><strong>${message}</strong></p>
          ${path?.length ? html`<p class="small"><span class="muted">${t('console.path')}</span> <code>${path.join('.')}</code></p>` : nothing}
          ${locations.map(
            ({ line, column }) =>
              html`<p class="small">
                <button class="link" @click=${() => goTo(line, column)}>${t('console.place', { line, column })}</button>
              </p>`,
          )}
          ${extensions ? html`<pre class="json">${coloured(JSON.stringify(extensions, null, 2))}</pre>` : nothing}
        </li>`,
    )}
  </ul>`;
}

/** @param {Answer} answer @param {(line: number, column: number) => void} goTo */
export function answerSheet({ status, data, errors, extensions, ms, bytes, limit }, goTo) {
  return html`<p class="meta small muted" role="status">
      <span class="pill ${errors.length ? 'bad' : 'good'}"
        >${errors.length ? t('console.errors', { n: errors.length }) : status}</span
      >
      <span>${t('console.took', { ms: Math.round(ms) })}</span>
      <span>${t('console.bytes', { bytes })}</span>
      ${
        limit
          ? html`<span
              >${limit.quota === null ? t('console.limit', { left: limit.left, seconds: limit.seconds }) : t('console.limit.of', { left: limit.left, quota: limit.quota, seconds: limit.seconds })}</span
            >`
          : nothing
      }
    </p>
    ${errors.length ? problems(errors, goTo) : nothing} ${data === undefined || data === null ? nothing : json(data)}
    ${
      extensions
        ? html`<h3>${t('console.extensions')}</h3>
            ${json(extensions)}`
        : nothing
    }`;
}

/**
 * @param {{ messages: Message[], count: number, state: 'follows' | 'over', errors: GraphqlError[] }} followed
 * @param {(line: number, column: number) => void} goTo
 */
export function followedSheet({ messages, count, state, errors }, goTo) {
  return html`<p class="meta small muted" role="status">
      <span class="pill ${state === 'follows' ? 'good' : 'calm'}"
        ><span class="dot"></span>${t(state === 'follows' ? 'console.follows' : 'console.over')}</span
      >
      <span>${t('console.messages', { n: count })}</span>
      ${count > messages.length ? html`<span>${t('console.messages.kept', { n: messages.length })}</span>` : nothing}
    </p>
    ${errors.length ? problems(errors, goTo) : nothing}
    ${messages.length === 0 && state === 'follows' ? empty(t('console.follows.none'), t('console.follows.none.next')) : nothing}
    <ol class="messages">
      ${messages.map(({ at, data }) => html`<li><time class="small muted" datetime=${at.toISOString()}>${exactly(at)}</time>${json(data)}</li>`)}
    </ol>`;
}

/** Before anything was asked. */
export const beforeAnswer = () =>
  empty(
    t('console.empty'),
    html`<p>${t('console.empty.next')}</p>
      <p class="keys">
        <kbd>Ctrl</kbd> <kbd>Enter</kbd> ${t('console.run')} · <kbd>Ctrl</kbd>
        <kbd>Space</kbd> ${t('console.proposals')}
      </p>`,
  );
