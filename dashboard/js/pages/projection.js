// One projection: its versions, where it is in each log, its rebuild step by step, and the rows that differ.

import { get } from '../api.js';
import { number, t } from '../i18n.js';
import { icon } from '../parts/icons.js';
import { AskingPart, asProblem, empty, html, nothing, shown, waiting } from '../parts/part.js';
import { pill } from '../parts/pills.js';
import { logsTable, parkedList, projections, versionsTable } from '../parts/projection.js';
import {
  beginRebuild,
  keptUntil,
  lastRebuild,
  progress,
  projectionPath,
  rangesTable,
  rebuildFacts,
  rollBack,
  steers,
  stepLine,
} from '../parts/rebuild.js';
import { may } from '../session.js';

const EVERY = 1000;
/** Every how many of these it is asked while nothing is under way. */
const CALM = 5;
const PAGE = 50;
/** How long a rebuild may rest before that is worth a word: nodes rest between slices, in milliseconds. */
const IDLE = 60_000;

/** @typedef {{ rows_of: string, key: Record<string, unknown>, live: Record<string, unknown> | null, rebuilt: Record<string, unknown> | null }} Difference */

class ProjectionPage extends AskingPart {
  static properties = {
    params: { attribute: false },
    versions: { state: true },
    rebuild: { state: true },
    differences: { state: true },
    elsewhere: { state: true },
  };

  constructor() {
    super();
    /** @type {Record<string, string>} */
    this.params = {};
    /** @type {import('../parts/projection.js').Version[] | null | undefined} */
    this.versions = undefined;
    /** @type {import('../parts/rebuild.js').Rebuild | null} */
    this.rebuild = null;
    /** @type {Difference[] | null} */
    this.differences = null;
    /** @type {string | null} */
    this.next = null;
    /** Of which state of which rebuild the rows are. */
    this.of = '';
    /** Whether rebuilds are for the people of another tenant. */
    this.elsewhere = false;
    this.ticks = 0;
  }

  get name() {
    return this.params.name ?? '';
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(EVERY, () => this.tick());
  }

  /** Looks each second while a rebuild is under way, and less often else. */
  async tick() {
    const underWay = this.versions?.some(({ rebuild }) => rebuild);
    this.ticks = underWay ? 0 : (this.ticks + 1) % CALM;
    if (underWay || this.ticks === 1 || !this.versions) await this.load();
  }

  load() {
    return this.attempt(async () => {
      this.versions = (await projections()).get(this.name) ?? null;
      if (this.versions && !this.elsewhere) await this.loadRebuild();
    });
  }

  async loadRebuild() {
    try {
      this.rebuild = await lastRebuild(this.name);
    } catch (error) {
      if (/** @type {import('../api.js').Problem} */ (error).code !== 'forbidden') throw error;
      this.elsewhere = true;
    }
    const now = this.rebuild;
    const of = `${now?.rebuild_id} ${now?.differences}`;
    if (!now?.differences || !may('projections.write') || this.of === of) return;
    this.of = of;
    this.differences = [];
    this.next = null;
    await this.more();
  }

  async more() {
    const asked = new URLSearchParams({ limit: `${PAGE}`, ...(this.next ? { cursor: this.next } : {}) });
    try {
      const page = await get(`${projectionPath(this.name)}/rebuild/differences?${asked}`);
      this.differences = [...(this.differences ?? []), ...page.items];
      this.next = page.has_more ? page.next_cursor : null;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  actions() {
    if (this.elsewhere || !may('projections.write')) return nothing;
    const again = () => this.load();
    const versions = (this.versions ?? []).filter(({ rebuild }) => !rebuild).map(({ version }) => version);
    const { rebuild } = this;
    if (rebuild && !rebuild.ended_at) return html`<div class="actions">${steers(this.name, rebuild.next, again)}</div>`;
    const kept = rebuild?.kept_version ?? null;
    return html`<div class="actions">
      ${
        kept === null
          ? nothing
          : html`<button
              title=${t('rollback.until', { until: keptUntil(rebuild) })}
              @click=${() => rollBack(this.name, kept, again)}
            >
              ${icon('reset')}${t('rollback.to', { n: kept })}
            </button>`
      }
      <button class="primary" @click=${() => beginRebuild(this.name, versions, again)}>
        ${icon('projections')}${t('rebuild.open')}
      </button>
    </div>`;
  }

  rebuildSheet() {
    const { rebuild } = this;
    const why = this.elsewhere
      ? t('rebuild.elsewhere')
      : may('projections.write')
        ? t('rebuild.none.next')
        : t('rebuild.not_you');
    return html`<section class="sheet" aria-labelledby="rebuild">
      <div class="sheet-head">
        <h2 id="rebuild" class="grow">${t('rebuild.last')}</h2>
        ${rebuild?.paused ? pill('projection', 'paused') : nothing}
        ${rebuild ? pill('rebuild.step', rebuild.step) : nothing}
      </div>
      ${
        rebuild
          ? html`<div class="sheet-body stack">
                ${stepLine(rebuild)}${progress(rebuild)}
                ${rebuild.error ? html`<p class="notice warn">${rebuild.error}</p>` : nothing}
                ${rebuild.step === 'waiting' ? html`<p class="notice warn">${t('rebuild.waits', { n: rebuild.differences ?? 0 })}</p>` : nothing}
                ${rebuild.ended_at || rebuild.running || rebuild.paused || Date.now() - Date.parse(rebuild.since) < IDLE ? nothing : html`<p class="notice warn">${t('rebuild.idle')}</p>`}
                ${rebuildFacts(rebuild)}
              </div>
              ${rebuild.compared.length ? rangesTable(rebuild.compared) : nothing}`
          : empty(t('rebuild.none'), why)
      }
    </section>`;
  }

  /** @param {Difference} row */
  difference({ rows_of: rows, key, live, rebuilt }) {
    const names = Array.from(new Set([...Object.keys(live ?? {}), ...Object.keys(rebuilt ?? {})]));
    const text = (/** @type {unknown} */ value) => (value === undefined ? '–' : JSON.stringify(value));
    const differing = names.filter((name) => text(live?.[name]) !== text(rebuilt?.[name]));
    const named = Object.entries(key).map(
      ([name, value]) => `${name}=${typeof value === 'string' ? value : text(value)}`,
    );
    return html`<tbody>
      <tr class="opened">
        <td colspan="3">
          <code>${rows}</code> <span class="strong breaks">${named.join(' ')}</span>
          ${live ? nothing : html`<span class="pill warn">${t('rebuild.only_new')}</span>`}
          ${rebuilt ? nothing : html`<span class="pill warn">${t('rebuild.only_live')}</span>`}
        </td>
      </tr>
      ${
        live && rebuilt
          ? differing.map(
              (name) =>
                html`<tr>
                  <td><code>${name}</code></td>
                  <td><code class="wrap">${text(live[name])}</code></td>
                  <td><code class="wrap">${text(rebuilt[name])}</code></td>
                </tr>`,
            )
          : nothing
      }
    </tbody>`;
  }

  differencesSheet() {
    if (!this.differences?.length) return nothing;
    return html`<section class="sheet" aria-labelledby="differences">
      <div class="sheet-head">
        <h2 id="differences">${t('rebuild.rows_differ')}</h2>
        <span class="pill warn">${number(this.rebuild?.differences ?? 0)}</span>
      </div>
      <div class="table-wrap" tabindex="0" role="group" aria-label=${t('rebuild.rows_differ')}>
        <table class="compact">
          <thead>
            <tr>
              <th>${t('event.column')}</th>
              <th>${t('rebuild.live')}</th>
              <th>${t('rebuild.new')}</th>
            </tr>
          </thead>
          ${this.differences.map((row) => this.difference(row))}
        </table>
      </div>
      ${this.next ? html`<div class="more"><button @click=${this.more}>${t('more')}</button></div>` : nothing}
    </section>`;
  }

  body() {
    const { versions } = this;
    if (versions === undefined) return this.problem ? nothing : waiting(6);
    const live = versions?.[0];
    if (!versions || !live)
      return html`<section class="sheet">
        ${empty(t('projection.missing'), html`<a href="/app/projections">${t('nav.projections')}</a>`)}
      </section>`;
    return html`<div class="grid two">
        ${this.rebuildSheet()}
        <div class="grid">
          <section class="sheet" aria-labelledby="versions">
            <div class="sheet-head"><h2 id="versions">${t('projection.versions')}</h2></div>
            ${live.error ? html`<p class="sheet-body notice warn">${live.error}</p>` : nothing}
            ${versionsTable(versions)}
            ${live.parked ? html`<div class="sheet-body">${parkedList(live)}</div>` : nothing}
          </section>
          <section class="sheet" aria-labelledby="logs">
            <div class="sheet-head"><h2 id="logs">${t('projection.logs')}</h2></div>
            ${logsTable(live)}
          </section>
        </div>
      </div>
      ${this.differencesSheet()}`;
  }

  render() {
    return html`<div class="page-head">
        <div class="grow">
          <p class="sub"><a href="/app/projections">${t('nav.projections')}</a></p>
          <h1>${this.name}</h1>
        </div>
        ${this.actions()}
      </div>
      ${shown(this.problem)} ${this.body()}`;
  }
}
customElements.define('fl-projection', ProjectionPage);
