// Everything is reached by keyboard: `g` and a letter goes to a place, `/` searches, `?` says so, Ctrl-K or ⌘K finds a device
// or a page by its name.

import { adminPlaces } from './admin.js';
import { places } from './app.js';
import { graphql } from './api.js';
import { t } from './i18n.js';
import { Part, html, nothing } from './parts/part.js';
import { go } from './router.js';
import { may, me } from './session.js';

/** The letter of each place, after `g`. @type {Record<string, string>} */
const LETTERS = {
  f: '/app',
  d: '/app/devices',
  c: '/app/commands',
  l: '/app/alarms',
  e: '/app/events',
  v: '/app/proof',
  p: '/app/projections',
  q: '/app/quarantine',
  w: '/app/webhooks',
  m: '/app/admin',
  g: '/app/console',
  a: '/app/account',
};
/** How long the second key may take, in milliseconds. */
const PATIENCE = 1500;

let prefixed = 0;

export function start() {
  document.addEventListener('keydown', (event) => {
    if (!me()) return;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
      event.preventDefault();
      openPalette();
      return;
    }
    if (
      event.ctrlKey ||
      event.metaKey ||
      event.altKey ||
      isWriting(event.target) ||
      document.querySelector('dialog[open]')
    )
      return;
    press(event);
  });
}

/** @param {EventTarget | null} target */
const isWriting = (target) => target instanceof Element && target.matches('input, textarea, select, [contenteditable]');

/** @param {KeyboardEvent} event */
function press(event) {
  if (Date.now() - prefixed < PATIENCE) {
    prefixed = 0;
    const to = LETTERS[event.key];
    if (to && places().some((place) => place.path === to)) go(to);
  } else if (event.key === 'g') prefixed = Date.now();
  else if (event.key === '?') showShortcuts();
  else if (event.key === '/') {
    event.preventDefault();
    const search = document.querySelector('main input[type=search]');
    if (search instanceof HTMLElement) search.focus();
    else openPalette();
  }
}

export async function showShortcuts() {
  const { ask } = await import('./parts/dialog.js');
  const rows = Object.entries(LETTERS).flatMap(([letter, path]) => {
    const place = places().find((one) => one.path === path);
    return place ? [{ keys: ['g', letter], says: t(place.key) }] : [];
  });
  const others = [
    { keys: ['/'], says: t('shortcuts.search') },
    { keys: ['Ctrl', 'K'], says: t('shortcuts.palette') },
    { keys: ['?'], says: t('shortcuts.title') },
    { keys: ['←', '→', '+', '−', '0'], says: t('shortcuts.chart') },
  ];
  ask({
    heading: t('shortcuts.title'),
    content: () =>
      html`<dl class="shortcuts">
        ${[...rows, ...others].map(
          ({ keys, says }) =>
            html`<div>
              <dt>${says}</dt>
              <dd>${keys.map((key) => html`<kbd>${key}</kbd>`)}</dd>
            </div>`,
        )}
      </dl>`,
  });
}

/** @typedef {{ name: string, hint: string, path: string }} Found */

/** Finds pages and devices by a part of their names. */
class Palette extends Part {
  static properties = { found: { state: true }, at: { state: true } };

  constructor() {
    super();
    /** @type {Found[]} */
    this.found = this.pages('');
    this.at = 0;
    this.asked = '';
  }

  /** @param {string} text @returns {Found[]} */
  pages(text) {
    const all = [...places(), ...adminPlaces()].map((place) => ({
      name: t(place.key),
      hint: t('palette.page'),
      path: place.path,
    }));
    return all.filter(({ name }) => name.toLowerCase().includes(text.toLowerCase()));
  }

  firstUpdated() {
    this.querySelector('dialog')?.showModal();
  }

  /** @param {string} text */
  async look(text) {
    this.asked = text;
    this.at = 0;
    this.found = this.pages(text);
    if (!text || !may('devices.read')) return;
    const { devices } = await graphql(
      'query ($q: String) { devices(filter: { q: $q }, first: 8) { nodes { uid name } } }',
      { q: text },
    );
    if (this.asked !== text) return;
    const named = devices.nodes.map((/** @type {{ uid: string, name: string | null }} */ { uid, name }) => ({
      name: uid,
      hint: name ?? t('palette.device'),
      path: `/app/devices/${encodeURIComponent(uid)}`,
    }));
    this.found = [...this.pages(text), ...named];
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    this.at = (this.at + step + this.found.length) % Math.max(this.found.length, 1);
  }

  /** @param {Found | undefined} chosen */
  choose(chosen) {
    this.querySelector('dialog')?.close();
    if (chosen) go(chosen.path);
  }

  render() {
    return html`<dialog
      class="dialog palette"
      aria-label=${t('shortcuts.palette')}
      @close=${() => this.remove()}
      @click=${(/** @type {Event} */ event) => event.target === event.currentTarget && this.choose(undefined)}
    >
      <form
        @submit=${(/** @type {Event} */ event) => {
          event.preventDefault();
          this.choose(this.found[this.at]);
        }}
      >
        <input
          type="search"
          role="combobox"
          aria-expanded="true"
          aria-controls="palette-list"
          aria-activedescendant=${this.found.length ? `palette-${this.at}` : nothing}
          aria-label=${t('shortcuts.palette')}
          placeholder=${t('palette.placeholder')}
          autocomplete="off"
          @keydown=${this.press}
          @input=${(/** @type {InputEvent} */ event) => this.look(/** @type {HTMLInputElement} */ (event.target).value.trim()).catch(() => {})}
        />
        <ul id="palette-list" role="listbox" aria-label=${t('shortcuts.palette')}>
          ${this.found.map((one, at) => html`<li id="palette-${at}" role="option" aria-selected=${at === this.at} @click=${() => this.choose(one)}><span>${one.name}</span><span class="faint">${one.hint}</span></li>`)}
        </ul>
        ${this.found.length ? nothing : html`<p class="palette-none">${t('palette.none')}</p>`}
      </form>
    </dialog>`;
  }
}
customElements.define('fl-palette', Palette);

function openPalette() {
  if (!document.querySelector('fl-palette')) document.body.append(new Palette());
}
