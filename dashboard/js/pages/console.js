// The GraphQL console: asks the service whatever its schema allows, with completion, history and live subscriptions. It needs nothing
// but the service.

import { Problem, asked, graphql } from '../api.js';
import { t } from '../i18n.js';
import { follow } from '../live.js';
import { INTROSPECTION, Schema } from '../graphql/schema.js';
import { alone, laidOut, operations } from '../graphql/tokens.js';
import { answerSheet, beforeAnswer, followedSheet, limitOf } from '../parts/console-answer.js';
import { historyList, note } from '../parts/console-history.js';
import { say } from '../parts/dialog.js';
import '../parts/graphql-editor.js';
import { icon } from '../parts/icons.js';
import { Part, asProblem, html, nothing, shown, waiting } from '../parts/part.js';
import '../parts/schema-browser.js';
import { query, withQuery } from '../router.js';
import { keep, kept } from '../settings.js';

const FIRST = `# ${t('console.first')}
query Fleet {
  devices(first: 5) {
    totalCount
    nodes {
      uid
      status
      lastReading {
        ts
        payload
      }
    }
  }
}
`;
/** How many messages of a subscription are kept. */
const MOST = 100;
const SIDES = /** @type {const} */ (['answer', 'schema', 'history']);

/** @typedef {import('../parts/console-answer.js').Answer} Answer */
/** @typedef {import('../parts/console-answer.js').Message} Message */
/** @typedef {import('../graphql/tokens.js').Operation} Operation */
/** @typedef {HTMLElement & { caret: number, value: string, goTo: (line: number, column: number) => void }} EditorElement */

class Console extends Part {
  static properties = {
    text: { state: true },
    variables: { state: true },
    schema: { state: true },
    answer: { state: true },
    followed: { state: true },
    problem: { state: true },
    busy: { state: true },
  };

  constructor() {
    super();
    this.text = query('query') ?? kept('console.query') ?? FIRST;
    this.variables = query('variables') ?? kept('console.variables') ?? '';
    /** @type {Schema | null} */
    this.schema = null;
    /** @type {Answer | null} */
    this.answer = null;
    /** @type {{ messages: Message[], count: number, state: 'follows' | 'over', errors: import('../live.js').GraphqlError[] } | null} */
    this.followed = null;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    this.busy = false;
    /** @type {AbortController | null} */
    this.abort = null;
    /** @type {(() => void) | null} */
    this.leave = null;
  }

  get side() {
    return SIDES.find((one) => one === query('side')) ?? 'answer';
  }

  get editor() {
    return /** @type {EditorElement} */ (this.querySelector('#question'));
  }

  connectedCallback() {
    super.connectedCallback();
    this.addEventListener('query', () => this.requestUpdate());
    this.whenGone(() => this.stop());
    this.load();
  }

  async load() {
    try {
      this.schema = new Schema(await graphql(INTROSPECTION));
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** What stands in the editors is there again after the page was left. @param {'text' | 'variables'} name @param {string} text */
  written(name, text) {
    this[name] = text;
    keep(name === 'text' ? 'console.query' : 'console.variables', text);
  }

  /** The operation to ask: the only one, or the one that the caret is in. @returns {Operation | null} */
  operation() {
    const all = operations(this.text);
    const at = this.editor?.caret ?? 0;
    return all.find(({ start, end }) => start <= at && at <= end) ?? all[0] ?? null;
  }

  /** The variables as an object. */
  values() {
    if (!this.variables.trim()) return {};
    try {
      const values = JSON.parse(this.variables);
      if (values && typeof values === 'object' && !Array.isArray(values)) return values;
    } catch {
      // Said below.
    }
    throw new Problem(422, { detail: t('console.variables.bad'), code: 'page' });
  }

  async run() {
    this.stop();
    [this.problem, this.answer, this.followed] = [null, null, null];
    if (this.side !== 'answer') history.replaceState(null, '', withQuery({ side: null }));
    try {
      const values = this.values();
      const operation = this.operation();
      note(this.text, this.variables);
      if (operation?.type === 'subscription') this.begin(operation, values);
      else await this.ask(operation, values);
    } catch (error) {
      if (!(error instanceof DOMException && error.name === 'AbortError')) this.problem = asProblem(error);
    }
    this.busy = false;
  }

  /** @param {Operation | null} operation @param {Record<string, unknown>} variables */
  async ask(operation, variables) {
    this.busy = true;
    this.abort = new AbortController();
    const begun = performance.now();
    const named = operation?.name && operations(this.text).length > 1 ? { operationName: operation.name } : {};
    const body = { query: this.text, variables, ...named };
    const answered = await asked('POST', '/graphql', { body, signal: this.abort.signal });
    const text = await answered.text();
    const json = JSON.parse(text || '{}');
    // A refusal before GraphQL is a problem document.
    if (!answered.ok && !json.errors) throw new Problem(answered.status, json);
    this.answer = {
      status: answered.status,
      data: json.data,
      errors: json.errors ?? [],
      extensions: json.extensions,
      ms: performance.now() - begun,
      bytes: new TextEncoder().encode(text).length,
      limit: limitOf(answered.headers),
    };
  }

  /** @param {Operation} operation @param {Record<string, unknown>} variables */
  begin(operation, variables) {
    this.followed = { messages: [], count: 0, state: 'follows', errors: [] };
    const over = (/** @type {import('../live.js').GraphqlError[]} */ errors) => {
      if (this.followed) this.followed = { ...this.followed, state: 'over', errors };
      this.leave = null;
    };
    this.leave = follow(alone(this.text, operation), variables, {
      next: (data) => {
        if (!this.followed) return;
        const messages = [{ at: new Date(), data }, ...this.followed.messages].slice(0, MOST);
        this.followed = { ...this.followed, messages, count: this.followed.count + 1 };
      },
      fail: (_, errors) => over(errors),
      over: () => over([]),
    });
  }

  stop() {
    this.abort?.abort();
    this.leave?.();
    this.leave = null;
    if (this.followed) this.followed = { ...this.followed, state: 'over' };
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    if (event.key !== 'Enter' || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault();
    this.run();
  }

  layOut() {
    this.written('text', laidOut(this.text));
  }

  async share() {
    const address = `${location.origin}/app/console?${new URLSearchParams({ query: this.text, ...(this.variables.trim() ? { variables: this.variables } : {}) })}`;
    await navigator.clipboard?.writeText(address);
    say(t('copied'));
  }

  asking() {
    const follows = this.followed?.state === 'follows';
    return html`<section class="sheet asking" aria-label=${t('console.question')} @keydown=${this.press}>
      <div class="sheet-head">
        ${
          this.busy || follows
            ? html`<button @click=${this.stop}>${icon('close')}${t('console.stop')}</button>`
            : html`<button class="primary" title="Ctrl+Enter" @click=${this.run}>
                ${icon('play')}${t('console.run')}
              </button>`
        }
        <span class="grow"></span>
        <button class="plain" @click=${this.layOut}>${t('console.layout')}</button>
        <button class="plain square" title=${t('console.share')} aria-label=${t('console.share')} @click=${this.share}>
          ${icon('link')}
        </button>
      </div>
      <fl-editor
        id="question"
        .value=${this.text}
        .label=${t('console.question')}
        .schema=${this.schema}
        .rows=${18}
        @written=${(/** @type {CustomEvent} */ event) => this.written('text', event.detail)}
      ></fl-editor>
      <details class="variables" ?open=${Boolean(this.variables.trim())}>
        <summary>${t('console.variables')}</summary>
        <fl-editor
          id="variables"
          .value=${this.variables}
          .label=${t('console.variables')}
          .rows=${5}
          @written=${(/** @type {CustomEvent} */ event) => this.written('variables', event.detail)}
        ></fl-editor>
      </details>
    </section>`;
  }

  sideBody() {
    if (this.side === 'schema')
      return this.schema ? html`<fl-schema .schema=${this.schema} .type=${query('type')}></fl-schema>` : waiting(6);
    if (this.side === 'history')
      return historyList(
        ({ query: text, variables }) => {
          this.written('text', text);
          this.written('variables', variables);
        },
        () => this.requestUpdate(),
      );
    const goTo = (/** @type {number} */ line, /** @type {number} */ column) => this.editor.goTo(line, column);
    if (this.busy) return waiting(5);
    if (this.followed) return followedSheet(this.followed, goTo);
    if (this.answer) return answerSheet(this.answer, goTo);
    return this.problem ? nothing : beforeAnswer();
  }

  render() {
    return html`<div class="page-head">
        <div class="grow">
          <h1>${t('nav.console')}</h1>
          <p class="sub">${t('console.sub')}</p>
        </div>
      </div>
      <div class="grid console">
        ${this.asking()}
        <section class="sheet answering" aria-label=${t('console.answers')}>
          <div class="sheet-head">
            <div class="choices" role="group" aria-label=${t('console.answers')}>
              ${SIDES.map(
                (one) =>
                  html`<a
                    href=${withQuery({ side: one === 'answer' ? null : one })}
                    aria-current=${this.side === one ? 'true' : nothing}
                    >${t(`console.side.${one}`)}</a
                  >`,
              )}
            </div>
          </div>
          <div class="sheet-body stack">${shown(this.problem)} ${this.sideBody()}</div>
        </section>
      </div>`;
  }
}
customElements.define('fl-console', Console);
