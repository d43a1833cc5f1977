// What may be written at a place of a GraphQL document: fields, arguments, values, types, by the schema.

import { definitions, meaning } from './tokens.js';
import { named, written } from './schema.js';

/** @typedef {import('./schema.js').Schema} Schema */
/** @typedef {import('./schema.js').Type} Type */
/** @typedef {import('./schema.js').Input} Input */
/** @typedef {import('./schema.js').TypeRef} TypeRef */
/** @typedef {{ text: string, type: string, description: string | null, insert?: string }} Item */
/** @typedef {{ from: number, to: number, items: Item[] }} Completion */
/**
 * @typedef {object} Frame A bracket that is open.
 * @property {'document' | 'selection' | 'arguments' | 'values' | 'variables'} kind
 * @property {Type | null} type Of a selection: what it selects from.
 * @property {Type | null} next The type that a selection which opens now would be of.
 * @property {boolean} isField Whether that is the type of a field: it may be unknown, and an inline fragment's is that around it.
 * @property {Input[]} inputs Of arguments and input objects: what may be given.
 * @property {Input[]} nextInputs The arguments that brackets which open now would be of.
 * @property {string[]} given The names that are there already.
 * @property {TypeRef | null} value The type of the value that comes next.
 */

const WORDS = ['query', 'mutation', 'subscription', 'fragment'];
const COMPOSITE = ['OBJECT', 'INTERFACE', 'UNION'];
const INPUTS = ['SCALAR', 'ENUM', 'INPUT_OBJECT'];

/** @param {Partial<Frame> & { kind: Frame['kind'] }} frame @returns {Frame} */
const framed = (frame) => ({
  type: null,
  next: null,
  isField: false,
  inputs: [],
  nextInputs: [],
  given: [],
  value: null,
  ...frame,
});

/** Goes through what stands before a place. */
class Reader {
  /** @param {Schema} schema */
  constructor(schema) {
    this.schema = schema;
    this.stack = [framed({ kind: 'document' })];
    this.before = '';
    this.expectsType = false;
  }

  get top() {
    return /** @type {Frame} */ (this.stack.at(-1));
  }

  /** @param {import('./tokens.js').Token} token */
  take({ kind, text }) {
    if (kind === 'mark') this.mark(text);
    else if (kind === 'directive')
      this.top.nextInputs = this.schema.directives.find(({ name }) => `@${name}` === text)?.args ?? [];
    else if (kind === 'name') this.name(text);
    else if (kind !== 'variable') this.top.value = null;
    if (kind === 'variable' && this.top.kind !== 'variables') this.top.value = null;
    this.before = text;
  }

  /** @param {string} text */
  mark(text) {
    const { top } = this;
    if (text === '...') Object.assign(top, { isField: false, next: null });
    else if (text === '{') this.open(top);
    else if (text === '(')
      this.stack.push(
        framed(top.kind === 'document' ? { kind: 'variables' } : { kind: 'arguments', inputs: top.nextInputs }),
      );
    else if (text === '[' && top.kind !== 'variables') this.stack.push(framed({ kind: 'values', value: top.value }));
    else if ('})'.includes(text) || (text === ']' && top.kind === 'values')) this.close();
  }

  /** @param {Frame} top */
  open(top) {
    if (top.kind === 'document') this.stack.push(framed({ kind: 'selection', type: top.next ?? this.root('query') }));
    else if (top.kind === 'selection')
      this.stack.push(framed({ kind: 'selection', type: top.isField ? top.next : (top.next ?? top.type) }));
    else {
      const inputs = this.schema.of(top.value ?? undefined)?.inputFields ?? [];
      this.stack.push(framed({ kind: 'arguments', inputs }));
    }
  }

  close() {
    if (this.stack.length > 1) this.stack.pop();
    const { top } = this;
    if (top.kind !== 'values') top.value = null;
    if (top.kind === 'document' && this.before !== ')') top.next = null;
  }

  /** @param {'query' | 'mutation' | 'subscription'} word */
  root(word) {
    return this.schema.type(this.schema.roots[word]);
  }

  /** @param {string} text */
  name(text) {
    const { top } = this;
    if (this.expectsType) {
      top.next = this.schema.type(text);
      this.expectsType = false;
    } else if (text === 'on' && (this.before === '...' || top.kind === 'document')) this.expectsType = true;
    else if (top.kind === 'document') {
      if (text === 'query' || text === 'mutation' || text === 'subscription') top.next = this.root(text);
    } else if (top.kind === 'selection') {
      const field = this.schema.field(top.type, text);
      top.next = this.schema.of(field?.type);
      top.isField = true;
      top.nextInputs = field?.args ?? [];
    } else if (top.kind === 'arguments' && !top.value) {
      top.given.push(text);
      top.value = top.inputs.find(({ name }) => name === text)?.type ?? null;
    } else if (top.kind === 'arguments') top.value = null;
  }
}

/** @param {Schema} schema @param {string[]} kinds @returns {Item[]} */
const typesOf = (schema, kinds) =>
  schema
    .listed()
    .filter(({ kind }) => kinds.includes(kind))
    .map(({ name, kind, description }) => ({ text: name, type: kind.toLowerCase(), description }));

/** @param {Input} input @param {Schema} schema @returns {Item} */
function argument(input, schema) {
  const isObject = schema.of(input.type)?.kind === 'INPUT_OBJECT';
  const { name, description } = input;
  return { text: name, type: written(input.type), description, insert: `${name}: ${isObject ? '{' : ''}` };
}

/** @param {TypeRef} ref @param {Schema} schema @param {string} text @returns {Item[]} */
function values(ref, schema, text) {
  const type = schema.of(ref);
  const variables = Array.from(new Set(text.match(/\$\w+(?=\s*:)/g) ?? []));
  const known = variables.map((name) => ({ text: name, type: 'variable', description: null }));
  const of = named(ref);
  if (type?.kind === 'ENUM')
    return [
      ...(type.enumValues ?? []).map(({ name, description }) => ({ text: name, type: of, description })),
      ...known,
    ];
  const own = of === 'Boolean' ? ['true', 'false'] : type?.kind === 'INPUT_OBJECT' ? ['{'] : [];
  return [...own.map((word) => ({ text: word, type: of, description: type?.description ?? null })), ...known];
}

/** @param {Frame} top @param {Schema} schema @returns {Item[]} */
function fields({ type }, schema) {
  const own = (type?.fields ?? []).map((field) => {
    const inner = schema.of(field.type);
    const needs = field.args.some((arg) => arg.type.kind === 'NON_NULL' && arg.defaultValue === null);
    const opens = COMPOSITE.includes(inner?.kind ?? '') && !needs ? ' {' : '';
    return {
      text: field.name,
      type: written(field.type),
      description: field.description,
      insert: field.name + (needs ? '(' : opens),
    };
  });
  return type ? [...own, { text: '__typename', type: 'String!', description: null }] : own;
}

/** @param {Reader} reader @param {Schema} schema @param {string} text @returns {Item[]} */
function candidates(reader, schema, text) {
  const { top, before } = reader;
  if (reader.expectsType) return typesOf(schema, COMPOSITE);
  if (top.kind === 'variables') return before === ':' || before === '[' ? typesOf(schema, INPUTS) : [];
  if (top.kind === 'document') {
    const isBegun = WORDS.includes(before) || top.next;
    return isBegun ? [] : WORDS.map((word) => ({ text: word, type: '', description: null, insert: `${word} ` }));
  }
  if (top.kind === 'selection' && before === '...') {
    const fragments = definitions(text).flatMap(({ word, name }) => (word === 'fragment' && name ? [name] : []));
    return ['on', ...fragments].map((word) => ({
      text: word,
      type: word === 'on' ? '' : 'fragment',
      description: null,
    }));
  }
  if (top.kind === 'selection') return fields(top, schema);
  if (top.value) return values(top.value, schema, text);
  return top.inputs.filter(({ name }) => !top.given.includes(name)).map((input) => argument(input, schema));
}

/**
 * What may be written at a place: what begins as the word there first, what has it within after that.
 * @param {string} text
 * @param {number} at
 * @param {Schema} schema
 * @returns {Completion}
 */
export function complete(text, at, schema) {
  const all = meaning(text);
  const inside = all.find(({ start, end }) => start < at && at < end);
  if (inside?.kind === 'string' || /#[^\n]*$/.test(text.slice(0, at).replace(/"(?:\\.|[^"\\\n])*"/g, '')))
    return { from: at, to: at, items: [] };
  const word = all.find(
    ({ kind, start, end }) => ['name', 'variable', 'directive'].includes(kind) && start < at && at <= end,
  );
  const from = word?.start ?? at;
  const reader = new Reader(schema);
  for (const token of all.filter(({ end }) => end <= from)) reader.take(token);
  const prefix = text.slice(from, at);
  const items = prefix.startsWith('@')
    ? schema.directives.map(({ name, description }) => ({ text: `@${name}`, type: 'directive', description }))
    : candidates(reader, schema, text);
  const wanted = prefix.toLowerCase();
  const begins = items.filter((item) => item.text.toLowerCase().startsWith(wanted));
  const within = items.filter((item) => !begins.includes(item) && item.text.toLowerCase().includes(wanted));
  return { from, to: word?.end ?? at, items: [...begins, ...within] };
}
