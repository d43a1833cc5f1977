// A form's fields: a label, a control, what is expected, and what is wrong.

import { t } from '../i18n.js';
import { html, nothing } from './part.js';

/**
 * @typedef {object} Field
 * @property {string} name Its name in the form; its id is made of it.
 * @property {unknown} label
 * @property {unknown} [hint]
 * @property {boolean} [optional]
 * @property {import('../api.js').Problem | null} [problem]
 * @property {string} [of] What the service calls it, where that is another name.
 */

/** The id of a field's control: no other of the page. @param {string} name */
const idOf = (name) => `field-${name}`;

/** @param {Field} field */
const wrongOf = ({ name, problem, of = name }) => problem?.of(of) ?? null;

/**
 * A field around a control, with the id `field-` and its name.
 * @param {Field} what
 * @param {unknown} control
 */
export function field(what, control) {
  const wrong = wrongOf(what);
  return html`<div class="field">
    <label for=${idOf(what.name)}
      >${what.label}${what.optional ? html` <span class="faint">${t('optional')}</span>` : nothing}</label
    >${control}${what.hint ? html`<p class="hint" id="${idOf(what.name)}-hint">${what.hint}</p>` : nothing}${wrong ? html`<p class="wrong">${wrong}</p>` : nothing}
  </div>`;
}

/**
 * A line of text.
 * @param {Field & {
 *   value?: string, type?: string, mode?: string, most?: number, pattern?: string, placeholder?: string, list?: string
 * }} what
 */
export const textField = (what) =>
  field(
    what,
    html`<input
      id=${idOf(what.name)}
      name=${what.name}
      type=${what.type ?? 'text'}
      inputmode=${what.mode ?? nothing}
      maxlength=${what.most ?? nothing}
      pattern=${what.pattern ?? nothing}
      placeholder=${what.placeholder ?? nothing}
      list=${what.list ?? nothing}
      autocomplete="off"
      autocapitalize="none"
      spellcheck="false"
      ?required=${!what.optional}
      aria-invalid=${wrongOf(what) ? 'true' : nothing}
      aria-describedby=${what.hint ? `${idOf(what.name)}-hint` : nothing}
      .value=${what.value ?? ''}
    />`,
  );

/**
 * A whole number.
 * @param {Field & { value?: number | null, least?: number, most?: number }} what
 */
export const numberField = (what) =>
  field(
    what,
    html`<input
      id=${idOf(what.name)}
      name=${what.name}
      type="number"
      inputmode="numeric"
      min=${what.least ?? nothing}
      max=${what.most ?? nothing}
      ?required=${!what.optional}
      aria-invalid=${wrongOf(what) ? 'true' : nothing}
      aria-describedby=${what.hint ? `${idOf(what.name)}-hint` : nothing}
      .value=${what.value === null || what.value === undefined ? '' : `${what.value}`}
    />`,
  );

/**
 * A choice of few.
 * @param {Field & { value?: string, options: { value: string, text: string }[], change?: (value: string) => void }} what
 */
export const choiceField = (what) =>
  field(
    what,
    html`<select
      id=${idOf(what.name)}
      name=${what.name}
      aria-describedby=${what.hint ? `${idOf(what.name)}-hint` : nothing}
      @change=${(/** @type {Event} */ event) => what.change?.(/** @type {HTMLSelectElement} */ (event.target).value)}
    >
      ${what.options.map(({ value, text }) => html`<option value=${value} ?selected=${value === what.value}>${text}</option>`)}
    </select>`,
  );

/** A text that a form has, without blanks around it. @param {FormData} form @param {string} name */
export const textOf = (form, name) => `${form.get(name) ?? ''}`.trim();

/** A number that a form has, or null where the field is empty. @param {FormData} form @param {string} name */
export const numberOf = (form, name) => (textOf(form, name) === '' ? null : Number(textOf(form, name)));
