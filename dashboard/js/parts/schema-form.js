// A form made from a JSON Schema: a field for each property that is a number, a truth, a choice or a text. What it cannot ask for
// field by field is asked for as JSON. The service checks all of it again.

import { Problem } from '../api.js';
import { t } from '../i18n.js';
import { html, nothing } from './part.js';

/**
 * @typedef {object} Schema
 * @property {string | string[]} [type]
 * @property {Record<string, Schema>} [properties]
 * @property {string[]} [required]
 * @property {unknown} [additionalProperties]
 * @property {unknown[]} [enum]
 * @property {unknown} [const]
 * @property {unknown} [default]
 * @property {string} [title]
 * @property {string} [description]
 * @property {number} [minimum]
 * @property {number} [maximum]
 * @property {number} [multipleOf]
 * @property {number} [minLength]
 * @property {number} [maxLength]
 * @property {string} [pattern]
 */

const PLAIN = ['number', 'integer', 'boolean', 'string'];

/** @param {Schema} schema */
const isPlain = (schema) => Boolean(schema.enum) || (typeof schema.type === 'string' && PLAIN.includes(schema.type));

/** Whether every property can be asked for by a field of its own. @param {Schema} schema */
export const isFlat = (schema) =>
  !Object.keys(schema).some((key) => ['$ref', 'oneOf', 'anyOf', 'allOf', 'if', 'patternProperties'].includes(key)) &&
  (schema.type === 'object' || Boolean(schema.properties)) &&
  Object.values(schema.properties ?? {}).every(isPlain);

/** What a number may be, in words. @param {Schema} schema */
function bounds({ minimum, maximum }) {
  if (minimum !== undefined && maximum !== undefined) return t('schema.between', { minimum, maximum });
  if (minimum !== undefined) return t('schema.least', { minimum });
  return maximum === undefined ? '' : t('schema.most', { maximum });
}

/** @param {string} name @param {Schema} schema @param {boolean} required */
function input(name, schema, required) {
  const id = `param-${name}`;
  const value = schema.default === undefined ? '' : `${schema.default}`;
  if (schema.enum)
    return html`<select id=${id} name=${id} ?required=${required}>
      ${required ? nothing : html`<option value="">–</option>`}${schema.enum.map((one) => html`<option value=${JSON.stringify(one)} ?selected=${one === schema.default}>${typeof one === 'string' ? one : JSON.stringify(one)}</option>`)}
    </select>`;
  if (schema.type === 'boolean')
    return html`<select id=${id} name=${id} ?required=${required}>
      ${required ? nothing : html`<option value="">–</option>`}
      <option value="true" ?selected=${schema.default === true}>${t('yes')}</option>
      <option value="false" ?selected=${schema.default === false}>${t('no')}</option>
    </select>`;
  if (schema.type === 'string')
    return html`<input
      id=${id}
      name=${id}
      ?required=${required}
      .value=${value}
      minlength=${schema.minLength ?? nothing}
      maxlength=${schema.maxLength ?? nothing}
      pattern=${schema.pattern ?? nothing}
    />`;
  return html`<input
    id=${id}
    name=${id}
    type="number"
    ?required=${required}
    .value=${value}
    step=${schema.type === 'integer' ? (schema.multipleOf ?? 1) : (schema.multipleOf ?? 'any')}
    min=${schema.minimum ?? nothing}
    max=${schema.maximum ?? nothing}
    inputmode=${schema.type === 'integer' ? 'numeric' : 'decimal'}
  />`;
}

/** The fields of a schema. @param {Schema} schema */
export function fields(schema) {
  if (!isFlat(schema))
    return html`<div class="field">
      <label for="params">${t('schema.json')}</label
      ><textarea id="params" name="params" rows="6" spellcheck="false">{}</textarea>
      <details>
        <summary class="small">${t('schema.schema')}</summary>
        <pre class="json" tabindex="0">${JSON.stringify(schema, null, 2)}</pre>
      </details>
    </div>`;
  return Object.entries(schema.properties ?? {}).map(([name, one]) => {
    const required = schema.required?.includes(name) ?? false;
    const hint = [one.description, bounds(one)].filter(Boolean).join(' ');
    return html`<div class="field">
      <label for="param-${name}"
        >${one.title ?? name}${required ? nothing : html` <span class="faint">${t('optional')}</span>`}</label
      >${input(name, one, required)}${hint ? html`<p class="hint">${hint}</p>` : nothing}
    </div>`;
  });
}

/** The parameters that a form has. @param {Schema} schema @param {FormData} form @returns {Record<string, unknown>} */
export function values(schema, form) {
  if (!isFlat(schema)) {
    try {
      return JSON.parse(`${form.get('params')}` || '{}');
    } catch {
      throw new Problem(422, { code: 'invalid', detail: t('schema.bad') });
    }
  }
  const entries = Object.entries(schema.properties ?? {}).flatMap(([name, one]) => {
    const text = `${form.get(`param-${name}`) ?? ''}`;
    if (text === '' && !(one.type === 'string' && schema.required?.includes(name))) return [];
    return [
      [name, one.enum || one.type === 'boolean' ? JSON.parse(text) : one.type === 'string' ? text : Number(text)],
    ];
  });
  return Object.fromEntries(entries);
}
