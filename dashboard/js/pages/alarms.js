// The alarms of the fleet: the open ones first, then what has been.

import { t, word } from '../i18n.js';
import '../parts/alarm-list.js';
import { SEVERITIES, countOpen } from '../parts/alarms.js';
import { icon } from '../parts/icons.js';
import { AskingPart, empty, html, nothing, shown } from '../parts/part.js';
import { go, query, withQuery } from '../router.js';
import { may } from '../session.js';

const EVERY = 10_000;
const STATES = /** @type {const} */ (['', 'open', 'raised', 'acknowledged', 'cleared']);
/** How far back alarms are listed, in seconds. */
const SPANS = /** @type {const} */ ({ '1h': 3600, '24h': 86_400, '7d': 604_800, '30d': 2_592_000 });
/** How long changes are collected before the open alarms are counted anew, in milliseconds. */
const TOGETHER = 300;

class Alarms extends AskingPart {
  static properties = { open: { state: true } };

  constructor() {
    super();
    /** How many are open, by severity. @type {Record<string, number | null> | null} */
    this.open = null;
    this.typing = 0;
    this.counting = 0;
    /** The span, and the moment at which it begins: it stays while the page shows it. */
    this.span = { name: '', from: '' };
  }

  connectedCallback() {
    super.connectedCallback();
    this.addEventListener('query', () => this.requestUpdate());
    this.addEventListener('alarms', () => this.countSoon());
    this.whenGone(() => clearTimeout(this.counting));
    this.every(EVERY, () => this.count());
  }

  countSoon() {
    this.counting ||= window.setTimeout(() => {
      this.counting = 0;
      this.count();
    }, TOGETHER);
  }

  count() {
    return this.attempt(async () => {
      this.open = await countOpen();
    });
  }

  /** @returns {import('../parts/alarm-list.js').Filter} */
  get filter() {
    const [state, severity, deviceUid, rule] = ['state', 'severity', 'device', 'rule'].map((name) => query(name));
    const span = query('span') ?? '';
    if (span !== this.span.name) {
      const seconds = SPANS[/** @type {keyof typeof SPANS} */ (span)];
      this.span = { name: span, from: seconds ? new Date(Date.now() - seconds * 1000).toISOString() : '' };
    }
    return {
      ...(state ? { state: state.toUpperCase() } : {}),
      ...(severity ? { severity: severity.toUpperCase() } : {}),
      ...(deviceUid ? { deviceUid } : {}),
      ...(rule ? { rule } : {}),
      ...(this.span.from ? { from: this.span.from } : {}),
    };
  }

  /** @param {Event} event */
  type(event) {
    clearTimeout(this.typing);
    const text = /** @type {HTMLInputElement} */ (event.target).value.trim();
    this.typing = window.setTimeout(() => go(withQuery({ device: text }), { replace: true }), 300);
  }

  /** @param {string} name @param {string} label @param {readonly string[]} values @param {(value: string) => string} text */
  choice(name, label, values, text) {
    const now = query(name) ?? '';
    return html`<label class="visually-hidden" for=${name}>${label}</label
      ><select
        id=${name}
        @change=${(/** @type {Event} */ event) => go(withQuery({ [name]: /** @type {HTMLSelectElement} */ (event.target).value }))}
      >
        ${['', ...values].map((one) => html`<option value=${one} ?selected=${now === one}>${text(one || 'all')}</option>`)}
      </select>`;
  }

  tools() {
    const state = query('state') ?? '';
    const rule = query('rule');
    return html`<div class="choices" role="group" aria-label=${t('status')}>
        ${STATES.map((one) => html`<a href=${withQuery({ state: one })} aria-current=${state === one ? 'true' : nothing}>${word('alarms.state', one || 'all')}</a>`)}
      </div>
      ${this.choice('severity', t('alarm.severity'), SEVERITIES, (one) => word('severity', one))}
      ${this.choice('span', t('alarms.span'), Object.keys(SPANS), (one) => word('alarms.span', one))}
      <div class="search">
        ${icon('search')}<input
          type="search"
          aria-label=${t('commands.device')}
          placeholder=${t('commands.device')}
          .value=${query('device') ?? ''}
          @input=${this.type}
        />
      </div>
      ${
        rule
          ? html`<a class="button" href=${withQuery({ rule: null })} aria-label=${t('filter.drop', { value: rule })}
              >${t('alarm.rule')}: ${rule}${icon('close')}</a
            >`
          : nothing
      }`;
  }

  none() {
    if (location.search) return empty(t('alarms.none.filtered'), html`<a href="/app/alarms">${t('alarms.all')}</a>`);
    const rules = may('alarm_rules.write')
      ? html`<p><a class="button primary" href="/app/alarms/new-rule">${icon('plus')}${t('rules.new')}</a></p>`
      : nothing;
    return empty(
      t('alarms.none'),
      html`<p>${t('alarms.none.next')}</p>
        ${rules}`,
    );
  }

  /** How many are open, the worst first: each number leads to them. */
  counts() {
    const { open } = this;
    if (!open) return nothing;
    return html`<ul class="severities" aria-label=${t('alarms.open')}>
      ${SEVERITIES.map((one) => {
        const count = open[one];
        const here = query('state') === 'open' && query('severity') === one;
        return html`<li>
          <a
            class="sheet severity ${count ? one : ''}"
            href=${`/app/alarms?state=open&severity=${one}`}
            aria-current=${here ? 'true' : nothing}
            ><b>${count ?? '–'}</b><span>${word('severity', one)}</span></a
          >
        </li>`;
      })}
    </ul>`;
  }

  render() {
    return html`<div class="page-head">
        <div class="grow">
          <h1>${t('nav.alarms')}</h1>
          <p class="sub">${t('alarms.sub')}</p>
        </div>
        ${may('alarm_rules.read') ? html`<a class="button" href="/app/alarms/rules">${t('rules')}</a>` : nothing}
      </div>
      ${this.problem && this.problem.status !== 0 ? shown(this.problem) : nothing}${this.counts()}
      <fl-alarm-list .filter=${this.filter} .tools=${this.tools()} .none=${this.none()}></fl-alarm-list>`;
  }
}
customElements.define('fl-alarms', Alarms);
