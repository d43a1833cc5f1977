// Whether the service can be reached. Requests and the live connection tell; the page shows it.

/** @typedef {'up' | 'lost'} State */

const target = new EventTarget();
/** @type {Set<string>} */
const lost = new Set();

/** @returns {State} */
export const state = () => (lost.size > 0 ? 'lost' : 'up');

/**
 * Notes whether one of the two ways to the service works.
 * @param {'requests' | 'live'} way
 * @param {boolean} works
 */
export function note(way, works) {
  const before = state();
  if (works) lost.delete(way);
  else lost.add(way);
  if (state() !== before) target.dispatchEvent(new Event('change'));
}

/**
 * Calls back on each change. Returns what ends that.
 * @param {() => void} changed
 */
export function watch(changed) {
  target.addEventListener('change', changed);
  return () => target.removeEventListener('change', changed);
}
