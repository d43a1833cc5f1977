// What is decided about a tenant: each setting with what it means, its default and its range; and the form that changes them.

import { number, t, word } from '../i18n.js';
import { choiceField, numberField, numberOf } from './fields.js';
import { html } from './part.js';

/**
 * @typedef {{
 *   tenant: string, created_at: string, suspended_at: string | null, tier: string, self_registration: boolean,
 *   registration: string, retention_days: number | null, max_devices: number | null, max_users: number | null
 * }} Tenant
 */

/**
 * @typedef {object} Setting
 * @property {'registration' | 'self_registration' | 'retention_days' | 'tier' | 'max_devices' | 'max_users'} name
 * @property {boolean} own Whether the tenant's own admins decide it; else the platform's.
 * @property {string | boolean | null} initial What it is until somebody decides.
 * @property {string[] | [number, number]} [range]
 */

/** The largest number that the service keeps. */
const MOST = 2_147_483_647;

/** @type {Setting[]} */
export const SETTINGS = [
  { name: 'self_registration', own: true, initial: true },
  { name: 'registration', own: true, initial: 'off', range: ['off', 'invite', 'open'] },
  { name: 'retention_days', own: true, initial: null, range: [1, 36_500] },
  { name: 'tier', own: false, initial: 'free' },
  { name: 'max_devices', own: false, initial: null, range: [0, MOST] },
  { name: 'max_users', own: false, initial: null, range: [1, MOST] },
];

/** A setting's value in words. @param {Setting} setting @param {unknown} value */
export function valueText({ name }, value) {
  if (typeof value === 'boolean') return t(value ? 'yes' : 'no');
  if (name === 'registration') return word('setting.registration', `${value}`);
  if (value === null || value === undefined)
    return t(name === 'retention_days' ? 'setting.retention.all' : 'setting.any');
  if (name === 'retention_days') return t('setting.days', { n: Number(value) });
  return typeof value === 'number' ? number(value) : `${value}`;
}

/** What a setting may be, in words. @param {Setting} setting */
export function rangeText(setting) {
  const { name, range } = setting;
  if (name === 'self_registration') return `${t('yes')}, ${t('no')}`;
  if (!range) return t('setting.tier.range');
  const [least, most] = range;
  if (most === MOST) return t('setting.least', { least, none: valueText(setting, null) });
  if (typeof least === 'number' && typeof most === 'number')
    return t('setting.range', { least, most, none: valueText(setting, null) });
  return range.map((one) => valueText(setting, one)).join(', ');
}

/**
 * The fields for some settings.
 * @param {Setting[]} settings
 * @param {Partial<Tenant>} now
 * @param {{ problem: import('../api.js').Problem | null, tiers?: string[] }} more
 */
export function settingFields(settings, now, { problem, tiers = [] }) {
  return settings.map((setting) => {
    const { name, range, initial } = setting;
    const value = now[name] === undefined ? initial : now[name];
    const what = { name, label: word('setting', name), hint: word('setting.says', name), problem };
    if (name === 'self_registration')
      return choiceField({
        ...what,
        value: `${value}`,
        options: ['true', 'false'].map((one) => ({ value: one, text: t(one === 'true' ? 'yes' : 'no') })),
      });
    if (name === 'tier')
      return choiceField({ ...what, value: `${value}`, options: tiers.map((tier) => ({ value: tier, text: tier })) });
    const [least, most] = range ?? [];
    if (typeof least === 'number' && typeof most === 'number')
      return numberField({
        ...what,
        least,
        most,
        optional: true,
        value: /** @type {number | null} */ (value),
        hint: html`${what.hint} ${t('setting.empty', { none: valueText(setting, null) })}`,
      });
    return choiceField({
      ...what,
      value: `${value}`,
      options: /** @type {string[]} */ (range).map((one) => ({ value: one, text: valueText(setting, one) })),
    });
  });
}

/**
 * The settings that a form changes.
 * @param {Setting[]} settings
 * @param {Partial<Tenant>} now
 * @param {FormData} form
 */
export function settingChanges(settings, now, form) {
  const entries = settings.flatMap(({ name, range, initial }) => {
    const isNumber = typeof range?.[0] === 'number';
    const text = `${form.get(name) ?? ''}`;
    const value = isNumber ? numberOf(form, name) : name === 'self_registration' ? text === 'true' : text;
    return value === (now[name] === undefined ? initial : now[name]) ? [] : [[name, value]];
  });
  return Object.fromEntries(entries);
}
