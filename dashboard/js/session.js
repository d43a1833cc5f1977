// Who is logged in, and what they may do. The session itself is in a cookie that no script can read.

import { get, post, whenSessionEnds } from './api.js';
import { keep, kept } from './settings.js';

/**
 * @typedef {object} Me
 * @property {string} user_id
 * @property {string} email
 * @property {string | null} name
 * @property {string} tenant
 * @property {string} role
 * @property {boolean} verified
 * @property {string[]} may
 */

/** @type {Me | null} */
let current = null;
const target = new EventTarget();

/** How often the cookie's token is replaced by the next, so that a copy of it is soon worth nothing. */
const ROTATE = 60 * 60 * 1000;
/** How long the service lets a token be used up again, less a margin. */
const AGAIN = 8000;

export const me = () => current;

/** Whether the viewer may do an action, such as `devices.write`. @param {string} action */
export const may = (action) => current?.may.includes(action) ?? false;

/** @param {() => void} changed */
export function watch(changed) {
  target.addEventListener('change', changed);
}

/** @param {Me | null} next */
function become(next) {
  current = next;
  if (next && !kept('rotated')) keep('rotated', `${Date.now()}`);
  // Whether to ask who is logged in on a page that needs nobody to be.
  keep('in', next ? 'yes' : null);
  target.dispatchEvent(new Event('change'));
}

/** Finds out who is logged in. */
export async function load() {
  try {
    become(await get('/api/me', { stranger: true }));
  } catch (problem) {
    if (/** @type {import('./api.js').Problem} */ (problem).status !== 401) throw problem;
    become(null);
  }
}

/**
 * @param {string} email
 * @param {string} password
 */
export async function logIn(email, password) {
  const logged = await post('/api/login', { email, password }, { stranger: true });
  keep('rotated', `${Date.now()}`);
  become(logged);
}

export async function logOut() {
  await post('/api/logout', undefined, { stranger: true });
  become(null);
}

/** Takes the account over as it is after a change. @param {Me} next */
export const changed = (next) => become(next);

whenSessionEnds(() => become(null));

/** Replaces the token, in one of the browser's tabs. An answer that is lost is asked for again while that is allowed. */
async function rotate() {
  await navigator.locks?.request('fleetlog.rotate', { ifAvailable: true }, async (lock) => {
    const due = Number(kept('rotated') ?? 0) + ROTATE < Date.now();
    if (!lock || !due || !current) return;
    const until = Date.now() + AGAIN;
    while (Date.now() < until) {
      try {
        await post('/auth/refresh', {}, { stranger: true });
        keep('rotated', `${Date.now()}`);
        return;
      } catch (problem) {
        if (/** @type {import('./api.js').Problem} */ (problem).status !== 0) return;
        await new Promise((wake) => setTimeout(wake, 1000));
      }
    }
  });
}

setInterval(rotate, 60_000);
