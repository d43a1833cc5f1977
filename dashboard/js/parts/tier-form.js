// The form for a tier: any number of limits for requests, and what devices may send.

import { t, word } from '../i18n.js';
import { numberField, numberOf, textOf } from './fields.js';
import { icon } from './icons.js';
import { Part, html, nothing } from './part.js';
import { INGEST } from './tier-limits.js';

/** @typedef {import('./tier-limits.js').RateLimit} RateLimit */

/** The most limits that a tier has. */
const MOST = 100;

/** What the service calls the fields that show their own reasons. */
export const TIER_FIELDS = [
  'tier',
  'description',
  ...INGEST.map((name) => `ingest.${name}`),
  ...Array.from({ length: MOST }, (_, at) =>
    ['path', 'requests', 'window_s'].map((name) => `limits[${at}].${name}`),
  ).flat(),
];

class TierLimits extends Part {
  static properties = { limits: { attribute: false }, problem: { attribute: false } };

  constructor() {
    super();
    /** @type {RateLimit[]} */
    this.limits = [];
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
  }

  /** What the rows say now, so that one that is added or removed takes nothing of the others with it. @returns {RateLimit[]} */
  written() {
    return [...this.querySelectorAll('.limit-row')].map((row) => {
      const value = (/** @type {string} */ name) =>
        /** @type {HTMLInputElement | null} */ (row.querySelector(`[name=${name}]`))?.value ?? '';
      return {
        path: value('limit-path').trim(),
        requests: Number(value('limit-requests')),
        window_s: Number(value('limit-window')),
      };
    });
  }

  add() {
    this.limits = [...this.written(), { path: this.limits.length ? '' : '*', requests: 600, window_s: 60 }];
  }

  /** @param {number} at */
  drop(at) {
    this.limits = this.written().filter((_, one) => one !== at);
  }

  /** @param {RateLimit} limit @param {number} at */
  row({ path, requests, window_s }, at) {
    const wrong = ['path', 'requests', 'window_s']
      .map((name) => this.problem?.of(`limits[${at}].${name}`))
      .find(Boolean);
    return html`<div class="limit-row">
      <input
        name="limit-path"
        aria-label=${t('tiers.path')}
        placeholder="POST /devices/{uid}/commands"
        required
        spellcheck="false"
        .value=${path}
      />
      <input
        name="limit-requests"
        aria-label=${t('tiers.requests.n')}
        type="number"
        min="1"
        max="1000000000"
        required
        .value=${`${requests}`}
      />
      <span class="muted small">${t('tiers.in')}</span>
      <input
        name="limit-window"
        aria-label=${t('tiers.window')}
        type="number"
        min="1"
        max="86400"
        required
        .value=${`${window_s}`}
      />
      <span class="muted small">s</span>
      <button
        type="button"
        class="plain square"
        aria-label=${t('tiers.drop')}
        title=${t('tiers.drop')}
        @click=${() => this.drop(at)}
      >
        ${icon('close')}
      </button>
      ${wrong ? html`<p class="wrong">${wrong}</p>` : nothing}
    </div>`;
  }

  render() {
    return html`<fieldset class="fields">
      <legend>${t('tiers.requests')}</legend>
      <p class="hint muted small">${t('tiers.requests.rule')} ${t('tiers.path.rule')}</p>
      ${this.limits.map((limit, at) => this.row(limit, at))}
      ${this.limits.length < MOST ? html`<div><button type="button" @click=${this.add}>${icon('plus')}${t('tiers.add')}</button></div>` : nothing}
    </fieldset>`;
  }
}
customElements.define('fl-tier-limits', TierLimits);

/** The fields for what devices may send. @param {import('./tier-limits.js').Ingest | null} ingest @param {import('../api.js').Problem | null} problem */
export const ingestFields = (ingest, problem) =>
  html`<fieldset class="fields">
    <legend>${t('tiers.ingest')}</legend>
    <p class="hint muted small">${t('tiers.ingest.rule')} ${t('tiers.empty')}</p>
    <div class="field-pairs">
      ${INGEST.map((name) => numberField({ name, of: `ingest.${name}`, label: word('tiers', name), least: 1, optional: true, value: ingest ? ingest[name] : name === 'new_devices_per_s' ? 10 : null, problem }))}
    </div>
  </fieldset>`;

/** What a form says of a tier. @param {FormData} form */
export function tierOf(form) {
  const [paths, requests, windows] = ['limit-path', 'limit-requests', 'limit-window'].map((name) => form.getAll(name));
  const description = textOf(form, 'description');
  return {
    ...(description ? { description } : {}),
    limits: (paths ?? []).map((path, at) => ({
      path: `${path}`.trim(),
      requests: Number(requests?.[at]),
      window_s: Number(windows?.[at]),
    })),
    ingest: Object.fromEntries(INGEST.map((name) => [name, numberOf(form, name)])),
  };
}
