// Dialogs: the browser's own, so that focus stays inside, Escape closes, and what is behind is out of reach.

import { t } from '../i18n.js';
import { icon } from './icons.js';
import { Part, asProblem, html, nothing, shown } from './part.js';

/**
 * A dialog with a form. `work` does what is asked for; the dialog closes when that succeeds, and else shows the problem.
 */
export class Dialog extends Part {
  static properties = {
    heading: {},
    content: { attribute: false },
    confirm: {},
    fields: { attribute: false },
    danger: { type: Boolean },
    wide: { type: Boolean },
    work: { attribute: false },
    problem: { state: true },
    busy: { state: true },
  };

  constructor() {
    super();
    this.heading = '';
    /** @type {(problem: import('../api.js').Problem | null) => unknown} */
    this.content = () => nothing;
    this.confirm = '';
    /** The fields of the form that show what is wrong with them. @type {string[]} */
    this.fields = [];
    this.danger = false;
    this.wide = false;
    /** @type {(form: FormData) => Promise<unknown>} */
    this.work = async () => undefined;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    this.busy = false;
  }

  firstUpdated() {
    this.querySelector('dialog')?.showModal();
    // Who is asked something begins with the answer.
    const first = this.querySelector('.dialog-body :is(input, select, textarea)');
    if (first instanceof HTMLElement) first.focus();
  }

  close() {
    this.querySelector('dialog')?.close();
  }

  /** @param {SubmitEvent} event */
  async submit(event) {
    event.preventDefault();
    if (this.busy) return;
    this.busy = true;
    this.problem = null;
    try {
      await this.work(new FormData(/** @type {HTMLFormElement} */ (event.target)));
      this.close();
    } catch (error) {
      this.problem = asProblem(error);
    } finally {
      this.busy = false;
    }
  }

  render() {
    return html`<dialog
      class="dialog ${this.wide ? 'broad' : ''}"
      aria-labelledby="dialog-heading"
      @close=${() => this.remove()}
      @click=${(/** @type {Event} */ event) => event.target === event.currentTarget && this.close()}
    >
      <form class="dialog-form" @submit=${this.submit}>
        <header class="dialog-head">
          <h2 id="dialog-heading">${this.heading}</h2>
          <button type="button" class="plain square" aria-label=${t('close')} @click=${this.close}>
            ${icon('close')}
          </button>
        </header>
        <div class="dialog-body">${this.content(this.problem)}${shown(this.problem, this.fields)}</div>
        <footer class="dialog-foot">
          <button type="button" @click=${this.close}>${this.confirm ? t('cancel') : t('close')}</button>
          ${this.confirm ? html`<button class=${this.danger ? 'danger' : 'primary'} ?disabled=${this.busy}>${this.confirm}</button>` : nothing}
        </footer>
      </form>
    </dialog>`;
  }
}
customElements.define('fl-dialog', Dialog);

/**
 * Opens a dialog.
 * @param {{ heading: string, content: (problem: import('../api.js').Problem | null) => unknown, confirm?: string, fields?: string[], danger?: boolean, wide?: boolean, work?: (form: FormData) => Promise<unknown> }} what
 */
export function ask(what) {
  const dialog = new Dialog();
  Object.assign(dialog, { confirm: '' }, what);
  document.body.append(dialog);
  return dialog;
}

let line = 0;

/** Says that something is done, for a moment, to eyes and to screen readers. @param {string} text */
export function say(text) {
  const place = document.querySelector('.said');
  if (!place) return;
  place.textContent = text;
  place.classList.add('visible');
  const mine = (line += 1);
  setTimeout(() => mine === line && place.classList.remove('visible'), 4000);
}
