// Merkle trees as in RFC 6962: the hashes of leaves and nodes, and what proofs lead to.

import { same, sha256 } from './bytes.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */
/** @typedef {{ side: 'left' | 'right', hash: Bytes, node: Bytes }} Step A hash of a proof, the side it stands on, and what both make. */

/** @param {Bytes} record */
export const leaf = (record) => sha256([0], record);

/** @param {Bytes} left @param {Bytes} right */
export const node = (left, right) => sha256([1], left, right);

const half = (/** @type {number} */ value) => Math.floor(value / 2);

/** The root over the roots of neighbouring subtrees of one size, of which the last may be smaller. @param {Bytes[]} subtrees @returns {Promise<Bytes>} */
export async function rootOf(subtrees) {
  const [first] = subtrees;
  if (!first) return sha256();
  if (subtrees.length === 1) return first;
  let left = 1;
  while (2 * left < subtrees.length) left *= 2;
  return node(await rootOf(subtrees.slice(0, left)), await rootOf(subtrees.slice(left)));
}

/**
 * Goes up from a leaf, as RFC 9162, section 2.1.3.2, has it. `null` if the proof has too few hashes or too many.
 * @param {Bytes} from
 * @param {number} index
 * @param {number} size
 * @param {Bytes[]} proof
 * @returns {Promise<{ root: Bytes, steps: Step[] } | null>}
 */
export async function climb(from, index, size, proof) {
  if (index >= size) return null;
  let [at, last, root] = [index, size - 1, from];
  /** @type {Step[]} */
  const steps = [];
  for (const hash of proof) {
    if (last === 0) return null;
    const onRight = at % 2 === 1 || at === last;
    root = onRight ? await node(hash, root) : await node(root, hash);
    steps.push({ side: onRight ? 'left' : 'right', hash, node: root });
    if (onRight) while (at % 2 === 0 && at !== 0) [at, last] = [half(at), half(last)];
    [at, last] = [half(at), half(last)];
  }
  return last === 0 ? { root, steps } : null;
}

/**
 * Whether a tree is the beginning of another one, as RFC 9162, section 2.1.4.2, has it. It says which of the two roots the proof
 * does not lead to.
 * @param {{ size: number, root: Bytes }} old
 * @param {{ size: number, root: Bytes }} grown
 * @param {Bytes[]} proof
 * @returns {Promise<'consistent' | 'old_root' | 'new_root' | 'length'>}
 */
export async function consistency(old, grown, proof) {
  if (old.size > grown.size) return 'length';
  if (old.size === grown.size || old.size === 0) {
    if (proof.length) return 'length';
    return old.size === 0 || same(old.root, grown.root) ? 'consistent' : 'old_root';
  }
  const isWhole = Number.isInteger(Math.log2(old.size));
  const [first, ...rest] = isWhole ? [old.root, ...proof] : proof;
  if (!first) return 'length';
  let [at, last] = [old.size - 1, grown.size - 1];
  while (at % 2 === 1) [at, last] = [half(at), half(last)];
  let [oldRoot, newRoot] = [first, first];
  for (const hash of rest) {
    if (last === 0) return 'length';
    if (at % 2 === 1 || at === last) {
      [oldRoot, newRoot] = [await node(hash, oldRoot), await node(hash, newRoot)];
      while (at % 2 === 0 && at !== 0) [at, last] = [half(at), half(last)];
    } else newRoot = await node(newRoot, hash);
    [at, last] = [half(at), half(last)];
  }
  if (last !== 0) return 'length';
  if (!same(oldRoot, old.root)) return 'old_root';
  return same(newRoot, grown.root) ? 'consistent' : 'new_root';
}
