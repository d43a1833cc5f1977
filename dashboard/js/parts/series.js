// What charts are drawn from: statistics of windows for long ranges, single readings for short ones.

import { graphql } from '../api.js';
import { metrics } from './readings.js';

/** @typedef {import('./chart.js').Data} Data */
/** @typedef {import('./readings.js').Reading} Reading */
/** @typedef {{ start: string, end: string, avg: number, min: number, max: number }} Window */

/** The longest range for which single readings are asked for, in seconds, and the most of them. */
const RAW = { span: 3600, most: 2000, page: 1000 };
/** The steps of windows, in seconds, and about how many a chart shows. */
const STEPS = /** @type {const} */ ([
  [60, '1m'],
  [120, '2m'],
  [300, '5m'],
  [600, '10m'],
  [900, '15m'],
  [1800, '30m'],
  [3600, '1h'],
  [7200, '2h'],
  [10_800, '3h'],
  [21_600, '6h'],
  [43_200, '12h'],
  [86_400, '1d'],
  [604_800, '7d'],
]);
const WINDOWS = 420;
/** A pause this many times as long as usual, and longer than this many seconds, is a gap. */
const GAP = { times: 3, least: 4 };

const READINGS = `query ($uid: String!, $from: DateTime, $to: DateTime, $first: Int, $after: String) { device(uid: $uid) {
  telemetry(from: $from, to: $to, order: ASC, first: $first, after: $after) { totalCount pageInfo { endCursor
    hasNextPage } nodes { ts recordedAt position msgId flags payload } } } }`;

/** @param {number} span In seconds. */
export function stepFor(span) {
  return STEPS.find(([seconds]) => span / seconds <= WINDOWS) ?? [604_800, '7d'];
}

const iso = (/** @type {number} */ seconds) => new Date(seconds * 1000).toISOString();

/**
 * The readings of a range; `null` if there are too many to draw one by one.
 * @param {string} uid
 * @param {[number, number]} range
 * @returns {Promise<Reading[] | null>}
 */
export async function rawReadings(uid, [from, to]) {
  if (to - from > RAW.span) return null;
  /** @type {Reading[]} */
  const readings = [];
  let after = null;
  do {
    const { device } = await graphql(READINGS, { uid, from: iso(from), to: iso(to), first: RAW.page, after });
    const page = device.telemetry;
    if (page.totalCount > RAW.most) return null;
    readings.push(...page.nodes);
    after = page.pageInfo.hasNextPage ? page.pageInfo.endCursor : null;
  } while (after);
  return readings;
}

/**
 * The latest readings before a moment, newest first.
 * @param {string} uid
 * @param {number} until In seconds.
 * @param {number} count
 * @returns {Promise<Reading[]>}
 */
export async function latestReadings(uid, until, count) {
  const { device } = await graphql(
    'query ($uid: String!, $to: DateTime, $first: Int) { device(uid: $uid) { telemetry(to: $to, order: DESC, first: $first) { nodes { ts recordedAt position msgId flags payload } } } }',
    { uid, to: iso(until), first: count },
  );
  return device?.telemetry.nodes ?? [];
}

/**
 * The windows of some metrics, by metric.
 * @param {string} uid
 * @param {[number, number]} range
 * @param {string[]} names
 * @returns {Promise<Record<string, Window[]>>}
 */
export async function windows(uid, [from, to], names) {
  const [, step] = stepFor(to - from);
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const declared = names.map((_, at) => `$m${at}: String`).join(', ');
  const fields = names
    .map(
      (_, at) =>
        `m${at}: windows(metric: $m${at}, from: $from, to: $to, step: $step, tz: $tz) { series { metric windows {
          start end avg min max } } }`,
    )
    .join('\n');
  if (names.length === 0) return {};
  const variables = Object.fromEntries(names.map((name, at) => [`m${at}`, name]));
  const { device } = await graphql(
    `query ($uid: String!, $from: DateTime, $to: DateTime, $step: String, $tz: String, ${declared}) { device(uid:
      $uid) { ${fields} } }`,
    { uid, from: iso(from), to: iso(to), step, tz: zone, ...variables },
  );
  return Object.fromEntries(names.map((name, at) => [name, device?.[`m${at}`].series[0]?.windows ?? []]));
}

/** The metrics that a device has had in a range. @param {string} uid @param {[number, number]} range @returns {Promise<string[]>} */
export async function metricNames(uid, [from, to]) {
  const { device } = await graphql(
    'query ($uid: String!, $from: DateTime, $to: DateTime, $step: String) { device(uid: $uid) { windows(from: $from, to: $to, step: $step, points: 3) { series { metric } } } }',
    { uid, from: iso(from), to: iso(to), step: to - from > 86_400 ? '1d' : '1h' },
  );
  return device?.windows.series.map((/** @type {{ metric: string }} */ one) => one.metric) ?? [];
}

/** Readings as a chart of one metric. @param {Reading[]} readings @param {string} metric @param {[number, number]} range @returns {Data} */
export function fromReadings(readings, metric, [from, to]) {
  const points = readings
    .map((reading) => ({
      at: new Date(reading.ts).getTime() / 1000,
      value: metrics(reading.payload)[metric],
      late: reading.flags.includes('late'),
    }))
    .filter((point) => point.value !== undefined)
    .sort((one, other) => one.at - other.at);
  const pauses = points
    .slice(1)
    .map((point, at) => point.at - (points[at]?.at ?? 0))
    .sort((one, other) => one - other);
  const usual = pauses[Math.floor(pauses.length / 2)] ?? 0;
  const long = Math.max(usual * GAP.times, GAP.least);
  /** @type {Required<Pick<Data, 'at' | 'value' | 'late' | 'gaps'>>} */
  const data = { at: [], value: [], late: [], gaps: [] };
  points.forEach((point, index) => {
    const before = points[index - 1];
    if (before && point.at - before.at > long) hole(data, before.at, point.at);
    data.at.push(point.at);
    data.value.push(point.value ?? null);
    data.late.push(point.late ? (point.value ?? null) : null);
  });
  const [first, last] = [points[0], points.at(-1)];
  if (first && first.at - from > long) data.gaps.push([from, first.at]);
  if (last && to - last.at > long) data.gaps.push([last.at, to]);
  return data;
}

/** @param {Required<Pick<Data, 'at' | 'value' | 'late' | 'gaps'>>} data @param {number} from @param {number} to */
function hole(data, from, to) {
  data.at.push((from + to) / 2);
  data.value.push(null);
  data.late.push(null);
  data.gaps.push([from, to]);
}

/** Windows as a chart. @param {Window[]} list @param {[number, number]} range @returns {Data} */
export function fromWindows(list, [from, to]) {
  const [step] = stepFor(to - from);
  /** @type {Required<Pick<Data, 'at' | 'value' | 'least' | 'most' | 'gaps'>>} */
  const data = { at: [], value: [], least: [], most: [], gaps: [] };
  list.forEach((window, index) => {
    const [start, end] = [new Date(window.start).getTime() / 1000, new Date(window.end).getTime() / 1000];
    const before = list[index - 1];
    const last = before ? new Date(before.end).getTime() / 1000 : start;
    if (start - last > 1) {
      data.at.push((last + start) / 2);
      data.gaps.push([last, start]);
      for (const series of [data.value, data.least, data.most]) series.push(null);
    }
    data.at.push((start + end) / 2);
    data.value.push(window.avg);
    data.least.push(window.min);
    data.most.push(window.max);
  });
  const [first, last] = [list[0], list.at(-1)];
  if (first && Date.parse(first.start) / 1000 - from > step) data.gaps.push([from, Date.parse(first.start) / 1000]);
  if (last && to - Date.parse(last.end) / 1000 > step) data.gaps.push([Date.parse(last.end) / 1000, to]);
  return data;
}
