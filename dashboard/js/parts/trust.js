// The keys that this browser trusts, and the checkpoints that it has kept: what somebody had before is worth more than what the
// service shows now.

import { Problem, getText } from '../api.js';
import { moment, t, when, word } from '../i18n.js';
import { readKey } from '../proof/note.js';
import { keep, kept } from '../settings.js';
import { ask, say } from './dialog.js';
import { icon } from './icons.js';
import { Part, asProblem, html, nothing, shown } from './part.js';
import { checked } from './proof-report.js';

/** @typedef {import('../proof/note.js').Key} Key */
/** @typedef {{ text: string, since: string, from: 'service' | 'person' }} Kept */
/**
 * @typedef {object} Trust
 * @property {Key[]} keys
 * @property {Kept[]} kept
 * @property {string | null} service The key that the service shows now.
 * @property {boolean} first Whether that was taken over just now.
 * @property {boolean} changed Whether it is none of those that were kept.
 */

/** The most checkpoints that are kept. */
const MOST = 40;

/** @param {string} name @returns {Kept[]} */
function list(name) {
  try {
    const found = JSON.parse(kept(name) ?? '[]');
    return Array.isArray(found) ? found : [];
  } catch {
    return [];
  }
}

/** @param {string} name @param {Kept[]} all */
const store = (name, all) => keep(name, all.length ? JSON.stringify(all) : null);

/** @param {string} name @param {string} text @param {Kept['from']} from */
function add(name, text, from) {
  const all = list(name).filter((one) => one.text !== text);
  store(name, [{ text, since: new Date().toISOString(), from }, ...all].slice(0, MOST));
}

/** @param {string} name @param {string} text */
const drop = (name, text) =>
  store(
    name,
    list(name).filter((one) => one.text !== text),
  );

export const keptKeys = () => list('audit.keys');
export const keepKey = (/** @type {string} */ text, /** @type {Kept['from']} */ from) => add('audit.keys', text, from);
export const forgetKey = (/** @type {string} */ text) => drop('audit.keys', text);
export const keptCheckpoints = () => list('audit.checkpoints');
export const keepCheckpoint = (/** @type {string} */ text) => add('audit.checkpoints', text, 'service');
export const forgetCheckpoint = (/** @type {string} */ text) => drop('audit.checkpoints', text);

/** The service's key; `null` before it has signed anything. */
async function serviceKey() {
  try {
    return (await getText('/audit/key')).trim();
  } catch (error) {
    if (error instanceof Problem && error.code === 'no_checkpoint') return null;
    throw error;
  }
}

/** What is trusted: the kept keys, or, where there is none yet, the one that the service shows now. @returns {Promise<Trust>} */
export async function trust() {
  const service = await serviceKey();
  const isLogs = (/** @type {Key} */ { kind }) => kind === 1;
  let keys = await Promise.all(keptKeys().map(({ text }) => readKey(text)));
  const first = service !== null && !keys.some(isLogs);
  if (first) {
    keepKey(service, 'service');
    keys = [await readKey(service), ...keys];
  }
  const known = service ? (await readKey(service)).key.join() : '';
  const changed = service !== null && !keys.some((key) => isLogs(key) && key.key.join() === known);
  return { keys, kept: keptKeys(), service, first, changed };
}

/** What a viewer should know of where the key came from. @param {Trust} known */
export function trustNotice({ first, changed, service, kept: all }) {
  if (changed)
    return html`<div class="notice warn">
      <p><strong>${t('trust.changed')}</strong></p>
      <p>${t('trust.changed.why')}</p>
      <p><code class="wrap">${service}</code></p>
    </div>`;
  const oldest = all.filter(({ from }) => from === 'service').at(-1);
  if (first || (oldest && !all.some(({ from }) => from === 'person')))
    return html`<p class="small muted">
      ${first ? t('trust.first') : t('trust.since', { since: moment(oldest?.since ?? '') })}
    </p>`;
  return nothing;
}

/** Lists the keys that this browser trusts, and takes others. */
class Trusted extends Part {
  static properties = { known: { state: true }, problem: { state: true } };

  constructor() {
    super();
    /** @type {Trust | null} */
    this.known = null;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
  }

  connectedCallback() {
    super.connectedCallback();
    this.load();
  }

  async load() {
    try {
      this.known = await checked(trust);
    } catch (error) {
      this.problem = asProblem(error);
    }
    this.dispatchEvent(new Event('trusted'));
  }

  add() {
    ask({
      heading: t('trust.add'),
      confirm: t('trust.add.button'),
      content: () =>
        html`<p>${t('trust.add.why')}</p>
          <div class="field">
            <label for="vkey">${t('trust.key')}</label
            ><textarea id="vkey" name="vkey" rows="3" spellcheck="false" required placeholder="name+id+key"></textarea>
          </div>`,
      work: async (form) => {
        const lines = `${form.get('vkey')}`.split('\n').filter((line) => line.trim());
        for (const line of lines) keepKey((await checked(() => readKey(line))).text, 'person');
        say(t('trust.added'));
        await this.load();
      },
    });
  }

  /** @param {Kept} one */
  forget(one) {
    forgetKey(one.text);
    this.load();
  }

  /** @param {Kept} one */
  item(one) {
    const key = this.known?.keys.find(({ text }) => text === one.text);
    return html`<li>
      <div>
        <p class="strong">
          ${key?.name} <span class="pill">${key?.kind === 4 ? t('trust.witness') : t('trust.log')}</span>
        </p>
        <code class="wrap small">${one.text}</code>
        <p class="small muted">${word('trust.from', one.from)} · ${when(one.since)}</p>
      </div>
      <button
        class="plain square"
        title=${t('trust.forget')}
        aria-label=${`${t('trust.forget')}: ${key?.name}`}
        @click=${() => this.forget(one)}
      >
        ${icon('close')}
      </button>
    </li>`;
  }

  render() {
    if (this.problem) return shown(this.problem);
    return html`<section class="sheet" aria-labelledby="trusted">
      <div class="sheet-head">
        <h2 id="trusted" class="grow">${t('trust.title')}</h2>
        <button @click=${this.add}>${icon('plus')}${t('trust.add')}</button>
      </div>
      <div class="sheet-body stack">
        ${this.known ? trustNotice(this.known) : nothing}
        ${
          this.known?.changed && this.known.service
            ? html`<p>
                <button
                  @click=${() => {
                    keepKey(this.known?.service ?? '', 'service');
                    this.load();
                  }}
                >
                  ${t('trust.accept')}
                </button>
              </p>`
            : nothing
        }
        <ul class="kept">
          ${this.known?.kept.map((one) => this.item(one))}
        </ul>
        <p class="small muted">${t('trust.means')}</p>
      </div>
    </section>`;
  }
}
customElements.define('fl-trusted', Trusted);
