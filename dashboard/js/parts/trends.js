// How a metric of many devices went within the last hour: one question for all of them.

import { graphql } from '../api.js';

/** The windows, in seconds, and how many there are. The service prices a question by `points`. */
const STEP = { seconds: 120, name: '2m' };
const COUNT = 30;
/** The most devices of a question: each costs 122 of the 10,000 that a question may cost. */
export const MOST = 75;

/**
 * The mean of each window; `null` where a device had no reading.
 * @param {string[]} uids
 * @param {string} metric
 * @returns {Promise<Map<string, (number | null)[]>>}
 */
export async function trends(uids, metric) {
  const asked = uids.slice(0, MOST);
  if (asked.length === 0) return new Map();
  const first = (Math.floor(Date.now() / 1000 / STEP.seconds) - COUNT + 1) * STEP.seconds;
  const declared = asked.map((_, at) => `$u${at}: String!`).join(' ');
  const fields = asked.map(
    (_, at) => `d${at}: device(uid: $u${at}) { windows(metric: $metric, from: $from, step: "${STEP.name}",
      points: ${COUNT + 2}) { series { windows { start avg } } } }`,
  );
  const answer = await graphql(`query ($metric: String, $from: DateTime, ${declared}) { ${fields.join('\n')} }`, {
    metric,
    from: new Date(first * 1000).toISOString(),
    ...Object.fromEntries(asked.map((uid, at) => [`u${at}`, uid])),
  });
  return new Map(asked.map((uid, at) => [uid, slots(answer[`d${at}`]?.windows.series[0]?.windows ?? [], first)]));
}

/** @param {{ start: string, avg: number }[]} windows @param {number} first @returns {(number | null)[]} */
function slots(windows, first) {
  /** @type {(number | null)[]} */
  const values = Array.from({ length: COUNT }, () => null);
  for (const { start, avg } of windows) {
    const at = Math.round((Date.parse(start) / 1000 - first) / STEP.seconds);
    if (at >= 0 && at < COUNT) values[at] = avg;
  }
  return values;
}
