// What was asked in this browser: kept here, and nowhere else.

import { ago, t } from '../i18n.js';
import { keep, kept } from '../settings.js';
import { icon } from './icons.js';
import { empty, html } from './part.js';

/** @typedef {{ query: string, variables: string, at: string }} Asked */

const MOST = 60;

/** @returns {Asked[]} */
export function history() {
  try {
    const found = JSON.parse(kept('console.history') ?? '[]');
    return Array.isArray(found) ? found : [];
  } catch {
    return [];
  }
}

/** @param {Asked[]} all */
const store = (all) => keep('console.history', all.length ? JSON.stringify(all.slice(0, MOST)) : null);

/** Notes a question; the same one once more moves to the top. @param {string} query @param {string} variables */
export function note(query, variables) {
  const others = history().filter((one) => one.query !== query || one.variables !== variables);
  store([{ query, variables, at: new Date().toISOString() }, ...others]);
}

/** What a question is called in a list: its operation's name, or how it begins. @param {string} query */
function title(query) {
  const named = /\b(query|mutation|subscription)\s+(\w+)/.exec(query);
  return (
    named?.[2] ??
    query
      .replace(/#[^\n]*/g, '')
      .replace(/\s+/g, ' ')
      .trim()
      .slice(0, 90)
  );
}

/**
 * @param {(asked: Asked) => void} choose
 * @param {() => void} changed
 */
export function historyList(choose, changed) {
  const all = history();
  if (all.length === 0) return empty(t('console.history.none'), t('console.history.none.next'));
  const drop = (/** @type {Asked} */ one) => {
    store(all.filter((other) => other !== one));
    changed();
  };
  return html`<ul class="kept asked">
      ${all.map(
        (one) =>
          html`<li>
            <button class="plain asked-one" title=${one.query} @click=${() => choose(one)}>
              <code>${title(one.query)}</code><span class="small faint">${ago(one.at)}</span>
            </button>
            <button
              class="plain square"
              title=${t('trust.forget')}
              aria-label=${`${t('trust.forget')}: ${title(one.query)}`}
              @click=${() => drop(one)}
            >
              ${icon('close')}
            </button>
          </li>`,
      )}
    </ul>
    <div class="more">
      <button
        @click=${() => {
          store([]);
          changed();
        }}
      >
        ${t('console.history.clear')}
      </button>
    </div>`;
}
