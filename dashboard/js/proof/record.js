// The record of an event: every stored column, byte for byte, as docs/PROOF.md lays it out.

import { Malformed, decimal, integer, joined, utf8 } from './bytes.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */
/** @typedef {'text' | 'time' | 2 | 4 | 8} Kind A text, a time, or an integer of so many bytes. */
/** @typedef {Record<string, string | number>} Event An event with its stored columns, as a line of a bundle has it. */

/** @type {[string, Kind][]} */
const CONTROL = [
  ['log_id', 4],
  ['position', 8],
  ['aggregate_type', 'text'],
  ['aggregate_id', 'text'],
  ['sequence', 8],
  ['event_type', 'text'],
  ['event_version', 'text'],
  ['payload', 'text'],
  ['metadata', 'text'],
  ['occurred_at', 'time'],
  ['recorded_at', 'time'],
];
/** @type {[string, Kind][]} */
const TELEMETRY = [
  ['log_id', 4],
  ['position', 8],
  ['occurred_at', 'time'],
  ['recorded_at', 'time'],
  ['flags', 2],
  ['aggregate_id', 'text'],
  ['msg_id', 'text'],
  ['payload', 'text'],
];
/** Microseconds from 1970 to 2000, from which a record counts. */
const SINCE_1970 = 946_684_800_000_000n;
/** Half of a pair, which UTF-8 cannot write. */
const LONE = /\p{Surrogate}/u;
const TIME = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{6})Z$/;

/** The columns of an event's lane. @param {object} event */
export const columnsOf = (event) => ('flags' in event ? TELEMETRY : CONTROL);

/** @param {unknown} value @param {Kind} kind @returns {Bytes | null} */
function bytesOf(value, kind) {
  if (kind === 'text') return typeof value === 'string' && !LONE.test(value) ? utf8(value) : null;
  if (kind === 'time') {
    const micros = typeof value === 'string' ? microseconds(value) : null;
    return micros === null ? null : integer(micros, 8);
  }
  if (typeof value !== 'number' || !Number.isSafeInteger(value)) return null;
  const most = kind === 8 ? Infinity : 2 ** (8 * kind - 1);
  return value < most && value >= -most ? integer(BigInt(value), kind) : null;
}

/** @param {string} text Microseconds since 2000 of a time with six decimals; `null` for other text. */
function microseconds(text) {
  const [, seconds, fraction] = TIME.exec(text) ?? [];
  const at = new Date(`${seconds}Z`);
  if (Number.isNaN(at.getTime()) || at.toISOString().slice(0, 19) !== seconds) return null;
  return BigInt(at.getTime()) * 1000n + BigInt(fraction ?? 0) - SINCE_1970;
}

/**
 * The columns of an event, each with its bytes in the record.
 * @param {Event} event
 * @returns {{ name: string, value: string | number, bytes: Bytes }[]}
 */
export function columns(event) {
  const all = columnsOf(event);
  const named = all.map(([name]) => name);
  const extra = Object.keys(event).find((name) => !named.includes(name));
  if (extra) throw new Malformed('column_extra', { column: extra });
  return all.map(([name, kind]) => {
    const bytes = bytesOf(event[name], kind);
    if (!bytes) throw new Malformed(name in event ? 'column_bad' : 'column_missing', { column: name });
    return { name, value: /** @type {string | number} */ (event[name]), bytes };
  });
}

/** @param {Event} event @returns {Bytes} */
export function record(event) {
  const all = columns(event);
  const parts = all.flatMap(({ bytes }) => [integer(BigInt(bytes.length), 4), bytes]);
  return joined(integer(BigInt(all.length), 2), ...parts);
}

/** Reads an event from a line of a bundle. @param {string} text @returns {Event} */
export function readEvent(text) {
  let event;
  try {
    event = JSON.parse(text);
  } catch {
    throw new Malformed('event_not_json');
  }
  if (!event || typeof event !== 'object' || Array.isArray(event)) throw new Malformed('event_not_json');
  if (typeof event.payload === 'object' && event.payload) throw new Malformed('event_shown');
  // A member that is there twice would be read as one thing here and as another elsewhere.
  const strings = text.matchAll(/"(?:[^"\\]|\\.)*"(\s*:)?/g);
  const members = Array.from(strings).filter(([, colon]) => colon).length;
  if (members !== Object.keys(event).length) throw new Malformed('event_twice');
  if (decimal(`${event.position}`) === null) throw new Malformed('column_bad', { column: 'position' });
  columns(event);
  return event;
}

/** The line that `readEvent` reads. @param {Event} event */
export const writeEvent = (event) =>
  JSON.stringify(Object.fromEntries(columnsOf(event).map(([name]) => [name, event[name]])));
