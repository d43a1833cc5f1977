// What every element of the page has in common.

import { LitElement, html, nothing } from '../../vendor/lit/index.js';
import { Problem } from '../api.js';
import * as connection from '../connection.js';
import { t } from '../i18n.js';

export { html, nothing };

/** An element within the page's own tree: its styles are the page's, and its labels reach everything. */
export class Part extends LitElement {
  /** @type {(() => void)[]} */
  #leaving = [];

  createRenderRoot() {
    return this;
  }

  /** Has something done when the element goes. @param {() => void} done */
  whenGone(done) {
    this.#leaving.push(done);
  }

  disconnectedCallback() {
    super.disconnectedCallback();
    for (const done of this.#leaving.splice(0)) done();
  }

  /** Has something done each time the service is there again: what was missed meanwhile is asked for. @param {() => unknown} work */
  whenBack(work) {
    this.whenGone(connection.watch(() => connection.state() === 'up' && work()));
  }

  /**
   * Does something now and every `ms` milliseconds while the page is seen, one at a time, until the element goes.
   * @param {number} ms
   * @param {() => Promise<unknown>} work
   */
  every(ms, work) {
    let timer = 0;
    let over = false;
    let working = false;
    const turn = async () => {
      if (working) return;
      clearTimeout(timer);
      working = true;
      if (!document.hidden) await work();
      working = false;
      if (!over) timer = window.setTimeout(turn, ms);
    };
    const seen = () => document.hidden || turn();
    document.addEventListener('visibilitychange', seen);
    this.whenGone(() => {
      over = true;
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', seen);
    });
    turn();
  }
}

/** An element that asks the service for what it shows, and keeps what went wrong. */
export class AskingPart extends Part {
  /** @type {Record<string, object>} */
  static properties = { problem: { state: true } };

  constructor() {
    super();
    /** @type {Problem | null} */
    this.problem = null;
  }

  /** Asks for something. Once that works, nothing is wrong any more. @param {() => Promise<unknown>} work */
  async attempt(work) {
    try {
      await work();
      this.problem = null;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }
}

/** Anything that was thrown, as a problem. @param {unknown} error @returns {Problem} */
export function asProblem(error) {
  if (error instanceof Problem) return error;
  console.error(error);
  return new Problem(-1, { detail: error instanceof Error ? error.message : `${error}`, code: 'page' });
}

/** What can be done about a problem. @param {Problem} problem */
function advice(problem) {
  if (problem.status === 0) return t('problem.unreachable.advice');
  if (problem.code === 'bad_credentials') return nothing;
  if (problem.status === 401) return t('problem.401.advice');
  if (problem.status === 403) return t('problem.403.advice');
  if (problem.status === 404) return t('problem.404.advice');
  if (problem.status === 409) return t('problem.409.advice');
  if (problem.status === 422) return problem.errors.length ? t('problem.422.advice') : nothing;
  if (problem.status === 429) return t('problem.429.advice');
  return t('problem.other.advice');
}

/**
 * A problem as people see it: the service's text, and what to do.
 * @param {Problem | null | undefined} problem
 * @param {string[]} [apart] The fields that show their own reasons.
 */
export function shown(problem, apart = []) {
  if (!problem) return nothing;
  const fields = problem.errors.filter((error) => error.reason !== problem.message && !apart.includes(error.field));
  const said = advice(problem);
  return html`<div class="problem" role="alert">
    <p><strong>${problem.status === 0 ? t('problem.unreachable') : sentence(problem.message)}</strong></p>
    ${
      fields.length
        ? html`<ul>
            ${fields.map((error) => html`<li>${error.field ? html`<code>${error.field}</code> ` : nothing}${error.reason}</li>`)}
          </ul>`
        : nothing
    }
    ${said === nothing ? nothing : html`<p>${said}</p>`}
    ${problem.requestId && problem.status >= 500 ? html`<p class="faint">${t('problem.id')} <code>${problem.requestId}</code></p>` : nothing}
  </div>`;
}

/** A fragment as a sentence. @param {string} text */
export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?…]$/.test(text) ? '' : '.');

/** A place that stays empty until its content is there. @param {number} lines */
export function waiting(lines = 3) {
  return html`<div class="waiting" role="status">
    <span class="visually-hidden">${t('loading')}</span
    >${Array.from({ length: lines }, () => html`<span class="bar"></span>`)}
  </div>`;
}

/**
 * A list without anything in it, with what to do next.
 * @param {unknown} title
 * @param {unknown} [next]
 */
export function empty(title, next = nothing) {
  return html`<div class="empty">
    <p class="empty-title">${title}</p>
    <div class="empty-next">${next}</div>
  </div>`;
}
