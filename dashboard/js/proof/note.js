// Signed checkpoints, the keys that sign them, and witnesses' cosignatures, as C2SP defines them and docs/PROOF.md says.

import { Malformed, canHash, decimal, fromBase64, fromHash, hex, joined, sha256, utf8 } from './bytes.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */
/**
 * @typedef {object} Key A verifier key.
 * @property {string} name An installation's, a log's or a witness's.
 * @property {string} id In hex.
 * @property {1 | 4} kind 1 signs notes: an installation or a log. 4 signs what it has seen: a witness.
 * @property {Bytes} key
 * @property {string} text
 */
/** @typedef {{ name: string, id: string, bytes: Bytes }} Signature What stands behind the key's id. */
/**
 * @typedef {object} Checkpoint
 * @property {string} origin
 * @property {number} logId
 * @property {number} size
 * @property {Bytes} root
 * @property {string} body What is signed.
 * @property {Signature[]} signatures
 * @property {string} text
 */
/** @typedef {'right' | 'wrong' | 'unsupported'} Verdict Of one signature: `unsupported` where the browser cannot check it. */

const NAME = '[^\\s+\\p{Cc}]+';
const KEY = new RegExp(`^(${NAME})\\+([0-9a-f]{8})\\+([A-Za-z0-9+/]{44})$`, 'u');
const LINE = new RegExp(`^\u2014 (${NAME}) ([A-Za-z0-9+/=]+)$`, 'u');
const ORIGIN = new RegExp(`^(${NAME})/([1-9]\\d{0,9})$`, 'u');
/** The most signatures of a checkpoint. */
const MOST = 32;

/** The id of a key. @param {string} name @param {number} kind @param {Bytes} key */
const idOf = async (name, kind, key) => hex((await sha256(utf8(`${name}\n`), [kind], key)).slice(0, 4));

/** Whether a line has the form of a verifier key. @param {string} line */
export const isKey = (line) => KEY.test(line.trim());

/** @param {string} text @returns {Promise<Key>} */
export async function readKey(text) {
  const [, name, id, blob] = KEY.exec(text.trim()) ?? [];
  const bytes = blob ? fromBase64(blob) : null;
  const kind = bytes?.[0];
  if (!name || !id || !bytes || (kind !== 1 && kind !== 4)) throw new Malformed('no_key');
  const key = bytes.slice(1);
  if ((await idOf(name, kind, key)) !== id) throw new Malformed('key_id', { name });
  return { name, id, kind, key, text: text.trim() };
}

/** The key under its name for one log: an installation's key stands for those of all its logs. @param {Key} key @param {string} origin */
export async function keyOfLog(key, origin) {
  if (key.kind !== 1 || origin.slice(0, origin.lastIndexOf('/')) !== key.name) return key;
  return { ...key, name: origin, id: await idOf(origin, 1, key.key) };
}

/** @param {string} line @returns {Signature | null} */
function readSignature(line) {
  const [, name, blob] = LINE.exec(line) ?? [];
  const bytes = blob ? fromBase64(blob) : null;
  if (!name || !bytes || bytes.length < 4 + 64) return null;
  return { name, id: hex(bytes.slice(0, 4)), bytes: bytes.slice(4) };
}

/** Reads a checkpoint: three lines, an empty one, and signatures. @param {string} text @returns {Checkpoint} */
export function readCheckpoint(text) {
  const [body, signed = ''] = text.split('\n\n', 2);
  const [origin = '', sizeText = '', rootText = '', ...more] = (body ?? '').split('\n');
  const [size, root, logId] = [decimal(sizeText), fromHash(rootText), decimal(ORIGIN.exec(origin)?.[2] ?? '')];
  if (size === null || !root || logId === null || more.length) throw new Malformed('no_checkpoint');
  const lines = signed.split('\n').filter((line) => line !== '');
  const signatures = lines.map(readSignature);
  if (signatures.length < 1 || signatures.length > MOST || signatures.includes(null))
    throw new Malformed('no_signatures');
  return {
    origin,
    logId,
    size,
    root,
    body: `${body}\n`,
    signatures: /** @type {Signature[]} */ (signatures),
    text: `${body}\n\n${lines.join('\n')}\n`,
  };
}

/** When a witness says that it signed, in seconds since 1970. @param {Signature} signature */
export const secondsOf = (signature) =>
  Number(signature.bytes.slice(0, 8).reduce((value, byte) => (value << 8n) | BigInt(byte), 0n));

/** Whether a line is one of a witness: longer than a log's by the time. @param {Signature} signature */
export const isCosignature = (signature) => signature.bytes.length === 8 + 64;

/** What a key signs of a checkpoint, and the signature under it. @param {Checkpoint} checkpoint @param {Key} key @param {Signature} signature */
function signed(checkpoint, key, signature) {
  if (key.kind === 1) return { message: utf8(checkpoint.body), bytes: signature.bytes };
  const head = utf8(`cosignature/v1\ntime ${secondsOf(signature)}\n`);
  return { message: joined(head, utf8(checkpoint.body)), bytes: signature.bytes.slice(8) };
}

/** Whether this browser can check signatures. */
export async function canVerify() {
  if (!canHash()) return false;
  try {
    await crypto.subtle.importKey('raw', new Uint8Array(32).fill(1, 0, 1), 'Ed25519', false, ['verify']);
    return true;
  } catch (error) {
    // A key that is none is another matter.
    return !(error instanceof DOMException && error.name === 'NotSupportedError');
  }
}

/**
 * Checks one signature with its key.
 * @param {Checkpoint} checkpoint
 * @param {Key} key
 * @param {Signature} signature
 * @returns {Promise<Verdict>}
 */
export async function verify(checkpoint, key, signature) {
  if (!(await canVerify())) return 'unsupported';
  const { message, bytes } = signed(checkpoint, key, signature);
  try {
    const imported = await crypto.subtle.importKey('raw', key.key, 'Ed25519', false, ['verify']);
    return (await crypto.subtle.verify('Ed25519', imported, bytes, message)) ? 'right' : 'wrong';
  } catch {
    return 'wrong';
  }
}

/**
 * Who signed a checkpoint, by keys that are known.
 * @typedef {object} Signed
 * @property {'right' | 'wrong' | 'other_key' | 'keyless' | 'unsupported'} state Of the log's own signature.
 * @property {string} name The name of the log's key.
 * @property {string} id The id of the key that was looked for, or of the one that signed.
 * @property {string[]} found The ids of the keys that signed under the log's name.
 * @property {{ name: string, id: string, at: number, state: Verdict | 'unknown' }[]} witnesses
 */
/**
 * @param {Checkpoint} checkpoint
 * @param {Key[]} keys
 * @returns {Promise<Signed>}
 */
export async function signers(checkpoint, keys) {
  const own = await Promise.all(keys.filter(({ kind }) => kind === 1).map((key) => keyOfLog(key, checkpoint.origin)));
  const found = checkpoint.signatures.filter(({ name, bytes }) => name === checkpoint.origin && bytes.length === 64);
  const result = { name: checkpoint.origin, id: own[0]?.id ?? '', found: found.map(({ id }) => id) };
  const witnesses = await cosigners(checkpoint, keys);
  /** @type {Signed['state']} */
  let state = own.length ? 'other_key' : 'keyless';
  for (const key of own.filter(({ name }) => name === checkpoint.origin))
    for (const signature of found.filter(({ id }) => id === key.id)) {
      const verdict = await verify(checkpoint, key, signature);
      if (verdict !== 'right') return { ...result, id: key.id, state: verdict, witnesses };
      [state, result.id] = ['right', key.id];
    }
  return { ...result, state, witnesses };
}

/** @param {Checkpoint} checkpoint @param {Key[]} keys */
async function cosigners(checkpoint, keys) {
  const others = checkpoint.signatures.filter((one) => one.name !== checkpoint.origin && isCosignature(one));
  return Promise.all(
    others.map(async (signature) => {
      const { name, id } = signature;
      const known = keys.find((key) => key.kind === 4 && key.name === name && key.id === id);
      const state = known ? await verify(checkpoint, known, signature) : /** @type {const} */ ('unknown');
      return { name, id, at: secondsOf(signature), state };
    }),
  );
}
