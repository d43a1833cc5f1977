// GraphQL text as tokens, and its operations. It reads unfinished text too, because people are still writing it. Knows no page.

/** @typedef {'comment' | 'string' | 'number' | 'variable' | 'directive' | 'name' | 'mark' | 'space'} Kind */
/** @typedef {{ kind: Kind, text: string, start: number, end: number }} Token */
/** @typedef {{ type: 'query' | 'mutation' | 'subscription', name: string | null, start: number, end: number }} Operation */

const FORMS =
  /(#[^\n]*)|("""[\s\S]*?(?:"""|$)|"(?:\\.|[^"\\\n])*"?)|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(\$\w*)|(@\w*)|([A-Za-z_]\w*)|(\.\.\.|[!&()*:=[\]{|}.-])|([\s,\ufeff]+|.)/gu;
/** @type {Kind[]} */
const KINDS = ['comment', 'string', 'number', 'variable', 'directive', 'name', 'mark', 'space'];

/** Every token, with the space between them. @param {string} text @returns {Token[]} */
export function tokens(text) {
  return Array.from(text.matchAll(FORMS), (found) => {
    const nth = found.slice(1).findIndex((part) => part !== undefined);
    return { kind: KINDS[nth] ?? 'space', text: found[0], start: found.index, end: found.index + found[0].length };
  });
}

/** Those that mean something. @param {string} text */
export const meaning = (text) => tokens(text).filter(({ kind }) => kind !== 'space' && kind !== 'comment');

/** The operations and fragments of a document, each with its place. @param {string} text */
export function definitions(text) {
  /** @type {{ word: string, name: string | null, start: number, end: number }[]} */
  const found = [];
  let [depth, begun] = [0, -1];
  const all = meaning(text);
  for (const [nth, token] of all.entries()) {
    if (depth === 0 && begun < 0) begun = nth;
    if ('{(['.includes(token.text)) depth += 1;
    if ('})]'.includes(token.text)) depth = Math.max(0, depth - 1);
    const first = all[begun];
    if (token.text !== '}' || depth > 0 || !first) continue;
    const second = all[begun + 1];
    const isNamed = first.kind === 'name' && second?.kind === 'name';
    found.push({
      word: first.text === '{' ? 'query' : first.text,
      name: isNamed ? second.text : null,
      start: first.start,
      end: token.end,
    });
    begun = -1;
  }
  return found;
}

/** @param {string} text @returns {Operation[]} */
export function operations(text) {
  const types = ['query', 'mutation', 'subscription'];
  const found = definitions(text).filter(({ word }) => types.includes(word));
  return found.map(({ word, ...rest }) => ({ type: /** @type {Operation['type']} */ (word), ...rest }));
}

/** An operation by itself, with the document's fragments. @param {string} text @param {Operation} operation */
export function alone(text, operation) {
  const fragments = definitions(text).filter(({ word }) => word === 'fragment');
  return [operation, ...fragments].map(({ start, end }) => text.slice(start, end)).join('\n');
}

/** A document laid out: two spaces a level, a selection a line. Comments stay where they are. @param {string} text */
export function laidOut(text) {
  let [out, depth, round] = ['', 0, 0];
  const pad = () => `\n${'  '.repeat(depth)}`;
  /** @type {Token | null} */
  let before = null;
  for (const token of tokens(text)) {
    if (token.kind === 'space') continue;
    const { text: word } = token;
    if (word === '}' && round === 0) {
      depth = Math.max(0, depth - 1);
      out += before?.text === '{' ? '' : pad();
    } else if (before) out += between(before, token, round, pad);
    out += word;
    if (word === '{' && round === 0) depth += 1;
    if (word === '(' || word === '[' || (word === '{' && round > 0)) round += 1;
    if (word === ')' || word === ']' || (word === '}' && round > 0)) round -= 1;
    before = token;
  }
  return out ? `${out.trim()}\n` : '';
}

/** What stands between two tokens. @param {Token} before @param {Token} token @param {number} round Within how many brackets. @param {() => string} pad */
function between(before, token, round, pad) {
  if (before.kind === 'comment') return pad();
  if (token.kind === 'comment') return before.text === '{' ? pad() : ' ';
  if (round > 0) {
    if ('([{'.includes(before.text)) return '';
    if (')]}:!'.includes(token.text)) return '';
    return before.text === ':' || token.text === '=' || before.text === '=' ? ' ' : ', ';
  }
  if (token.text === '(' || token.text === ':') return '';
  if (before.text === ':' || before.text === '...')
    return token.kind === 'name' && before.text === '...' && token.text !== 'on' ? '' : ' ';
  if (token.text === '{') return ' ';
  if (before.text === '{') return pad();
  if (token.kind === 'directive') return ' ';
  if (before.text === '}' && pad() === '\n') return '\n\n';
  const head = ['query', 'mutation', 'subscription', 'fragment', 'on'];
  if (head.includes(before.text) || token.text === 'on') return ' ';
  return pad();
}
