// The projections: which version of each is live, what is behind, what is parked, what is being rebuilt.

import { number, t, when, word } from '../i18n.js';
import '../parts/archives.js';
import { icon } from '../parts/icons.js';
import { AskingPart, empty, html, nothing, shown, waiting } from '../parts/part.js';
import { pill } from '../parts/pills.js';
import { logsTable, parkedList, projections } from '../parts/projection.js';
import { lastRebuild, progress, stepLine, steers } from '../parts/rebuild.js';
import { may } from '../session.js';

const EVERY = 2000;

/** @typedef {import('../parts/projection.js').Version} Version */
/** @typedef {import('../parts/rebuild.js').Rebuild} Rebuild */

class Projections extends AskingPart {
  static properties = { found: { state: true }, rebuilds: { state: true } };

  constructor() {
    super();
    /** @type {Map<string, Version[]> | null} */
    this.found = null;
    /** What is under way, by the projection's name. @type {Record<string, Rebuild>} */
    this.rebuilds = {};
  }

  connectedCallback() {
    super.connectedCallback();
    this.every(EVERY, () => this.load());
  }

  load() {
    return this.attempt(async () => {
      const found = await projections();
      const underWay = Array.from(found).filter(([, versions]) => versions.some(({ rebuild }) => rebuild));
      // Only people of the platform's tenant see how far a rebuild is.
      const last = await Promise.all(underWay.map(([name]) => lastRebuild(name).catch(() => null)));
      this.rebuilds = Object.fromEntries(last.flatMap((one) => (one ? [[one.projection, one]] : [])));
      this.found = found;
    });
  }

  /** What to do about a rebuild. Nobody accepts differences that they have not seen. @param {string} name @param {Rebuild} rebuild */
  steers(name, { next, differences }) {
    const look = html`<a class="button primary" href=${`/app/projections/${encodeURIComponent(name)}`}
      >${t('rebuild.look', { n: differences ?? 0 })}</a
    >`;
    return html`${next.includes('accept') ? look : nothing}
    ${steers(
      name,
      next.filter((how) => how !== 'accept'),
      () => this.load(),
    )}`;
  }

  /** @param {string} name @param {Version[]} versions */
  card(name, versions) {
    const live = versions.find((one) => one.live) ?? versions[0];
    if (!live) return nothing;
    const others = versions.filter((one) => one !== live);
    const rebuild = this.rebuilds[name];
    const underWay = others.find((one) => one.rebuild)?.rebuild;
    return html`<section class="sheet" aria-label=${name}>
      <div class="sheet-head">
        <h2 class="grow"><a href=${`/app/projections/${encodeURIComponent(name)}`}>${name}</a></h2>
        ${pill('projection', live.state)}<span class="pill">${t('version', { n: live.version })}</span>
      </div>
      <div class="sheet-body stack">
        <div class="lagline">
          <p class="big ${live.lag > 0 ? 'behind' : ''}">${number(live.lag)}</p>
          <p class="small muted">
            ${live.lag ? t('projection.behind') : t('projection.none_behind')}<br />${word('projection', live.state)}
            ${t('rebuild.since')} ${when(live.since)}
          </p>
        </div>
        ${live.error ? html`<p class="notice warn">${live.error}</p>` : nothing} ${parkedList(live)}
        ${
          underWay
            ? html`<div class="underway">
                <p class="strong">
                  ${t(underWay.kind === 'rollback' ? 'rebuild.is.rollback' : 'rebuild.is')}
                  ${underWay.paused ? pill('projection', 'paused') : nothing}
                </p>
                ${rebuild ? html`${stepLine(rebuild)}${progress(rebuild)}${rebuild.error ? html`<p class="notice warn">${rebuild.error}</p>` : nothing}` : nothing}
                <div class="actions">${rebuild ? this.steers(name, rebuild) : nothing}</div>
              </div>`
            : nothing
        }
        ${
          others.some((one) => !one.rebuild)
            ? html`<p class="small muted">
                ${others.filter((one) => !one.rebuild).map((one) => html`${t('version', { n: one.version })} ${pill('projection', one.state)} `)}
              </p>`
            : nothing
        }
        <details>
          <summary class="small">${t('projection.logs')}</summary>
          ${logsTable(live)}
        </details>
      </div>
    </section>`;
  }

  render() {
    const { found } = this;
    return html`<div class="page-head">
        <div class="grow">
          <h1>${t('nav.projections')}</h1>
          <p class="sub">${t('projection.sub')}</p>
        </div>
      </div>
      ${shown(this.problem)}
      ${
        found
          ? found.size
            ? html`<div class="grid cards">${Array.from(found, ([name, versions]) => this.card(name, versions))}</div>`
            : html`<section class="sheet">${empty(t('projection.none'), t('projection.none.next'))}</section>`
          : this.problem
            ? nothing
            : waiting(8)
      }
      ${may('events.read') && may('logs.read') ? html`<div class="grid"><fl-archives></fl-archives></div>` : nothing}
      <p class="small muted foot">${icon('projections')} ${t('fleet.lag.means')}</p>`;
  }
}
customElements.define('fl-projections', Projections);
