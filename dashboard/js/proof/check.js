// Whether a log has an event, and whether one checkpoint goes on from another: each step with what was computed, and the reason
// where something does not fit. The page puts codes into words.

import { Malformed, hex, same } from './bytes.js';
import { canVerify, signers } from './note.js';
import { columns, record } from './record.js';
import { climb, consistency, leaf } from './tree.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */
/** @typedef {import('./note.js').Key} Key */
/** @typedef {import('./note.js').Checkpoint} Checkpoint */
/** @typedef {import('./note.js').Signed} Signed */
/** @typedef {import('./given.js').Proof} Proof */
/** @typedef {'record' | 'place' | 'path' | 'root' | 'signature' | 'old_signature' | 'growth'} StepName */
/**
 * @typedef {object} Step
 * @property {StepName} step
 * @property {'good' | 'bad' | 'unknown'} state
 * @property {string} [reason] Why it is not good: the code of a text.
 * @property {Record<string, string | number>} values What the text speaks of.
 */
/**
 * @typedef {object} Report
 * @property {Step[]} steps
 * @property {'good' | 'bad' | 'unknown'} verdict Bad if a step is, unknown if one could not be done.
 * @property {Signed | null} signed
 * @property {{ bytes: Bytes, leaf: Bytes, path: import('./tree.js').Step[], root: Bytes | null } | null} computed
 */

/** @param {Step[]} steps @param {Signed | null} signed @param {Report['computed']} computed @returns {Report} */
function report(steps, signed, computed) {
  const has = (/** @type {Step['state']} */ state) => steps.some((step) => step.state === state);
  return { steps, verdict: has('bad') ? 'bad' : has('unknown') ? 'unknown' : 'good', signed, computed };
}

/** @param {StepName} step @param {string | false | null} reason @param {Step['values']} [values] @returns {Step} */
const judged = (step, reason, values = {}) =>
  reason ? { step, state: 'bad', reason, values } : { step, state: 'good', values };

/**
 * Checks that a log has an event: at its position, under a root that the log's key has signed.
 * @param {import('./record.js').Event} event
 * @param {Proof} proof
 * @param {Key[]} keys Those that are trusted: the log's or the installation's, and witnesses'.
 * @returns {Promise<Report>}
 */
export async function checkEvent(event, proof, keys) {
  const { index, hashes, checkpoint } = proof;
  const position = Number(event.position);
  /** @type {Step[]} */
  const steps = [];
  const bytes = record(event);
  const hashed = await leaf(bytes);
  steps.push({
    step: 'record',
    state: 'good',
    values: { bytes: bytes.length, columns: columns(event).length, leaf: hex(hashed) },
  });
  steps.push(place(event, proof));
  const climbed = await climb(hashed, index, checkpoint.size, hashes);
  steps.push(judged('path', !climbed && 'path_length', { hashes: hashes.length, index, size: checkpoint.size }));
  const fits = climbed !== null && same(climbed.root, checkpoint.root);
  if (climbed) {
    const roots = { computed: hex(climbed.root), signed: hex(checkpoint.root) };
    const elsewhere = !fits && index + 1 !== position && (await isMoved(event, proof));
    const reason = fits ? null : elsewhere ? 'moved' : 'root_differs';
    steps.push(judged('root', reason, { ...roots, position, from: index + 1 }));
  }
  const signed = await signers(checkpoint, keys);
  steps.push(signatureStep('signature', checkpoint, signed));
  return report(steps, signed, { bytes, leaf: hashed, path: climbed?.steps ?? [], root: climbed?.root ?? null });
}

/** Whether event and proof speak of the same place. @param {import('./record.js').Event} event @param {Proof} proof */
function place(event, { index, checkpoint }) {
  const [log, position] = [Number(event.log_id), Number(event.position)];
  const values = {
    log,
    position,
    of: checkpoint.logId,
    at: index + 1,
    size: checkpoint.size,
    origin: checkpoint.origin,
  };
  if (log !== checkpoint.logId) return judged('place', 'other_log', values);
  if (position !== index + 1) return judged('place', 'other_position', values);
  return judged('place', position > checkpoint.size && 'beyond', values);
}

/** Whether an event is that of the proof's position, with another number written on it. @param {import('./record.js').Event} event @param {Proof} proof */
async function isMoved(event, { index, hashes, checkpoint }) {
  const there = await leaf(record({ ...event, position: index + 1 }));
  const climbed = await climb(there, index, checkpoint.size, hashes);
  return climbed !== null && same(climbed.root, checkpoint.root);
}

/** @param {'signature' | 'old_signature'} step @param {Checkpoint} checkpoint @param {Signed} signed @returns {Step} */
function signatureStep(step, checkpoint, { state, name, id, found, witnesses }) {
  const values = { name, id, found: found.join(', '), size: checkpoint.size };
  const wrong = witnesses.find((witness) => witness.state === 'wrong');
  if (state === 'right' && wrong) return judged(step, 'witness_wrong', { ...values, name: wrong.name, id: wrong.id });
  if (state === 'right') return judged(step, null, values);
  if (state === 'keyless' || state === 'unsupported') return { step, state: 'unknown', reason: state, values };
  if (state === 'wrong') return judged(step, 'signature_wrong', values);
  return judged(step, found.length ? 'other_key' : 'unsigned', values);
}

/**
 * Checks that the log of an older checkpoint is the beginning of that of a newer one.
 * @param {Checkpoint} old
 * @param {Checkpoint} newest
 * @param {Bytes[]} hashes The consistency proof between their sizes.
 * @param {Key[]} keys
 * @returns {Promise<Report>}
 */
export async function checkGrowth(old, newest, hashes, keys) {
  const [before, now] = [await signers(old, keys), await signers(newest, keys)];
  const steps = [signatureStep('old_signature', old, before), signatureStep('signature', newest, now)];
  const values = { old: old.size, size: newest.size, grown: newest.size - old.size, hashes: hashes.length };
  if (old.origin !== newest.origin) {
    steps.push(judged('growth', 'other_origin', { ...values, before: old.origin, now: newest.origin }));
  } else if (old.size > newest.size) steps.push(judged('growth', 'rollback', values));
  else if (old.size === newest.size) steps.push(judged('growth', !same(old.root, newest.root) && 'fork', values));
  else {
    const found = await consistency(old, newest, hashes);
    steps.push(
      judged('growth', found !== 'consistent' && (found === 'length' ? 'growth_length' : 'history_changed'), values),
    );
  }
  return report(steps, now, null);
}

/** What this browser cannot do, or `null`: without a secure page there are no hashes, and older ones have no Ed25519. */
export async function lacks() {
  if (globalThis.crypto?.subtle === undefined) return 'no_crypto';
  return (await canVerify()) ? null : 'unsupported';
}

/** What is wrong with something that was given, as a code with values. Anything else is thrown on. @param {unknown} error */
export function malformed(error) {
  if (error instanceof Malformed) return { code: error.code, values: error.values };
  throw error;
}
