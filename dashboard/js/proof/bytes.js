// Bytes: as text, as numbers, and their hashes. Knows no page: this folder runs wherever there is WebCrypto.

/** @typedef {Uint8Array<ArrayBuffer>} Bytes */

/** Something that was given is not of the form that it should have. */
export class Malformed extends Error {
  /**
   * @param {string} code Which, for whoever puts it into words.
   * @param {Record<string, string | number>} [values]
   */
  constructor(code, values = {}) {
    super(code);
    this.code = code;
    this.values = values;
  }
}

/** @param {...(Bytes | number[])} parts @returns {Bytes} */
export function joined(...parts) {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** @param {Bytes} one @param {Bytes} other */
export const same = (one, other) => one.length === other.length && one.every((byte, at) => byte === other[at]);

/** An integer in two's complement, the highest byte first. @param {bigint} value @param {number} length @returns {Bytes} */
export function integer(value, length) {
  const bytes = new Uint8Array(length);
  for (let at = length - 1, rest = BigInt.asUintN(8 * length, value); at >= 0; at -= 1, rest >>= 8n)
    bytes[at] = Number(rest & 0xffn);
  return bytes;
}

/** @param {Bytes} bytes */
export const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/** @param {string} text @returns {Bytes} */
export const utf8 = (text) => new TextEncoder().encode(text);

/** @param {Bytes} bytes */
export const base64 = (bytes) => btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(''));

/** Standard base64 with padding, in its one spelling; `null` for anything else. @param {string} text @returns {Bytes | null} */
export function fromBase64(text) {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4) return null;
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  return base64(bytes) === text ? bytes : null;
}

/** A hash in base64, as notes and proofs have it. @param {string} text @returns {Bytes | null} */
export function fromHash(text) {
  const bytes = fromBase64(text);
  return bytes?.length === 32 ? bytes : null;
}

/** A number without a sign and without leading zeros, as far as this language counts exactly. @param {string} text */
export function decimal(text) {
  const value = /^(?:0|[1-9]\d{0,18})$/.test(text) ? Number(text) : NaN;
  return Number.isSafeInteger(value) ? value : null;
}

/** Whether hashes can be computed: browsers have WebCrypto on pages over HTTPS and of this machine only. */
export const canHash = () => globalThis.crypto?.subtle !== undefined;

/** @param {...(Bytes | number[])} parts @returns {Promise<Bytes>} */
export async function sha256(...parts) {
  if (!canHash()) throw new Malformed('no_crypto');
  return new Uint8Array(await crypto.subtle.digest('SHA-256', joined(...parts)));
}
