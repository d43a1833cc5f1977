// The people of the tenant, for those who may see them: a user's id on the record becomes a name.

import { get } from '../api.js';
import { may, watch } from '../session.js';

/** @typedef {{ user_id: string, email: string, name: string | null, status: string, verified: boolean }} Person */

/** @type {Promise<Person[]> | null} */
let asked = null;
/** @type {Map<string, Person>} */
const known = new Map();

// Whoever logs in next may see others, or none.
watch(() => {
  asked = null;
  known.clear();
});

/** All of them; none for a viewer who may not see them. @returns {Promise<Person[]>} */
export function people() {
  if (!may('users.read')) return Promise.resolve([]);
  asked ??= ask().catch((problem) => {
    asked = null;
    throw problem;
  });
  return asked;
}

async function ask() {
  /** @type {Person[]} */
  const found = [];
  let cursor = null;
  do {
    const page = await get(`/users?limit=1000${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ''}`);
    found.push(...page.items);
    cursor = page.has_more ? page.next_cursor : null;
  } while (cursor);
  for (const person of found) known.set(person.user_id, person);
  return found;
}

/** What people call a user, once the people are known. @param {string} id */
export function nameOf(id) {
  const person = known.get(id);
  return person ? (person.name ?? person.email) : null;
}
