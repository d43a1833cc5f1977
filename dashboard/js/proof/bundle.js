// A bundle that `fleetlog audit bundle` wrote, checked as docs/PROOF.md says: folders with a checkpoint, tiles and events.

import { Malformed, same, sha256 } from './bytes.js';
import { readCheckpoint, readKey, signers } from './note.js';
import { readEvent, record } from './record.js';
import { leaf, rootOf } from './tree.js';

/** @typedef {import('./bytes.js').Bytes} Bytes */
/** @typedef {import('./note.js').Key} Key */
/** @typedef {import('./note.js').Checkpoint} Checkpoint */
/** @typedef {{ code: string, values: Record<string, string | number> }} Finding */
/**
 * @typedef {object} LogReport
 * @property {number} logId
 * @property {Checkpoint} checkpoint
 * @property {import('./note.js').Signed} signed
 * @property {boolean} trusted Whether the key was given, and not the bundle's own.
 * @property {Finding[]} findings The first of them.
 * @property {number} found How many there are.
 * @property {{ first: number, last: number, events: number }} range
 */

const WIDTH = 256;
/** How many findings of a log are kept. */
const SHOWN = 20;
/** In how many tiles on either side an event's real position is looked for. */
const NEAR = 16;

/** The tiles of a tree that are not full, the lowest level first. @param {number} size */
function partialTiles(size) {
  const tiles = [];
  for (let level = 0, count = size; count > 0; level += 1, count = Math.floor(count / WIDTH))
    if (count % WIDTH) tiles.push({ level, index: Math.floor(count / WIDTH) });
  return tiles;
}

/** @param {number} level @param {number} size */
const hashesAt = (level, size) => Math.floor(size / WIDTH ** level);

class LogBundle {
  /**
   * @param {string} folder
   * @param {Map<string, Blob>} files
   * @param {Checkpoint} checkpoint
   */
  constructor(folder, files, checkpoint) {
    this.folder = folder;
    this.files = files;
    this.checkpoint = checkpoint;
    /** @type {Finding[]} */
    this.findings = [];
    this.found = 0;
    /** Full tiles that do not fit. @type {Set<string>} */
    this.bad = new Set();
    /** @type {Map<string, Bytes[]>} */
    this.kept = new Map();
    this.range = { first: 0, last: 0, events: 0 };
  }

  /** @param {string} code @param {Finding['values']} [values] */
  find(code, values = {}) {
    this.found += 1;
    if (this.findings.length < SHOWN) this.findings.push({ code, values });
  }

  /** @param {number} level @param {number} index */
  path(level, index) {
    const width = hashesAt(level, this.checkpoint.size) - WIDTH * index;
    const digits = `${index}`.padStart(Math.ceil(`${index}`.length / 3) * 3, '0');
    return `tile/${level}/${digits.replace(/...(?=.)/g, 'x$&/')}${width < WIDTH ? `.p/${width}` : ''}`;
  }

  /** @param {number} level @param {number} index */
  has(level, index) {
    return this.files.has(`${this.folder}/${this.path(level, index)}`);
  }

  /** The hashes of a tile; none fits where its file has a wrong length. @param {number} level @param {number} index */
  async tile(level, index) {
    const path = this.path(level, index);
    const known = this.kept.get(path);
    if (known) return known;
    const file = this.files.get(`${this.folder}/${path}`);
    if (!file) throw new Malformed('file_missing', { file: `${this.folder}/${path}` });
    const width = Math.min(WIDTH, hashesAt(level, this.checkpoint.size) - WIDTH * index);
    const bytes = file.size === 32 * width ? new Uint8Array(await file.arrayBuffer()) : new Uint8Array();
    const hashes = Array.from({ length: width }, (_, at) => bytes.slice(32 * at, 32 * at + 32));
    if (this.kept.size > 64) this.kept.clear();
    this.kept.set(path, hashes);
    return hashes;
  }

  /** The root of the first leaves: from the partial tiles of that tree, each the beginning of a tile that is here. @param {number} leaves */
  async rootOfFirst(leaves) {
    /** @type {Bytes[]} */
    let right = [];
    for (const { level, index } of partialTiles(leaves)) {
      const hashes = (await this.tile(level, index)).slice(0, hashesAt(level, leaves) % WIDTH);
      right = [await rootOf([...hashes, ...right])];
    }
    return right[0] ?? sha256();
  }

  /** Whether the tiles hash to the checkpoint's root, so that there is something to compare events with. */
  async checkTiles() {
    const { size, root } = this.checkpoint;
    if (!same(await this.rootOfFirst(size), root)) {
      this.find('tiles_root', { tile: this.path(0, Math.floor(size / WIDTH)) });
      return false;
    }
    for (let level = Math.ceil(Math.log2(Math.max(size, 2)) / 8); level >= 0; level -= 1)
      for (let index = 0; index < hashesAt(level + 1, size); index += 1) await this.checkTile(level, index);
    return true;
  }

  /** @param {number} level @param {number} index */
  async checkTile(level, index) {
    const [above, at] = [Math.floor(index / WIDTH), index % WIDTH];
    if (this.bad.has(`${level + 1}/${above}`)) this.bad.add(`${level}/${index}`);
    else if (level > 0 || this.has(level, index)) {
      const entry = (await this.tile(level + 1, above))[at];
      if (entry && same(await rootOf(await this.tile(level, index)), entry)) return;
      this.find('tile', { tile: this.path(level, index) });
      this.bad.add(`${level}/${index}`);
    }
  }

  /** @param {Checkpoint} kept @param {Key[]} keys @param {boolean} tilesFit */
  async checkKept(kept, keys, tilesFit) {
    const { size, root } = this.checkpoint;
    const { state } = await signers(kept, keys);
    if (state !== 'right' && state !== 'unsupported') this.find('kept_unsigned', { size: kept.size });
    else if (kept.size > size) this.find('rollback', { old: kept.size, size });
    else if (kept.size === size && !same(kept.root, root)) this.find('fork', { size });
    else if (kept.size < size && tilesFit && !same(kept.root, await this.rootOfFirst(kept.size)))
      this.find('fork', { size: kept.size });
  }

  /** @param {string} line @param {number} number */
  async checkLine(line, number) {
    /** @type {import('./record.js').Event | null} */
    let event = null;
    let position = NaN;
    try {
      position = JSON.parse(line).position;
      event = readEvent(line);
    } catch (error) {
      if (!Number.isSafeInteger(position)) throw new Malformed('line_no_event', { number });
      if (!(error instanceof Malformed)) throw error;
    }
    const { last } = this.range;
    if (position <= last || position > this.checkpoint.size || position < 1) return this.find('extra', { position });
    if (last && position > last + 1) this.find('missing', { first: last + 1, last: position - 1 });
    this.range = { first: this.range.first || position, last: position, events: this.range.events + 1 };
    await this.checkEvent(event, position);
  }

  /** @param {import('./record.js').Event | null} event @param {number} position */
  async checkEvent(event, position) {
    const index = Math.floor((position - 1) / WIDTH);
    if (this.bad.has(`0/${index}`)) return;
    const hash = (await this.tile(0, index))[(position - 1) % WIDTH];
    const isHere = event && hash && event.log_id === this.checkpoint.logId && same(await leaf(record(event)), hash);
    if (isHere) return;
    const from = event && this.found < SHOWN ? await this.realPosition(event, index) : null;
    if (from !== null && from !== position) this.find('moved', { position, from });
    else this.find('differs', { position });
  }

  /** Where an event would be right. @param {import('./record.js').Event} event @param {number} here */
  async realPosition(event, here) {
    for (let index = Math.max(0, here - NEAR); index < here + NEAR; index += 1) {
      if (!this.has(0, index) || this.bad.has(`0/${index}`)) continue;
      for (const [at, hash] of (await this.tile(0, index)).entries()) {
        const position = WIDTH * index + at + 1;
        if (same(await leaf(record({ ...event, position })), hash)) return position;
      }
    }
    return null;
  }

  /** @param {(events: number) => void} progress */
  async checkEvents(progress) {
    const file = this.files.get(`${this.folder}/events.ndjson`);
    if (!file) throw new Malformed('file_missing', { file: `${this.folder}/events.ndjson` });
    let number = 0;
    for await (const line of linesOf(file)) {
      number += 1;
      await this.checkLine(line, number);
      if (number % 500 === 0) progress(number);
    }
    progress(number);
  }
}

/** The lines of a file, without reading it whole. @param {Blob} file */
async function* linesOf(file) {
  const reader = file
    .stream()
    .pipeThrough(new TextDecoderStream('utf-8', { fatal: true }))
    .getReader();
  let rest = '';
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    const lines = (rest + value).split('\n');
    rest = lines.pop() ?? '';
    yield* lines;
  }
  if (rest) yield rest;
}

/**
 * Checks every log of a bundle.
 * @param {Map<string, Blob>} files The files by their paths, such as `log-2/checkpoint`, with any folders before.
 * @param {{ keys: Key[], kept: Checkpoint[], progress?: (events: number) => void }} trusted
 * @returns {Promise<LogReport[]>}
 */
export async function checkBundle(files, { keys, kept, progress = () => {} }) {
  const named = Array.from(files.keys()).flatMap((path) => /^(?:.*\/)?(log-\d+)\/checkpoint$/.exec(path)?.[0] ?? []);
  if (named.length === 0) throw new Malformed('no_bundle');
  const reports = [];
  for (const path of named)
    reports.push(await checkLog(path.slice(0, -'/checkpoint'.length), files, { keys, kept, progress }));
  return reports.sort((one, other) => one.logId - other.logId);
}

/**
 * @param {string} folder
 * @param {Map<string, Blob>} files
 * @param {{ keys: Key[], kept: Checkpoint[], progress: (events: number) => void }} trusted
 * @returns {Promise<LogReport>}
 */
async function checkLog(folder, files, { keys, kept, progress }) {
  const text = async (/** @type {string} */ name) => (await files.get(`${folder}/${name}`)?.text()) ?? '';
  const checkpoint = readCheckpoint(await text('checkpoint'));
  const log = new LogBundle(folder, files, checkpoint);
  const trusted = keys.some(({ kind }) => kind === 1);
  const known = trusted ? keys : [...keys, await readKey(await text('key'))];
  const signed = await signers(checkpoint, known);
  if (signed.state === 'wrong') log.find('signature_wrong', { name: signed.name, id: signed.id });
  else if (signed.state === 'other_key')
    log.find('other_key', { name: signed.name, id: signed.id, found: signed.found.join(', ') });
  else {
    const folderName = folder.split('/').at(-1) ?? '';
    if (folderName !== `log-${checkpoint.logId}`) log.find('folder', { folder: folderName, log: checkpoint.logId });
    const tilesFit = await log.checkTiles();
    for (const one of kept.filter(({ origin }) => origin === checkpoint.origin))
      await log.checkKept(one, known, tilesFit);
    if (tilesFit) await log.checkEvents(progress);
  }
  const { findings, found, range } = log;
  return { logId: checkpoint.logId, checkpoint, signed, trusted, findings, found, range };
}
