// The roles that come with fleetlog, and actions as people read them.

import { t, word } from '../i18n.js';
import { grouped } from './groups.js';

/** @typedef {{ role: string, actions: string[] }} Role */

export const ROLES = /** @type {const} */ (['admin', 'operator', 'analyst', 'auditor', 'viewer']);

/** The roles as a form offers them: each with what it is for. */
export const roleOptions = () =>
  ROLES.map((role) => ({ value: role, text: `${word('role', role)}: ${word('role.says', role)}` }));

/** What an action is about: `devices.read` is about devices. @param {string} action */
const areaOf = (action) => action.slice(0, action.lastIndexOf('.'));

/** An action in words. @param {string} action */
export const actionName = (action) => word('action', action);

/** What actions are about, in words. @param {string} area */
export const areaName = (area) => word('area', area);

/**
 * Actions by what they are about, in their order.
 * @param {string[]} actions
 * @returns {[string, string[]][]}
 */
export const byArea = (actions) => [...grouped(actions, areaOf)];

/** A user as people name one. @param {{ name: string | null, email: string }} user */
export const nameOfUser = (user) => (user.name ? `${user.name} <${user.email}>` : user.email);

/** How a decision names who decided: a role, the key itself, or a policy of the tenant. @param {string} rule */
export function ruleName(rule) {
  if (rule === 'key') return t('check.rule.key');
  return rule.startsWith('role:')
    ? t('check.rule.role', { role: word('role', rule.slice(5)) })
    : t('check.rule.policy', { name: rule });
}
