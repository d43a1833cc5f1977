// A file of devices: CSV with a header, or one JSON object a line. It is checked as a whole before anything of it is stored.

import { number, t } from '../i18n.js';

/** @typedef {{ row: number, uid: string, name: string, labels: Record<string, string> }} Row */
/** @typedef {{ row: number, column: string, reason: string }} Mistake */
/** @typedef {{ rows: Row[], mistakes: Mistake[] }} Read */

const COLUMNS = ['uid', 'name', 'labels'];
const UID = /^[A-Za-z0-9_.:-]{1,64}$/;
/** The most devices of a file, the most labels of a device, and the longest name, key and value. */
export const MOST = { rows: 100_000, bytes: 20 << 20, labels: 64, name: 200, label: 128 };
/** What may stand between columns. */
const DELIMITERS = [',', ';', '\t'];

/**
 * The cells of a CSV file (RFC 4180), with the line at which each row begins.
 * @param {string} text
 * @param {string} delimiter
 */
function cells(text, delimiter) {
  /** @type {{ row: number, cells: string[] }[]} */
  const rows = [];
  let [line, begun, cell, quoted] = [1, 1, '', false];
  /** @type {string[]} */
  let row = [];
  const endRow = () => {
    row.push(cell);
    if (row.length > 1 || cell.trim()) rows.push({ row: begun, cells: row });
    [row, cell, begun] = [[], '', line];
  };
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    if (char === '\n') line += 1;
    if (quoted) {
      if (char !== '"') cell += char;
      else if (text[at + 1] === '"') [cell, at] = [`${cell}"`, at + 1];
      else quoted = false;
    } else if (char === '"' && cell === '') quoted = true;
    else if (char === delimiter) {
      row.push(cell);
      cell = '';
    } else if (char === '\n') endRow();
    else if (char !== '\r') cell += char;
  }
  if (cell || row.length) endRow();
  return { rows, open: quoted };
}

/** The labels of a cell: `site=hanoi;floor=3`. @param {string} text */
function labelsIn(text) {
  const pairs = text
    .split(/[;|\n]/)
    .map((pair) => pair.trim())
    .filter(Boolean);
  const bad = pairs.find((pair) => pair.indexOf('=') < 1);
  const split = (/** @type {string} */ pair) => [
    pair.slice(0, pair.indexOf('=')).trim(),
    pair.slice(pair.indexOf('=') + 1).trim(),
  ];
  return { bad, labels: /** @type {Record<string, string>} */ (Object.fromEntries(pairs.map(split))) };
}

/** What is wrong with a row. @param {Row} row @returns {Mistake[]} */
function check({ row, uid, name, labels }) {
  /** @type {Mistake[]} */
  const found = [];
  const wrong = (/** @type {string} */ column, /** @type {string} */ reason) => found.push({ row, column, reason });
  if (!uid) wrong('uid', t('import.wrong.missing'));
  else if (!UID.test(uid) || /^\.+$/.test(uid)) wrong('uid', t('device.uid.rule'));
  if ([...name].length > MOST.name) wrong('name', t('import.wrong.long', { n: MOST.name }));
  const pairs = Object.entries(labels);
  if (pairs.length > MOST.labels) wrong('labels', t('import.wrong.labels', { n: MOST.labels }));
  for (const [key, value] of pairs)
    if ([key, value].some((part) => part.length === 0 || [...part].length > MOST.label))
      wrong('labels', t('import.wrong.label', { label: `${key}=${value}`.slice(0, 60), n: MOST.label }));
  return found;
}

/** @param {string} text @returns {Read} */
function readCsv(text) {
  const head = text.slice(0, text.indexOf('\n') >>> 0);
  const delimiter = DELIMITERS.find((one) => head.includes(one)) ?? ',';
  const { rows, open } = cells(text, delimiter);
  const names = rows.shift()?.cells.map((name) => name.trim().toLowerCase()) ?? [];
  if (!names.includes('uid'))
    return { rows: [], mistakes: [{ row: 1, column: 'uid', reason: t('import.wrong.header') }] };
  /** @type {Mistake[]} */
  const mistakes = names
    .filter((name) => !COLUMNS.includes(name))
    .map((name) => ({ row: 1, column: name || '–', reason: t('import.wrong.column') }));
  if (open) mistakes.push({ row: rows.at(-1)?.row ?? 1, column: '–', reason: t('import.wrong.quote') });
  /** @type {Row[]} */
  const read = [];
  for (const { row, cells: found } of rows) {
    if (found.length > names.length) {
      mistakes.push({ row, column: `${number(names.length + 1)}`, reason: t('import.wrong.cells') });
      continue;
    }
    const of = (/** @type {string} */ name) => (found[names.indexOf(name)] ?? '').trim();
    const { bad, labels } = labelsIn(of('labels'));
    if (bad !== undefined) mistakes.push({ row, column: 'labels', reason: t('labels.wrong', { line: bad }) });
    read.push({ row, uid: of('uid'), name: of('name'), labels: bad === undefined ? labels : {} });
  }
  return { rows: read, mistakes };
}

/** @param {string} text @returns {Read} */
function readJson(text) {
  /** @type {Read} */
  const read = { rows: [], mistakes: [] };
  text.split('\n').forEach((line, at) => {
    if (!line.trim()) return;
    const row = at + 1;
    const wrong = (/** @type {string} */ column, /** @type {string} */ reason) =>
      read.mistakes.push({ row, column, reason });
    let found;
    try {
      found = JSON.parse(line);
    } catch {
      return wrong('–', t('import.wrong.json'));
    }
    if (found === null || typeof found !== 'object' || Array.isArray(found)) return wrong('–', t('import.wrong.json'));
    const unknown = Object.keys(found).find((key) => !COLUMNS.includes(key));
    if (unknown !== undefined) return wrong(unknown, t('import.wrong.column'));
    const { uid = '', name, labels } = found;
    const isText = (/** @type {unknown} */ one) => typeof one === 'string';
    if (!isText(uid)) return wrong('uid', t('import.wrong.text'));
    if (name !== undefined && name !== null && !isText(name)) return wrong('name', t('import.wrong.text'));
    const pairs = labels ?? {};
    if (typeof pairs !== 'object' || Array.isArray(pairs) || !Object.values(pairs).every(isText))
      return wrong('labels', t('import.wrong.object'));
    read.rows.push({ row, uid: uid.trim(), name: (name ?? '').trim(), labels: pairs });
  });
  return read;
}

/** Reads a file. Each mistake has its row and column, and a file with any is not taken. @param {string} text @returns {Read} */
export function readDevices(text) {
  const clean = text.replace(/^\uFEFF/, '');
  const { rows, mistakes } = /^\s*\{/.test(clean) ? readJson(clean) : readCsv(clean);
  /** @type {Map<string, number>} */
  const seen = new Map();
  for (const row of rows) {
    mistakes.push(...check(row));
    const before = seen.get(row.uid);
    if (before !== undefined && row.uid)
      mistakes.push({ row: row.row, column: 'uid', reason: t('import.wrong.twice', { uid: row.uid, row: before }) });
    else seen.set(row.uid, row.row);
  }
  if (rows.length === 0 && mistakes.length === 0)
    mistakes.push({ row: 1, column: '–', reason: t('import.wrong.empty') });
  if (rows.length > MOST.rows)
    mistakes.push({ row: rows[MOST.rows]?.row ?? 1, column: '–', reason: t('import.wrong.many', { n: MOST.rows }) });
  return { rows, mistakes: mistakes.sort((one, other) => one.row - other.row) };
}

/** Cells as a row of CSV. A cell that a spreadsheet would take for a formula is shown as text. @param {(string | number)[]} row */
const csvRow = (row) =>
  row
    .map((cell) => {
      const text = /^[=+@\t\r-]/.test(`${cell}`) ? `'${cell}` : `${cell}`;
      return /[",\n\r;]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    })
    .join(',');

/** Hands a table to the viewer as a CSV file. @param {string} name @param {(string | number)[][]} rows */
export function download(name, rows) {
  const url = URL.createObjectURL(new Blob([`${rows.map(csvRow).join('\r\n')}\r\n`], { type: 'text/csv' }));
  const link = document.createElement('a');
  Object.assign(link, { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
