// The frame around every page: navigation, who is logged in, whether the service can be reached. It shows the page of the address.

import { administers } from './admin.js';
import * as connection from './connection.js';
import { language, t, word } from './i18n.js';
import { showShortcuts, start as startKeyboard } from './keyboard.js';
import { icon } from './parts/icons.js';
import { Part, asProblem, html, nothing, shown, waiting } from './parts/part.js';
import * as router from './router.js';
import * as session from './session.js';
import { chooseTheme, kept, theme } from './settings.js';

/**
 * @typedef {object} Place
 * @property {string} path
 * @property {import('./i18n.js').Key} key
 * @property {Parameters<typeof icon>[0]} icon
 * @property {string | (() => boolean) | null} needs
 * @property {'fleet' | 'record' | 'tenant'} group
 */

/** @type {Place[]} */
export const PLACES = [
  { path: '/app', key: 'nav.fleet', icon: 'fleet', needs: null, group: 'fleet' },
  { path: '/app/devices', key: 'nav.devices', icon: 'devices', needs: 'devices.read', group: 'fleet' },
  { path: '/app/alarms', key: 'nav.alarms', icon: 'alarms', needs: 'alarms.read', group: 'fleet' },
  { path: '/app/commands', key: 'nav.commands', icon: 'commands', needs: 'commands.read', group: 'fleet' },
  { path: '/app/events', key: 'nav.events', icon: 'events', needs: 'events.read', group: 'record' },
  { path: '/app/proof', key: 'nav.proof', icon: 'proof', needs: 'events.read', group: 'record' },
  { path: '/app/projections', key: 'nav.projections', icon: 'projections', needs: 'projections.read', group: 'record' },
  { path: '/app/quarantine', key: 'nav.quarantine', icon: 'quarantine', needs: 'quarantine.read', group: 'record' },
  { path: '/app/console', key: 'nav.console', icon: 'console', needs: 'graphql.query', group: 'tenant' },
  { path: '/app/sources', key: 'nav.sources', icon: 'sources', needs: 'sources.read', group: 'tenant' },
  { path: '/app/webhooks', key: 'nav.webhooks', icon: 'webhooks', needs: 'webhooks.read', group: 'tenant' },
  { path: '/app/admin', key: 'nav.admin', icon: 'admin', needs: administers, group: 'tenant' },
  { path: '/app/account', key: 'nav.account', icon: 'account', needs: null, group: 'tenant' },
];
const GROUPS = /** @type {const} */ (['fleet', 'record', 'tenant']);

/** The places that pages with addresses of their own belong to. @type {Record<string, string>} */
const WITHIN = { '/app/import': '/app/devices' };

/** The places that the viewer may go to. */
export const places = () =>
  PLACES.filter(({ needs }) => !needs || (typeof needs === 'function' ? needs() : session.may(needs)));

const groups = () =>
  GROUPS.map((group) => places().filter((place) => place.group === group)).filter(({ length }) => length > 0);

/** @type {Record<string, 'system' | 'light' | 'dark'>} */
const NEXT_THEME = { system: 'light', light: 'dark', dark: 'system' };
const THEME_ICONS = /** @type {const} */ ({ system: 'system', light: 'sun', dark: 'moon' });

class App extends Part {
  static properties = { problem: { state: true }, loaded: { state: true }, open: { state: true } };

  constructor() {
    super();
    /** @type {import('./api.js').Problem | null} */
    this.problem = null;
    this.loaded = false;
    this.open = false;
    /** @type {HTMLElement | null} */
    this.page = null;
    this.shown = '';
  }

  async connectedCallback() {
    super.connectedCallback();
    router.watch(() => this.turn());
    session.watch(() => this.turn());
    this.whenGone(connection.watch(() => this.requestUpdate()));
    startKeyboard();
    await this.start();
  }

  async start() {
    this.problem = null;
    try {
      if (!router.matched().route?.open || kept('in')) await session.load();
      this.loaded = true;
      await this.turn();
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** Shows the page of the address, or the login where it needs a session. */
  async turn() {
    if (!this.loaded) return;
    this.open = false;
    const { route, params } = router.matched();
    if (!session.me() && !route?.open) {
      const here = location.pathname + location.search;
      router.go(here === '/app' ? '/login.html' : `/login.html?next=${encodeURIComponent(here)}`, { replace: true });
      return;
    }
    if (session.me() && route?.tag === 'fl-login') {
      router.go(router.next(), { replace: true });
      return;
    }
    await this.show(route, params);
  }

  /**
   * @param {router.Route | null} route
   * @param {Record<string, string>} params
   */
  async show(route, params) {
    const key = `${route?.tag} ${JSON.stringify(params)} ${session.me()?.user_id}`;
    if (key === this.shown) {
      // The same page with another query.
      /** @type {Part | null} */ (this.page)?.dispatchEvent(new Event('query'));
      this.requestUpdate();
      return;
    }
    const isFirst = this.shown === '';
    this.shown = key;
    this.problem = null;
    this.page = null;
    if (route && !(route.needs && !session.may(route.needs))) {
      try {
        await route.load();
      } catch {
        // The files of another build are gone: the service was updated.
        if (this.shown === key) this.page = document.createElement('fl-outdated');
      }
      if (this.shown !== key) return;
      this.page ??= Object.assign(document.createElement(route.tag), { params });
    }
    scrollTo(0, 0);
    this.requestUpdate();
    await this.updateComplete;
    const heading = this.querySelector('main h1');
    document.title = heading ? `${heading.textContent?.trim()} · fleetlog` : 'fleetlog';
    // A browser begins at the top of a page by itself: there is the link to the content.
    if (!isFirst && heading instanceof HTMLElement && document.activeElement === document.body) {
      heading.tabIndex = -1;
      heading.focus({ preventScroll: true });
    }
  }

  cycleTheme() {
    chooseTheme(NEXT_THEME[theme()] ?? 'system');
    this.requestUpdate();
  }

  frame() {
    const me = session.me();
    if (!me) return nothing;
    const here = location.pathname.replace(/\/$/, '');
    const isHere = (/** @type {string} */ path) =>
      path === '/app' ? here === path : here === path || here.startsWith(`${path}/`) || WITHIN[here] === path;
    return html`<header class="top">
      <button
        class="plain square only-narrow"
        aria-expanded=${this.open}
        aria-controls="places"
        aria-label=${t('nav.menu')}
        @click=${() => (this.open = !this.open)}
      >
        ${icon(this.open ? 'close' : 'menu')}
      </button>
      <a class="brand" href="/app"><span class="mark" aria-hidden="true"></span>fleetlog</a>
      <nav id="places" class="places ${this.open ? 'open' : ''}" aria-label=${t('nav.label')}>
        ${groups().map(
          (group) =>
            html`<ul>
              ${group.map(
                (place) =>
                  html`<li>
                    <a href=${place.path} aria-current=${isHere(place.path) ? 'page' : nothing}
                      >${icon(place.icon)}<span>${t(place.key)}</span></a
                    >
                  </li>`,
              )}
            </ul>`,
        )}
      </nav>
      <div class="top-end">
        <button
          class="plain square"
          title=${t('shortcuts.title')}
          aria-label=${t('shortcuts.title')}
          @click=${showShortcuts}
        >
          ${icon('keyboard')}
        </button>
        <button
          class="plain square"
          title=${t('theme.now', { theme: word('theme', theme()) })}
          aria-label=${t('theme.now', { theme: word('theme', theme()) })}
          @click=${this.cycleTheme}
        >
          ${icon(THEME_ICONS[theme()])}
        </button>
        <a class="who" href="/app/account" title=${`${me.email} · ${me.tenant} · ${word('role', me.role)}`}
          ><span class="avatar" aria-hidden="true">${(me.name ?? me.email).charAt(0).toUpperCase()}</span
          ><span class="who-name">${me.name ?? me.email}</span></a
        >
      </div>
    </header>`;
  }

  body() {
    if (this.problem)
      return html`<div class="sheet narrow">
        <h1>fleetlog</h1>
        ${shown(this.problem)}<button class="primary" @click=${this.start}>${t('again')}</button>
      </div>`;
    if (!this.loaded) return waiting(4);
    if (this.page) return this.page;
    const { route } = router.matched();
    if (route && !session.me()) return nothing;
    if (route?.needs && !session.may(route.needs))
      return html`<div class="sheet narrow">
        <h1>${t('page.forbidden')}</h1>
        <p>${t('page.forbidden.why', { action: route.needs })}</p>
        <p><a href="/app">${t('page.home')}</a></p>
      </div>`;
    if (!route)
      return html`<div class="sheet narrow">
        <h1>${t('page.missing')}</h1>
        <p>${t('page.missing.why')}</p>
        <p><a href="/app">${t('page.home')}</a></p>
      </div>`;
    return waiting(6);
  }

  render() {
    const lost = connection.state() === 'lost';
    return html`<a class="skip" href="#main">${t('skip')}</a>
      ${this.frame()}
      <div class="lost ${lost ? 'visible' : ''}" role="status">
        ${lost ? html`<span class="spinner" aria-hidden="true"></span>${t('lost')}` : nothing}
      </div>
      <main id="main" tabindex="-1" class=${session.me() ? '' : 'alone'}>${this.body()}</main>
      <div class="said" role="status" aria-live="polite"></div>`;
  }
}
customElements.define('fl-app', App);
document.documentElement.lang = language;

class Outdated extends Part {
  render() {
    return html`<div class="sheet narrow">
      <h1>${t('page.outdated')}</h1>
      <p>${t('page.outdated.why')}</p>
      <button class="primary" @click=${() => location.reload()}>${t('page.reload')}</button>
    </div>`;
  }
}
customElements.define('fl-outdated', Outdated);
