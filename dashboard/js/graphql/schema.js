// The schema as the service tells it: by introspection, so that it is always the one that answers.

/** @typedef {{ kind: string, name: string | null, ofType: TypeRef | null }} TypeRef */
/** @typedef {{ name: string, description: string | null, type: TypeRef, defaultValue: string | null }} Input */
/** @typedef {{ name: string, description: string | null, args: Input[], type: TypeRef, isDeprecated: boolean, deprecationReason: string | null }} Field */
/** @typedef {{ name: string, description: string | null }} EnumValue */
/**
 * @typedef {{
 *   kind: string, name: string, description: string | null, fields: Field[] | null, inputFields: Input[] | null, enumValues:
 *   EnumValue[] | null, possibleTypes: TypeRef[] | null
 * }} Type
 */
/** @typedef {{ name: string, description: string | null, args: Input[] }} Directive */

const REF = 'kind name ofType { kind name ofType { kind name ofType { kind name } } }';
const INPUT = `name description type { ${REF} } defaultValue`;

/** The question that the schema is made of. */
export const INTROSPECTION = `{ __schema { queryType { name } mutationType { name } subscriptionType { name }
  types { kind name description
    fields(includeDeprecated: true) { name description args { ${INPUT} } type { ${REF} } isDeprecated deprecationReason }
    inputFields { ${INPUT} } enumValues { name description } possibleTypes { kind name } }
  directives { name description args { ${INPUT} } } } }`;

/** A type as it is written, such as `[String!]!`. @param {TypeRef} type @returns {string} */
export function written(type) {
  if (type.kind === 'NON_NULL' && type.ofType) return `${written(type.ofType)}!`;
  if (type.kind === 'LIST' && type.ofType) return `[${written(type.ofType)}]`;
  return type.name ?? '';
}

/** The name within lists and `!`. @param {TypeRef} type @returns {string} */
export const named = (type) => (type.ofType ? named(type.ofType) : (type.name ?? ''));

export class Schema {
  /** @param {any} answer The data of `INTROSPECTION`. */
  constructor({ __schema: schema }) {
    /** @type {Map<string, Type>} */
    this.types = new Map(schema.types.map((/** @type {Type} */ type) => [type.name, type]));
    /** @type {Directive[]} */
    this.directives = schema.directives;
    /** @type {Record<'query' | 'mutation' | 'subscription', string | null>} */
    this.roots = {
      query: schema.queryType?.name ?? null,
      mutation: schema.mutationType?.name ?? null,
      subscription: schema.subscriptionType?.name ?? null,
    };
  }

  /** @param {string | null | undefined} name */
  type(name) {
    return this.types.get(name ?? '') ?? null;
  }

  /** The type of a reference, without lists and `!`. @param {TypeRef | undefined} ref */
  of(ref) {
    return ref ? this.type(named(ref)) : null;
  }

  /** @param {Type | null} type @param {string} name */
  field(type, name) {
    return type?.fields?.find((field) => field.name === name) ?? null;
  }

  /** The types that people read about: those of the service, the roots first. */
  listed() {
    const roots = Object.values(this.roots);
    const own = Array.from(this.types.values()).filter(({ name }) => !name.startsWith('__') && !roots.includes(name));
    own.sort((one, other) => one.name.localeCompare(other.name));
    return [...roots.flatMap((name) => this.type(name) ?? []), ...own];
  }

  /** The types and fields that have a text in their name. @param {string} text @returns {{ type: Type, field: Field | Input | EnumValue | null }[]} */
  find(text) {
    const wanted = text.toLowerCase();
    const fits = (/** @type {{ name: string }} */ { name }) => name.toLowerCase().includes(wanted);
    return this.listed().flatMap((type) => {
      const parts = [...(type.fields ?? []), ...(type.inputFields ?? []), ...(type.enumValues ?? [])];
      const found = parts.filter(fits).map((field) => ({ type, field }));
      return fits(type) ? [{ type, field: null }, ...found] : found;
    });
  }
}
