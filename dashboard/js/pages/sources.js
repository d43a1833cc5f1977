// Sources: what topics and payloads of other systems mean. A definition is tried on messages while one writes it.

import { get, post, remove, rest } from '../api.js';
import { ago, number, t } from '../i18n.js';
import { ask, say } from '../parts/dialog.js';
import { AskingPart, asProblem, empty, html, nothing, shown, waiting } from '../parts/part.js';
import { people } from '../parts/people.js';
import { pill } from '../parts/pills.js';
import { tried } from '../parts/tried.js';
import { who } from '../parts/who.js';
import { query } from '../router.js';
import { may } from '../session.js';

const EVERY = 10_000;
/** How long after the last key a definition is tried. */
const PAUSE = 300;
/** The most messages that are tried at once. */
const MOST = 100;
const FIRST = { topics: [{ topic: 'sensors/{uid}/data' }] };
const EXAMPLE = 'sensors/cellar/data {"temperature":21.5}';

/**
 * @typedef {{
 *   name: string, version: number, in_use: boolean, preset: string | null, topics: string[], definition: object,
 *   changed_at: string, changed_by: string
 * }} Source
 */
/** @typedef {{ name: string, definition: object }} Preset */

/** @param {object} definition */
const written = (definition) => JSON.stringify(definition, null, 2);

class Sources extends AskingPart {
  static properties = {
    list: { state: true },
    presets: { state: true },
    name: { state: true },
    text: { state: true },
    messages: { state: true },
    result: { state: true },
    wrong: { state: true },
  };

  constructor() {
    super();
    /** @type {Source[] | null} */
    this.list = null;
    /** @type {Preset[]} */
    this.presets = [];
    this.name = '';
    this.text = written(FIRST);
    this.messages = query('message') ?? EXAMPLE;
    /** @type {import('../parts/tried.js').Trial[] | null} */
    this.result = null;
    /** Why the definition cannot be used. @type {import('../api.js').Problem | null} */
    this.wrong = null;
    /** The preset that the definition was made from. @type {string | null} */
    this.preset = null;
    /** @type {number | undefined} */
    this.pause = undefined;
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(EVERY, () => this.load());
    this.attempt(async () => {
      this.presets = (await get('/source-presets')).items;
    });
    this.try();
  }

  load() {
    return this.attempt(async () => {
      const [sources] = await Promise.all([get('/sources'), people().catch(() => [])]);
      this.list = sources.items;
    });
  }

  /** Tries the definition on the messages, once nothing has been typed for a moment. */
  soon() {
    clearTimeout(this.pause);
    this.pause = window.setTimeout(() => this.try(), PAUSE);
  }

  /** The definition as an object. Throws what is wrong with its JSON. */
  get definition() {
    return JSON.parse(this.text);
  }

  async try() {
    const lines = this.messages.split('\n').filter((line) => line.trim() !== '');
    const messages = lines.slice(0, MOST).map((line) => {
      const end = line.includes('\t') ? line.indexOf('\t') : line.indexOf(' ');
      return end < 0 ? { topic: line, text: '' } : { topic: line.slice(0, end), text: line.slice(end + 1) };
    });
    const asked = this.text;
    try {
      const { items } = await post('/sources/test', { definition: this.definition, messages });
      if (asked === this.text) [this.result, this.wrong] = [items, null];
    } catch (error) {
      if (asked === this.text) this.wrong = asProblem(error);
    }
  }

  /** @param {Source | Preset} source */
  take(source) {
    this.name = source.name;
    this.text = written(source.definition);
    this.preset = 'version' in source ? source.preset : source.name;
    this.try();
    this.querySelector('.source-form')?.scrollIntoView({ block: 'start' });
  }

  /** @param {SubmitEvent} event */
  async save(event) {
    event.preventDefault();
    try {
      const body = { definition: this.definition, preset: this.preset };
      const { version } = await rest('PUT', `/sources/${encodeURIComponent(this.name)}`, { body });
      this.wrong = null;
      say(t('sources.saved', { name: this.name, version: number(version) }));
    } catch (error) {
      this.wrong = asProblem(error);
    }
    await this.load();
  }

  /** @param {Source} source */
  retire(source) {
    ask({
      heading: t('sources.retire.what', { name: source.name }),
      confirm: t('sources.retire'),
      danger: true,
      content: () => html`<p>${t('sources.retire.why')}</p>`,
      work: async () => {
        await remove(`/sources/${encodeURIComponent(source.name)}`);
        await this.load();
      },
    });
  }

  /** @param {Source} source */
  row(source) {
    return html`<tr>
      <td>
        <b>${source.name}</b>
        ${source.preset ? html`<div class="small faint">${source.preset}</div>` : nothing}
      </td>
      <td>${source.topics.map((topic) => html`<div><code class="small">${topic}</code></div>`)}</td>
      <td>${pill('source', source.in_use ? 'in_use' : 'retired')}</td>
      <td class="end numeric wide">${number(source.version)}</td>
      <td class="wide">${ago(source.changed_at)} <span class="muted">${who(source.changed_by)}</span></td>
      <td class="end">
        <button class="plain" @click=${() => this.take(source)}>${t('sources.open')}</button>
        ${
          source.in_use && may('sources.write')
            ? html`<button class="plain" @click=${() => this.retire(source)}>${t('sources.retire')}</button>`
            : nothing
        }
      </td>
    </tr>`;
  }

  table() {
    if (!this.list) return this.problem ? nothing : waiting(3);
    if (this.list.length === 0) return empty(t('sources.none'), html`<p>${t('sources.none.next')}</p>`);
    return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
      <table>
        <thead>
          <tr>
            <th>${t('sources.source')}</th>
            <th>${t('sources.topics')}</th>
            <th>${t('status')}</th>
            <th class="end wide">${t('sources.version')}</th>
            <th class="wide">${t('sources.changed')}</th>
            <th><span class="visually-hidden">${t('actions')}</span></th>
          </tr>
        </thead>
        <tbody>
          ${this.list.map((source) => this.row(source))}
        </tbody>
      </table>
    </div>`;
  }

  form() {
    return html`<form class="sheet-body stack source-form" @submit=${this.save}>
      <div class="field">
        <label for="preset">${t('sources.preset')}</label
        ><select
          id="preset"
          @change=${(/** @type {Event & { target: HTMLSelectElement }} */ { target }) => {
            const preset = this.presets.find(({ name }) => name === target.value);
            if (preset) this.take(preset);
          }}
        >
          <option value="">${t('sources.preset.none')}</option>
          ${this.presets.map(({ name }) => html`<option value=${name} ?selected=${name === this.preset}>${name}</option>`)}
        </select>
      </div>
      <div class="field">
        <label for="definition">${t('sources.definition')}</label
        ><textarea
          id="definition"
          class="json"
          rows="14"
          spellcheck="false"
          .value=${this.text}
          @input=${(/** @type {Event & { target: HTMLTextAreaElement }} */ { target }) => {
            this.text = target.value;
            this.soon();
          }}
        ></textarea>
      </div>
      ${
        this.wrong?.errors.length
          ? html`<ul class="wrong">
              ${this.wrong.errors.map(({ field, reason }) => html`<li><code>${field}</code>: ${reason}</li>`)}
            </ul>`
          : shown(this.wrong)
      }
      ${
        may('sources.write')
          ? html`<div class="field">
                <label for="name">${t('sources.name')}</label
                ><input
                  id="name"
                  required
                  maxlength="64"
                  pattern="[A-Za-z0-9_.\\-]+"
                  .value=${this.name}
                  @input=${(/** @type {Event & { target: HTMLInputElement }} */ { target }) => (this.name = target.value)}
                />
              </div>
              <div><button class="primary">${t('sources.save')}</button></div>`
          : nothing
      }
    </form>`;
  }

  trial() {
    return html`<div class="sheet-body stack">
      <div class="field">
        <label for="messages">${t('sources.messages')}</label
        ><textarea
          id="messages"
          class="json"
          rows="5"
          spellcheck="false"
          .value=${this.messages}
          @input=${(/** @type {Event & { target: HTMLTextAreaElement }} */ { target }) => {
            this.messages = target.value;
            this.soon();
          }}
        ></textarea>
        <p class="small muted">${t('sources.messages.how')}</p>
      </div>
      <div class="trials" aria-live="polite">${this.result?.map((trial) => tried(trial)) ?? nothing}</div>
    </div>`;
  }

  render() {
    return html`<div class="page-head">
        <div class="grow">
          <h1>${t('nav.sources')}</h1>
          <p class="sub">${t('sources.sub')}</p>
        </div>
      </div>
      ${shown(this.problem)}
      <section class="sheet" aria-label=${t('nav.sources')}>${this.table()}</section>
      <div class="two-columns">
        <section class="sheet" aria-labelledby="define">
          <header class="sheet-head"><h2 id="define">${t('sources.define')}</h2></header>
          ${this.form()}
        </section>
        <section class="sheet" aria-labelledby="try">
          <header class="sheet-head"><h2 id="try">${t('sources.try')}</h2></header>
          ${this.trial()}
        </section>
      </div>`;
  }
}
customElements.define('fl-sources', Sources);
