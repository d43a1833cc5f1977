// The schema, to be read: each type with its fields, arguments and what they mean; every type's name leads to it.

import { t } from '../i18n.js';
import { named, written } from '../graphql/schema.js';
import { withQuery } from '../router.js';
import { icon } from './icons.js';
import { Part, empty, html, nothing } from './part.js';

/** @typedef {import('../graphql/schema.js').Schema} Schema */
/** @typedef {import('../graphql/schema.js').Input} Input */
/** @typedef {import('../graphql/schema.js').Field} Field */
/** @typedef {import('../graphql/schema.js').Type} Type */

/** The most that a search shows. */
const MOST = 80;

const address = (/** @type {string | null} */ name) => withQuery({ type: name, side: 'schema' });

/** A description: what stands in backticks is code. @param {string | null} text */
export const described = (text) =>
  text ? text.split('`').map((part, nth) => (nth % 2 ? html`<code>${part}</code>` : part)) : nothing;

/** @param {import('../graphql/schema.js').TypeRef} type */
const linked = (type) => html`<a class="mono small" href=${address(named(type))}>${written(type)}</a>`;

/** @param {Input} input */
const inputLine = (input) =>
  html`<li class="small">
    <code>${input.name}</code>:
    ${linked(input.type)}${input.defaultValue === null ? nothing : html` = <code>${input.defaultValue}</code>`}
    ${input.description ? html`<span class="muted">${described(input.description)}</span>` : nothing}
  </li>`;

/** @param {Field} field */
const fieldLine = (field) =>
  html`<li>
    <p>
      <code class="strong">${field.name}</code> ${linked(field.type)}
      ${field.isDeprecated ? html`<span class="pill warn">${t('console.deprecated')}</span>` : nothing}
    </p>
    ${field.isDeprecated ? html`<p class="small muted">${described(field.deprecationReason)}</p>` : nothing}
    <p class="small muted">${described(field.description)}</p>
    ${
      field.args.length
        ? html`<ul class="args">
            ${field.args.map(inputLine)}
          </ul>`
        : nothing
    }
  </li>`;

class SchemaBrowser extends Part {
  static properties = { schema: { attribute: false }, type: {}, sought: { state: true } };

  constructor() {
    super();
    /** @type {Schema | null} */
    this.schema = null;
    /** The name of the type that is shown. @type {string | null} */
    this.type = null;
    this.sought = '';
  }

  /** @param {Schema} schema */
  list(schema) {
    if (this.sought) {
      const found = schema.find(this.sought);
      if (found.length === 0) return empty(t('console.schema.none'));
      return html`<ul class="types">
        ${found.slice(0, MOST).map(
          ({ type, field }) =>
            html`<li>
              <a href=${address(type.name)} @click=${() => (this.sought = '')}
                ><code>${type.name}${field ? html`.<b>${field.name}</b>` : nothing}</code></a
              >
            </li>`,
        )}
      </ul>`;
    }
    return html`<ul class="types">
      ${schema.listed().map(
        ({ name, kind }) =>
          html`<li>
            <a href=${address(name)}><code>${name}</code></a>
            <span class="small faint">${kind.toLowerCase().replace('_', ' ')}</span>
          </li>`,
      )}
    </ul>`;
  }

  /** @param {Type} type */
  page(type) {
    const parts = type.fields?.length
      ? html`<ul class="members">
          ${type.fields.map(fieldLine)}
        </ul>`
      : nothing;
    return html`<p class="small"><a href=${address(null)}>${icon('left')}${t('console.schema.all')}</a></p>
      <h3 class="type-name">
        <code>${type.name}</code> <span class="small faint">${type.kind.toLowerCase().replace('_', ' ')}</span>
      </h3>
      <p class="muted">${described(type.description)}</p>
      ${parts}
      ${
        type.inputFields?.length
          ? html`<ul class="args members">
              ${type.inputFields.map(inputLine)}
            </ul>`
          : nothing
      }
      ${
        type.enumValues?.length
          ? html`<ul class="args members">
              ${type.enumValues.map(({ name, description }) => html`<li class="small"><code>${name}</code> <span class="muted">${described(description)}</span></li>`)}
            </ul>`
          : nothing
      }`;
  }

  render() {
    const { schema } = this;
    if (!schema) return nothing;
    const type = this.sought ? null : schema.type(this.type);
    return html`<div class="stack schema">
      <div class="search">
        ${icon('search')}<input
          type="search"
          aria-label=${t('console.schema.search')}
          placeholder=${t('console.schema.search')}
          .value=${this.sought}
          @input=${(/** @type {InputEvent} */ event) => (this.sought = /** @type {HTMLInputElement} */ (event.target).value.trim())}
        />
      </div>
      ${type ? this.page(type) : this.list(schema)}
    </div>`;
  }
}
customElements.define('fl-schema', SchemaBrowser);
