// What a person was given, as text: events, a proof, checkpoints and keys, in any order. Lines that begin with `#` are remarks.

import { Malformed, decimal, fromHash } from './bytes.js';
import { isKey, readCheckpoint, readKey } from './note.js';
import { readEvent } from './record.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */
/** @typedef {import('./note.js').Checkpoint} Checkpoint */
/** @typedef {{ index: number, hashes: Bytes[], checkpoint: Checkpoint }} Proof That a log has an event, as C2SP tlog-proof has it. */
/**
 * @typedef {object} Given
 * @property {import('./record.js').Event[]} events
 * @property {Proof[]} proofs
 * @property {Checkpoint[]} checkpoints Without those of proofs.
 * @property {import('./note.js').Key[]} keys
 */

const PROOF = 'c2sp.org/tlog-proof@v1';
const SIGNATURE = '\u2014 ';

/** The lines of a text, one after the other. */
class Lines {
  /** @param {string} text */
  constructor(text) {
    this.lines = text.replaceAll('\r', '').split('\n');
    this.at = 0;
  }

  /** The line that comes next, or nothing at the end. */
  get next() {
    return this.lines[this.at];
  }

  take() {
    return this.lines[this.at++] ?? '';
  }

  /** Takes lines as long as they fit. @param {(line: string) => boolean} fits */
  takeWhile(fits) {
    const first = this.at;
    while (this.next !== undefined && fits(this.next)) this.at += 1;
    return this.lines.slice(first, this.at);
  }
}

/** @param {Lines} lines */
function takeCheckpoint(lines) {
  const body = [lines.take(), lines.take(), lines.take()];
  if (lines.take() !== '') throw new Malformed('no_checkpoint');
  const signatures = lines.takeWhile((line) => line.startsWith(SIGNATURE));
  return readCheckpoint(`${body.join('\n')}\n\n${signatures.join('\n')}\n`);
}

/** @param {Lines} lines @returns {Proof} */
function takeProof(lines) {
  lines.take();
  if (lines.next?.startsWith('extra ')) lines.take();
  const index = decimal(/^index (\d+)$/.exec(lines.take())?.[1] ?? '');
  const hashes = lines.takeWhile((line) => line !== '').map(fromHash);
  if (index === null || hashes.includes(null) || lines.take() !== '') throw new Malformed('no_proof');
  return { index, hashes: /** @type {Bytes[]} */ (hashes), checkpoint: takeCheckpoint(lines) };
}

/** An event on a line, or on several as a program lays JSON out. @param {Lines} lines */
function takeEvent(lines) {
  let text = lines.take();
  const isWhole = () => {
    try {
      return JSON.parse(text) !== undefined;
    } catch {
      return false;
    }
  };
  while (!isWhole() && lines.next !== undefined && !lines.next.startsWith(PROOF)) text += `\n${lines.take()}`;
  return readEvent(text);
}

/** Reads all that is in a text. @param {string} text @returns {Promise<Given>} */
export async function readGiven(text) {
  const lines = new Lines(text);
  /** @type {Given} */
  const given = { events: [], proofs: [], checkpoints: [], keys: [] };
  while (lines.next !== undefined) {
    const line = lines.next;
    if (line.trim() === '' || line.startsWith('#')) lines.take();
    else if (line === PROOF) given.proofs.push(takeProof(lines));
    else if (line.startsWith('{')) given.events.push(takeEvent(lines));
    else if (isKey(line)) given.keys.push(await readKey(lines.take()));
    else if (/^\d+$/.test(lines.lines[lines.at + 1] ?? '')) given.checkpoints.push(takeCheckpoint(lines));
    else throw new Malformed('line', { number: lines.at + 1, line: line.slice(0, 60) });
  }
  return given;
}

/** Reads one proof, as the service answers it. @param {string} text @returns {Proof} */
export const readProof = (text) => {
  const lines = new Lines(text);
  if (lines.next !== PROOF) throw new Malformed('no_proof');
  return takeProof(lines);
};
