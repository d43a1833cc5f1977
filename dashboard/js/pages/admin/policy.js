// One policy: what it says, how it came to say that, and a place to write it.

import { get, remove, rest } from '../../api.js';
import { t, when } from '../../i18n.js';
import { AdminPage } from '../../parts/admin-page.js';
import { cedar, changes } from '../../parts/cedar.js';
import { ask, say } from '../../parts/dialog.js';
import { field, textField, textOf } from '../../parts/fields.js';
import { asProblem, html, nothing, shown, waiting } from '../../parts/part.js';
import { people } from '../../parts/people.js';
import { EXAMPLES } from '../../parts/policy-examples.js';
import { policyWords } from '../../parts/policy-words.js';
import { payloadOf } from '../../parts/stream-history.js';
import { who } from '../../parts/who.js';
import { go, query, withQuery } from '../../router.js';
import { may } from '../../session.js';
import { effect, examples, policyPath } from './policies.js';

/** @typedef {import('./policies.js').Policy} Policy */

class PolicyPage extends AdminPage {
  static properties = {
    policy: { state: true },
    gone: { state: true },
    draft: { state: true },
    refused: { state: true },
    busy: { state: true },
    changes: { state: true },
  };

  constructor() {
    super();
    /** @type {Policy | null} */
    this.policy = null;
    this.gone = false;
    /** What is being written. @type {string | null} */
    this.draft = null;
    /** @type {import('../../api.js').Problem | null} */
    this.refused = null;
    this.busy = false;
    this.changes = 0;
  }

  get name() {
    return this.params.name ?? '';
  }

  connectedCallback() {
    super.connectedCallback();
    this.addEventListener('query', () => this.begin());
    this.begin();
  }

  async begin() {
    this.refused = null;
    this.draft = null;
    if (this.name) {
      await this.load();
      if (query('edit') !== null && may('policies.write')) this.draft ??= this.policy?.source ?? '';
      return;
    }
    this.draft = EXAMPLES.find(({ name }) => name === query('example'))?.source ?? '';
  }

  async load() {
    await this.attempt(async () => {
      // One that was removed is not there, but its history is.
      const [policies] = await Promise.all([get('/policies'), people().catch(() => [])]);
      this.policy = policies.items.find((/** @type {Policy} */ { name }) => name === this.name) ?? null;
      this.gone = !this.policy;
    });
  }

  /** @param {SubmitEvent} event */
  async save(event) {
    event.preventDefault();
    if (this.busy) return;
    const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
    const name = this.name || textOf(form, 'name');
    const description = textOf(form, 'description');
    this.busy = true;
    this.refused = null;
    try {
      const body = { source: `${form.get('source')}`, ...(description ? { description } : {}) };
      const { position } = await rest('PUT', `/policies/${encodeURIComponent(name)}`, { body });
      say(position ? t('policies.saved', { position }) : t('policies.same'));
      this.changes += 1;
      go(policyPath(name), { replace: !this.name });
    } catch (error) {
      this.refused = asProblem(error);
    } finally {
      this.busy = false;
    }
  }

  removeIt() {
    ask({
      heading: t('policies.remove.title', { name: this.name }),
      confirm: t('policies.remove'),
      danger: true,
      content: () => html`<p>${t('policies.remove.why')}</p>`,
      work: async () => {
        const { position } = await remove(`/policies/${encodeURIComponent(this.name)}`);
        say(t('policies.removed', { position }));
        go('/app/admin/policies');
      },
    });
  }

  /** Writes on with an earlier version. @param {string} source */
  restore(source) {
    history.replaceState(null, '', withQuery({ edit: 'yes' }));
    this.draft = source;
    scrollTo(0, 0);
  }

  form() {
    const problem = this.refused;
    return html`<form class="sheet" @submit=${this.save}>
      <div class="sheet-head">
        <h2 class="grow">${t(this.name ? 'policies.change' : 'policies.write')}</h2>
        ${this.name ? nothing : html`<span class="muted small">${t('policies.begin')}</span>`}
      </div>
      <div class="sheet-body fields">
        ${this.name ? nothing : examples()}
        ${this.name ? nothing : textField({ name: 'name', label: t('policies.name'), hint: t('policies.name.rule'), most: 64, pattern: '[A-Za-z0-9_.\\-]+', value: query('example') ?? '', problem })}
        ${textField({ name: 'description', label: t('policies.description'), most: 500, optional: true, value: this.policy?.description ?? '', problem })}
        ${field({ name: 'source', label: t('policies.source'), hint: t('policies.source.hint'), problem }, html`<textarea id="field-source" name="source" rows="12" required spellcheck="false" autocapitalize="none" aria-invalid=${problem?.of('source') ? 'true' : nothing} aria-describedby="field-source-hint" .value=${this.draft ?? ''}></textarea>`)}
        ${shown(problem, ['name', 'description', 'source'])} ${policyWords()}
      </div>
      <div class="sheet-foot">
        <a class="button" href=${this.name ? policyPath(this.name) : '/app/admin/policies'}>${t('cancel')}</a
        ><button class="primary" ?disabled=${this.busy}>${t('policies.save')}</button>
      </div>
    </form>`;
  }

  reading() {
    const { policy } = this;
    if (!policy)
      return this.gone
        ? html`<p class="notice warn">${t('policies.gone')}</p>`
        : this.problem
          ? nothing
          : html`<div class="sheet">${waiting(5)}</div>`;
    return html`<section class="sheet" aria-labelledby="says">
      <div class="sheet-head">
        <h2 id="says" class="grow">${t('policies.says')}</h2>
        <span class="muted small">${who(policy.updated_by)} · ${when(policy.updated_at)}</span>
      </div>
      <div class="sheet-body">${cedar(policy.source)}</div>
    </section>`;
  }

  /** @param {import('../../parts/stream-history.js').Event} event @param {import('../../parts/stream-history.js').Event | undefined} before */
  version(event, before) {
    const { source } = payloadOf(event);
    if (typeof source !== 'string') return nothing;
    const earlier = before ? payloadOf(before).source : null;
    const is = source === this.policy?.source;
    return html`<details class="version" ?open=${!is}>
      <summary class="small">${t(typeof earlier === 'string' ? 'policies.difference' : 'policies.text')}</summary>
      ${typeof earlier === 'string' ? changes(earlier, source) : cedar(source)}
      ${is || !may('policies.write') ? nothing : html`<button @click=${() => this.restore(source)}>${t('policies.restore')}</button>`}
    </details>`;
  }

  content() {
    const up = { path: '/app/admin/policies', key: /** @type {const} */ ('admin.policies') };
    const isWriting = this.draft !== null && may('policies.write');
    if (!this.name) return html`${this.head(t('policies.new'), t('policies.sub'), { up })}${this.form()}`;
    const { policy } = this;
    const actions =
      policy && may('policies.write') && !isWriting
        ? html`<a class="button" href=${withQuery({ edit: 'yes' })}>${t('edit')}</a
            ><button class="danger" @click=${this.removeIt}>${t('policies.remove')}</button>`
        : nothing;
    return html`${this.head(this.name, policy?.description ?? ' ', { up, actions, ...(policy ? { beside: html`<span class="beside">${effect(policy.source)}</span>` } : {}) })}
      <div class="stack">
        ${isWriting ? this.form() : this.reading()}
        <fl-stream-history
          .name=${this.name}
          kind="Policy"
          .version=${this.changes}
          .says=${() => nothing}
          .extra=${(/** @type {any} */ event, /** @type {any} */ before) => this.version(event, before)}
        ></fl-stream-history>
      </div>`;
  }
}
customElements.define('fl-policy', PolicyPage);
