// Readings that left the database because they are over age: which, where they are, and how they come back.

import { get, graphql } from '../api.js';
import { t, when } from '../i18n.js';
import { commandLine } from './command-line.js';
import { Part, asProblem, html, nothing, shown, waiting } from './part.js';

/** @typedef {{ log_id: number, first_position: number, last_position: number, recorded_from: string, recorded_to: string, removed_at: string, state: 'archived' | 'removed', file: string | null, location?: string }} Range */

/** What is not in the database any more: below the first reading that is, and below the position from which all are. @param {{ logId: number, begins: number }} log @returns {Promise<Range[]>} */
async function rangesOf({ logId, begins }) {
  if (begins <= 1) return [];
  const [first, last] = await Promise.all([
    get(`/events?log=${logId}&order=asc&limit=1`),
    get(`/events?log=${logId}&order=desc&after=${begins}&limit=1`),
  ]);
  const found = [...(first.archived ?? []), ...(last.archived ?? [])];
  const by = new Map(found.map((range) => [range.first_position, range]));
  return Array.from(by.values()).sort((one, other) => one.first_position - other.first_position);
}

class Archives extends Part {
  static properties = { ranges: { state: true }, problem: { state: true } };

  constructor() {
    super();
    /** @type {Range[] | null} */
    this.ranges = null;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
  }

  connectedCallback() {
    super.connectedCallback();
    this.load();
  }

  async load() {
    try {
      const { logs } = await graphql('{ logs { logId lane begins } }');
      const telemetry = logs.filter((/** @type {{ lane: string }} */ { lane }) => lane === 'telemetry');
      this.ranges = (await Promise.all(telemetry.map(rangesOf))).flat();
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** @param {Range} range */
  row(range) {
    return html`<tr>
      <td>
        <span class="mono">${range.log_id}:${range.first_position}–${range.last_position}</span>
        <div class="small faint">${t('archive.readings', { n: range.last_position - range.first_position + 1 })}</div>
      </td>
      <td class="wide">
        ${when(range.recorded_from)}
        <div class="small faint">${when(range.recorded_to)}</div>
      </td>
      <td class="breaks">
        ${
          range.state === 'archived'
            ? html`<code>${range.file}</code
                >${range.location ? html`<div class="small faint">${range.location}</div>` : nothing}`
            : html`<span class="pill warn">${t('archive.removed')}</span>`
        }
      </td>
      <td class="end wide">${when(range.removed_at)}</td>
    </tr>`;
  }

  render() {
    const first = this.ranges?.find(({ state }) => state === 'archived');
    return html`<section class="sheet" aria-labelledby="archives">
      <div class="sheet-head"><h2 id="archives">${t('archive.title')}</h2></div>
      ${shown(this.problem)}
      ${
        this.ranges === null
          ? this.problem
            ? nothing
            : waiting(2)
          : this.ranges.length === 0
            ? html`<p class="sheet-body stack muted">${t('archive.none')}</p>`
            : html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('archive.title')}>
                  <table>
                    <thead>
                      <tr>
                        <th>${t('archive.positions')}</th>
                        <th class="wide">${t('events.recorded')}</th>
                        <th>${t('archive.file')}</th>
                        <th class="end wide">${t('archive.left')}</th>
                      </tr>
                    </thead>
                    <tbody>
                      ${this.ranges.map((range) => this.row(range))}
                    </tbody>
                  </table>
                </div>
                ${
                  first
                    ? html`<div class="sheet-body stack">
                        <p class="muted">${t('archive.restore')}</p>
                        ${commandLine(`fleetlog archive restore --log-id ${first.log_id} --from ${first.first_position} --to ${first.last_position}`)}
                      </div>`
                    : nothing
                }`
      }
    </section>`;
  }
}
customElements.define('fl-archives', Archives);
