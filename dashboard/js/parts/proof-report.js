// What a check found, step by step, in plain words: what was computed, what fits, and what that proves.

import { Problem } from '../api.js';
import { moment, t, word } from '../i18n.js';
import { hex } from '../proof/bytes.js';
import { malformed } from '../proof/check.js';
import { icon } from './icons.js';
import { html, nothing } from './part.js';

/** @typedef {import('../proof/check.js').Report} Report */
/** @typedef {import('../proof/check.js').Step} Step */

const ICONS = /** @type {const} */ ({ good: 'check', bad: 'close', unknown: 'clock' });
const TONES = { good: 'good', bad: 'bad', unknown: 'warn' };

/** Does work of the proof module: what was given in a wrong form is a problem in words. @template T @param {() => Promise<T>} work @returns {Promise<T>} */
export async function checked(work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Problem) throw error;
    const { code, values } = malformed(error);
    throw new Problem(422, { code, detail: word('proof.malformed', code, values) });
  }
}

/** The answer in one line. @param {'good' | 'bad' | 'unknown'} state @param {string} title @param {unknown} [below] */
export function verdict(state, title, below = nothing) {
  return html`<div class="proof-verdict ${TONES[state]}" role="status">
    <span class="seal" aria-hidden="true">${icon(ICONS[state])}</span>
    <div>
      <p class="verdict-title">${title}</p>
      ${below}
    </div>
  </div>`;
}

/** Why something is not proved: the first reason of each step that is not good. @param {Step[]} steps */
export function reasons(steps) {
  const wrong = steps.filter(({ state }) => state !== 'good');
  return wrong.length === 1 && wrong[0]
    ? html`<p>${word('proof.why', wrong[0].reason ?? '', wrong[0].values)}</p>`
    : html`<ul class="reasons">
        ${wrong.map((step) => html`<li>${word('proof.why', step.reason ?? '', step.values)}</li>`)}
      </ul>`;
}

/** @param {Report} report */
function pathOf({ computed }) {
  if (!computed) return nothing;
  const row = (/** @type {string} */ what, /** @type {string} */ hash) =>
    html`<tr>
      <td>${what}</td>
      <td><code class="wrap">${hash}</code></td>
    </tr>`;
  return html`<details>
    <summary>${t('proof.path.show')}</summary>
    <div class="table-wrap" tabindex="0" role="group" aria-label=${t('proof.path.show')}>
      <table class="compact hashes">
        <tbody>
          ${row(t('proof.leaf'), hex(computed.leaf))}
          ${computed.path.map(
            ({ side, hash, node }) =>
              html`${row(word('proof.side', side), hex(hash))}${row(t('proof.node'), hex(node))}`,
          )}
        </tbody>
      </table>
    </div>
  </details>`;
}

/** @param {Report} report */
function witnessesOf({ signed }) {
  if (!signed) return nothing;
  if (signed.witnesses.length === 0) return html`<p class="small muted">${t('proof.witnesses.none')}</p>`;
  return html`<ul class="witness-lines">
    ${signed.witnesses.map(
      ({ name, id, at, state }) =>
        html`<li class="small">
          <span class="pill ${state === 'right' ? 'good' : state === 'wrong' ? 'bad' : 'calm'}"
            >${word('proof.cosigned', state)}</span
          >
          <span>${t('proof.cosigned', { name, id, at: moment(new Date(at * 1000)) })}</span>
        </li>`,
    )}
  </ul>`;
}

/** Every step. @param {Report} report */
export function steps(report) {
  return html`<ol class="timeline proof-steps">
    ${report.steps.map((step) => {
      const { state, values } = step;
      return html`<li class=${TONES[state]}>
        <span class="node" aria-hidden="true"></span>
        <div>
          <p class="what">
            ${word('proof.step', step.step)}
            <span class="pill ${TONES[state]}">${word('proof.state', state)}</span>
          </p>
          <p class="muted">
            ${state === 'good' ? word('proof.says', step.step, values) : word('proof.why', step.reason ?? '', values)}
          </p>
          ${
            step.step === 'root'
              ? html`<p class="small">
                    <span class="muted">${t('proof.root.computed')}</span> <code class="wrap">${values.computed}</code>
                  </p>
                  <p class="small">
                    <span class="muted">${t('proof.root.signed')}</span> <code class="wrap">${values.signed}</code>
                  </p>`
              : nothing
          }
          ${step.step === 'path' ? pathOf(report) : nothing}
          ${step.step === 'signature' ? witnessesOf(report) : nothing}
        </div>
      </li>`;
    })}
  </ol>`;
}

/** What a good report proves, and what it does not. @param {{ of: 'event' | 'growth' }} what */
export function means({ of }) {
  return html`<div class="means">
    <div>
      <h3>${icon('check')}${t('proof.proves')}</h3>
      <ul>
        ${
          of === 'event'
            ? html`<li>${t('proof.proves.bytes')}</li>
                <li>${t('proof.proves.place')}</li>`
            : html`<li>${t('proof.proves.growth')}</li>`
        }
        <li>${t('proof.proves.later')}</li>
      </ul>
    </div>
    <div>
      <h3>${icon('close')}${t('proof.proves.not')}</h3>
      <ul>
        <li>${t('proof.not.true')}</li>
        <li>${t('proof.not.key')}</li>
        <li>${t('proof.not.same')}</li>
        <li>${t('proof.not.page')}</li>
      </ul>
    </div>
  </div>`;
}
