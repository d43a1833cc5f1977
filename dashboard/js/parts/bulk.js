// Work on many things, one request each: a few at a time, as fast as the service's limits allow, until it is stopped.

import { asProblem } from './part.js';

/** How many requests are under way at a time. */
const AT_ONCE = 6;
/** How long to wait where the service does not say, in milliseconds. */
const PAUSE = 2000;
/** How often a request is tried while the service is away or busy. */
const TRIES = 30;

/**
 * @template T
 * @typedef {{ item: T, problem: import('../api.js').Problem | null, outcome: string }} Result
 */

/**
 * @template T
 * @param {T[]} items
 * @param {(item: T) => Promise<string>} work What is done with one of them; it says how that went in a word.
 * @param {(result: Result<T>) => void} told
 * @param {AbortSignal} stop
 */
export async function each(items, work, told, stop) {
  let next = 0;
  let until = 0;
  const turn = async () => {
    while (next < items.length && !stop.aborted) {
      const item = /** @type {T} */ (items[next]);
      next += 1;
      for (let tries = 1; ; tries += 1) {
        while (Date.now() < until && !stop.aborted) await sleep(until - Date.now());
        try {
          told({ item, problem: null, outcome: await work(item) });
          break;
        } catch (error) {
          const problem = asProblem(error);
          const waits = [0, 429, 502, 503, 504].includes(problem.status);
          if (!waits || tries >= TRIES || stop.aborted) {
            told({ item, problem, outcome: 'failed' });
            break;
          }
          until = Math.max(until, Date.now() + (problem.retryAfter ? problem.retryAfter * 1000 : PAUSE));
        }
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, turn));
}

const sleep = (/** @type {number} */ ms) => new Promise((wake) => setTimeout(wake, Math.min(ms, 1000)));
