// The page's texts in the viewer's language, and times and numbers in the viewer's form and zone.

import { html } from '../vendor/lit/index.js';
import en from './i18n/en.js';
import { keep } from './settings.js';

/** @typedef {keyof typeof en} Key */
/** @typedef {Record<string, string | number>} Values */

export const LANGUAGES = /** @type {const} */ (['en', 'vi']);
export const language = document.documentElement.lang === 'vi' ? 'vi' : 'en';

/** @type {Record<string, string>} */
const texts = language === 'vi' ? (await import('./i18n/vi.js')).default : en;

/**
 * The text of a key. `{name}` in it stands for a value.
 * @param {Key} key
 * @param {Values} [values]
 */
export function t(key, values = {}) {
  return filled(texts[key] ?? key, values);
}

/** @param {string} text @param {Values} values */
function filled(text, values) {
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return value === undefined ? whole : typeof value === 'number' ? number(value) : value;
  });
}

/**
 * The text of a key that a value chooses; the value itself where there is no text for it.
 * @param {string} prefix
 * @param {string} value
 * @param {Values} [values]
 */
export function word(prefix, value, values = {}) {
  return filled(texts[`${prefix}.${value}`] ?? value, values);
}

/** @param {'en' | 'vi'} chosen */
export function chooseLanguage(chosen) {
  keep('language', chosen);
  location.reload();
}

const numbers = new Intl.NumberFormat(language, { maximumFractionDigits: 3 });
const short = new Intl.NumberFormat(language, { maximumSignificantDigits: 3, notation: 'compact' });
const relative = new Intl.RelativeTimeFormat(language, { numeric: 'auto', style: 'short' });
const moments = new Intl.DateTimeFormat(language, { dateStyle: 'medium', timeStyle: 'medium' });
const days = new Intl.DateTimeFormat(language, { dateStyle: 'full' });
const clock = new Intl.DateTimeFormat(language, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  hourCycle: 'h23',
});
const clockMs = new Intl.DateTimeFormat(language, {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
  fractionalSecondDigits: 3,
  hourCycle: 'h23',
});

/** @param {number} value */
export const number = (value) => numbers.format(value);

/** A number that has little room. @param {number} value */
export const shortNumber = (value) => (Math.abs(value) < 10_000 ? numbers.format(value) : short.format(value));

/** @param {string | Date} at */
export const moment = (at) => moments.format(new Date(at));

/** The day in the viewer's zone. @param {string | Date} at */
export const dayOf = (at) => days.format(new Date(at));

/** The time of day, with milliseconds. @param {string | Date} at */
export const exactly = (at) => clockMs.format(new Date(at));

/** @param {string | Date} at */
export const timeOfDay = (at) => clock.format(new Date(at));

/** What a time's tooltip says. @param {string | Date} at */
export const utc = (at) => `${new Date(at).toISOString().replace('T', ' ').replace('Z', '')} UTC`;

/** How long ago. @param {string | Date} at */
export function since(at) {
  const seconds = (new Date(at).getTime() - Date.now()) / 1000;
  const size = Math.abs(seconds);
  if (size < 60) return relative.format(Math.round(seconds), 'second');
  if (size < 3600) return relative.format(Math.round(seconds / 60), 'minute');
  if (size < 86_400) return relative.format(Math.round(seconds / 3600), 'hour');
  return relative.format(Math.round(seconds / 86_400), 'day');
}

/** @type {[Intl.NumberFormatOptions['unit'], number][]} */
const UNITS = [
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
  ['second', 1],
];

/** How long, in its two largest units. @param {number} seconds */
export function duration(seconds) {
  let rest = Math.max(0, Math.round(seconds));
  const parts = UNITS.flatMap(([unit, size]) => {
    const count = Math.floor(rest / size);
    rest -= count * size;
    return count ? [new Intl.NumberFormat(language, { style: 'unit', unit, unitDisplay: 'short' }).format(count)] : [];
  });
  return (
    parts.slice(0, 2).join(' ') ||
    new Intl.NumberFormat(language, { style: 'unit', unit: 'second', unitDisplay: 'short' }).format(0)
  );
}

/**
 * A time in the viewer's zone, with UTC on hover.
 * @param {string | null | undefined} at
 * @param {(at: string) => string} [form]
 */
export function when(at, form = moment) {
  return at ? html`<time datetime=${at} title=${utc(at)}>${form(at)}</time>` : html`<span class="none">–</span>`;
}

/** How long ago, with the time itself on hover. @param {string | null | undefined} at */
export function ago(at) {
  if (!at) return html`<span class="none">${t('never')}</span>`;
  return html`<time datetime=${at} title=${`${moment(at)} · ${utc(at)}`}>${since(at)}</time>`;
}
