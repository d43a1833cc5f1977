// Alarm rules, as they are read and written.

import { get, remove, rest } from '../api.js';

/** @typedef {import('./rule-text.js').Rule} Rule */
/** What a rule says: all of it but its name and version. @typedef {Omit<Rule, 'name' | 'version'>} Definition */

/** Where the viewer's last change of a rule is on the record: a list that is read after it has the change. @type {string | null} */
let written = null;

const path = (/** @type {string} */ name) => `/alarm-rules/${encodeURIComponent(name)}`;

/** @returns {Promise<Rule[]>} */
export async function listRules() {
  const { items } = await get(`/alarm-rules${written ? `?min_position=${written}` : ''}`);
  written = null;
  return items;
}

/** @param {string} name @returns {Promise<Rule>} */
export const readRule = (name) => get(path(name));

/**
 * Defines a rule, unless somebody else has changed it meanwhile.
 * @param {string} name
 * @param {Definition} definition
 * @param {number} replaces The version that was read; 0 for a new rule.
 * @returns {Promise<{ position: string | null }>}
 */
export async function saveRule(name, definition, replaces) {
  const answer = await rest('PUT', path(name), { body: { ...definition, replaces } });
  written = answer.position ?? written;
  return answer;
}

/** @param {string} name @returns {Promise<{ position: string | null }>} */
export async function removeRule(name) {
  const answer = await remove(path(name));
  written = answer.position ?? written;
  return answer;
}
