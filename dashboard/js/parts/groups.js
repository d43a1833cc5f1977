// Things sorted into groups.

/**
 * The groups of some things, in the order in which each group comes first.
 * @template T
 * @param {T[]} things
 * @param {(thing: T) => string} of The group of each.
 * @returns {Map<string, T[]>}
 */
export function grouped(things, of) {
  /** @type {Map<string, T[]>} */
  const groups = new Map();
  for (const thing of things) {
    const group = groups.get(of(thing));
    if (group) group.push(thing);
    else groups.set(of(thing), [thing]);
  }
  return groups;
}
