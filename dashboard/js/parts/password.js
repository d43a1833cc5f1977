// A field for a new password, with how hard it is to guess while it is typed. The service has the last word: it knows more
// passwords than a page can carry.

import { t, word } from '../i18n.js';
import { Part, html, nothing } from './part.js';

/** The shortest password that the service takes, and the longest in bytes. */
export const LENGTH = { least: 12, most: 256 };

/** Passwords that people choose often, and attackers try first. */
const COMMON = [
  'password',
  'passwort',
  'matkhau',
  'admin',
  'welcome',
  'letmein',
  'dragon',
  'monkey',
  'iloveyou',
  'football',
  'sunshine',
  'princess',
  'master',
  'shadow',
  'qwerty',
  'qwertz',
  'asdf',
  'zxcv',
  'fleetlog',
  'abc123',
  '123456',
  '111111',
  'secret',
  'changeme',
];
const ROWS = ['abcdefghijklmnopqrstuvwxyz', 'qwertyuiop', 'asdfghjkl', 'zxcvbnm', '01234567890'];

/** Whether two characters follow each other on a keyboard, in the alphabet or among digits. @param {string} one @param {string} other */
const follow = (one, other) => ROWS.some((row) => row.includes(one + other) || row.includes(other + one));

/**
 * How hard a password is to guess: 0, not taken, to 4.
 * @param {string} password
 * @param {string[]} known What an attacker may know of the user.
 */
export function strength(password, known = []) {
  const bytes = new TextEncoder().encode(password).length;
  if ([...password].length < LENGTH.least || bytes > LENGTH.most) return 0;
  let rest = password.toLowerCase();
  let bits = 0;
  for (const part of [...known.flatMap((text) => text.toLowerCase().split(/[^\p{L}\p{N}]+/u)), ...COMMON]) {
    if (part.length < 3 || !rest.includes(part)) continue;
    rest = rest.replaceAll(part, ' ');
    bits += 5;
  }
  const classes = [/[a-z]/, /[A-Z]/, /[0-9]/, /[^a-zA-Z0-9]/].filter((one) => one.test(password)).length;
  const each = Math.log2([10, 26, 40, 60, 80][classes] ?? 80) * 0.62;
  const seen = new Set();
  for (let at = 0; at < rest.length; at += 1) {
    const [before, now] = [rest.charAt(at - 1), rest.charAt(at)];
    const cheap = now === before || follow(before, now) || now === ' ';
    bits += cheap ? 0.5 : seen.has(now) ? each * 0.8 : each;
    seen.add(now);
  }
  return bits < 27 ? 1 : bits < 36 ? 2 : bits < 48 ? 3 : 4;
}

export class PasswordField extends Part {
  static properties = {
    name: {},
    label: {},
    fresh: { type: Boolean },
    optional: { type: Boolean },
    known: { attribute: false },
    wrong: {},
    value: { state: true },
    seen: { state: true },
  };

  constructor() {
    super();
    this.name = 'password';
    this.label = '';
    this.fresh = false;
    this.optional = false;
    /** @type {string[]} */
    this.known = [];
    /** @type {string | null} */
    this.wrong = null;
    this.value = '';
    this.seen = false;
  }

  meter() {
    const length = [...this.value].length;
    const score = strength(this.value, this.known);
    const says =
      length === 0 || length < LENGTH.least
        ? t('password.rule', { n: LENGTH.least })
        : word('password.strength', `${score}`);
    return html`<div class="strength s${score}" aria-hidden="true">
        <span></span><span></span><span></span><span></span>
      </div>
      <p class="hint" id="${this.name}-hint" aria-live="polite">${says}</p>`;
  }

  render() {
    return html`<div class="field">
      <label for=${this.name}
        >${this.label}${this.optional ? html` <span class="faint">${t('optional')}</span>` : nothing}</label
      >
      <div class="password">
        <input
          id=${this.name}
          name=${this.name}
          type=${this.seen ? 'text' : 'password'}
          ?required=${!this.optional}
          maxlength=${LENGTH.most}
          minlength=${this.fresh ? LENGTH.least : nothing}
          autocomplete=${this.fresh ? 'new-password' : 'current-password'}
          aria-invalid=${this.wrong ? 'true' : nothing}
          aria-describedby=${this.fresh ? `${this.name}-hint` : nothing}
          @input=${(/** @type {InputEvent} */ event) => (this.value = /** @type {HTMLInputElement} */ (event.target).value)}
        />
        <button type="button" class="plain" aria-pressed=${this.seen} @click=${() => (this.seen = !this.seen)}>
          ${this.seen ? t('password.hide') : t('password.show')}
        </button>
      </div>
      ${this.fresh ? this.meter() : nothing} ${this.wrong ? html`<p class="wrong">${this.wrong}</p>` : nothing}
    </div>`;
  }
}
customElements.define('fl-password', PasswordField);
