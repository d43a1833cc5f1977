// What every page of the administration has in common: the list of them beside it, and its head.

import { adminPlaces } from '../admin.js';
import { t, word } from '../i18n.js';
import { AskingPart, html, nothing, shown } from './part.js';

function places() {
  const here = location.pathname;
  const all = adminPlaces();
  const groups = [...new Set(all.map(({ group }) => group))];
  const isHere = (/** @type {string} */ path) => here === path || here.startsWith(`${path}/`);
  return html`<nav class="admin-places" aria-label=${t('nav.admin')}>
    ${groups.map(
      (group) =>
        html`<div>
          <p>${word('admin.group', group)}</p>
          <ul>
            ${all
              .filter((place) => place.group === group)
              .map(
                ({ path, key }) =>
                  html`<li><a href=${path} aria-current=${isHere(path) ? 'page' : nothing}>${t(key)}</a></li>`,
              )}
          </ul>
        </div>`,
    )}
  </nav>`;
}

export class AdminPage extends AskingPart {
  constructor() {
    super();
    /** @type {Record<string, string>} */
    this.params = {};
  }

  /**
   * The page's head.
   * @param {unknown} title
   * @param {unknown} sub
   * @param {{ actions?: unknown, up?: { path: string, key: import('../i18n.js').Key }, beside?: unknown }} [more]
   */
  head(title, sub, { actions = nothing, up, beside = nothing } = {}) {
    return html`<div class="page-head">
        <div class="grow">
          ${up ? html`<p class="small"><a href=${up.path}>${t(up.key)}</a></p>` : nothing}
          <h1>${title} ${beside}</h1>
          <p class="sub">${sub}</p>
        </div>
        <div class="actions">${actions}</div>
      </div>
      ${shown(this.problem)}`;
  }

  /** What the page shows. @returns {unknown} */
  content() {
    return nothing;
  }

  render() {
    return html`<div class="admin">
      ${places()}
      <div class="admin-body">${this.content()}</div>
    </div>`;
  }

  updated() {
    // On a narrow screen the list is one line, which may be longer than the screen.
    const strip = this.querySelector('.admin-places');
    const here = this.querySelector('.admin-places [aria-current]');
    if (!(strip instanceof HTMLElement) || !(here instanceof HTMLElement) || strip.dataset.at === location.pathname)
      return;
    strip.dataset.at = location.pathname;
    if (strip.scrollWidth > strip.clientWidth) strip.scrollLeft = here.offsetLeft - strip.offsetLeft - 24;
  }
}
