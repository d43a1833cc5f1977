// A place to write GraphQL or JSON: line numbers, colours, and, with a schema, completion.

import { t } from '../i18n.js';
import { complete } from '../graphql/complete.js';
import { tokens } from '../graphql/tokens.js';
import { Part, html, nothing } from './part.js';
import { described } from './schema-browser.js';

const INDENT = '  ';
/** @type {Record<string, string>} */
const PAIRS = { '{': '}', '(': ')', '[': ']' };
const KEYWORDS = new Set(['query', 'mutation', 'subscription', 'fragment', 'on', 'true', 'false', 'null']);
/** The most proposals that are shown. */
const MOST = 60;

/** @param {import('../graphql/tokens.js').Token} token */
const colour = ({ kind, text }) => (kind === 'name' && KEYWORDS.has(text) ? 'keyword' : kind);

/** Text in colours. @param {string} text */
export const coloured = (text) =>
  tokens(text).map((token) =>
    token.kind === 'space' ? token.text : html`<span class="tok-${colour(token)}">${token.text}</span>`,
  );

class Editor extends Part {
  static properties = {
    value: {},
    label: {},
    schema: { attribute: false },
    rows: { type: Number },
    proposal: { state: true },
    at: { state: true },
  };

  constructor() {
    super();
    this.value = '';
    this.label = '';
    /** @type {import('../graphql/schema.js').Schema | null} */
    this.schema = null;
    this.rows = 16;
    /** @type {import('../graphql/complete.js').Completion | null} */
    this.proposal = null;
    this.at = 0;
    /** Whether the next Tab leaves the editor: so it does after Escape. */
    this.leaves = false;
  }

  get area() {
    return /** @type {HTMLTextAreaElement} */ (this.querySelector('textarea'));
  }

  get caret() {
    return this.area?.selectionStart ?? 0;
  }

  /** Puts the caret to a line and column, from 1. @param {number} line @param {number} column */
  goTo(line, column) {
    const lines = this.value.split('\n').slice(0, line - 1);
    const at = lines.reduce((sum, one) => sum + one.length + 1, 0) + column - 1;
    this.area.focus();
    this.area.setSelectionRange(at, at);
  }

  /** Writes over a range, so that undo takes it back. @param {number} from @param {number} to @param {string} text */
  write(from, to, text) {
    const { area } = this;
    area.focus();
    area.setSelectionRange(from, to);
    // The one way that keeps the browser's undo; where it is not there, the text is set.
    if (!document.execCommand('insertText', false, text)) area.setRangeText(text, from, to, 'end');
    this.changed();
  }

  changed() {
    this.value = this.area.value;
    this.dispatchEvent(new CustomEvent('written', { detail: this.value }));
  }

  input() {
    this.changed();
    const before = this.value.slice(0, this.caret);
    if (this.schema && (/[\w$@]$/.test(before) || this.proposal)) this.propose();
    else this.proposal = null;
  }

  propose() {
    if (!this.schema) return;
    const found = complete(this.value, this.caret, this.schema);
    const written = this.value.slice(found.from, this.caret);
    const isWhole = found.items.length === 1 && found.items[0]?.text === written;
    this.proposal = found.items.length && !isWhole ? { ...found, items: found.items.slice(0, MOST) } : null;
    this.at = 0;
  }

  /** @param {number} nth */
  accept(nth) {
    const { proposal } = this;
    const item = proposal?.items[nth];
    if (!proposal || !item) return;
    this.proposal = null;
    const text = item.insert ?? item.text;
    const rest = this.value.slice(proposal.to);
    const line = this.value.slice(0, proposal.from).split('\n').at(-1) ?? '';
    const indent = /^\s*/.exec(line)?.[0] ?? '';
    const isFree = /^\s*(\n|\}|$)/.test(rest);
    if (text.endsWith(' {') && isFree) {
      this.write(proposal.from, proposal.to, `${text}\n${indent}${INDENT}\n${indent}}`);
      this.area.setSelectionRange(this.caret - indent.length - 2, this.caret - indent.length - 2);
      this.propose();
    } else if (text.endsWith('(')) {
      this.write(proposal.from, proposal.to, `${text})`);
      this.area.setSelectionRange(this.caret - 1, this.caret - 1);
      this.propose();
    } else this.write(proposal.from, proposal.to, text.endsWith('{') && !isFree ? item.text : text);
  }

  /** @param {KeyboardEvent} event */
  press(event) {
    if (event.isComposing) return;
    if (!['Escape', 'Tab', 'Shift'].includes(event.key)) this.leaves = false;
    if (this.proposal && this.choose(event)) return event.preventDefault();
    if (event.key === ' ' && event.ctrlKey) {
      event.preventDefault();
      this.propose();
    } else if (event.key === 'Escape') this.leaves = true;
    else if (event.key === 'Tab' && this.leaves) this.leaves = false;
    else if (this.edit(event)) event.preventDefault();
  }

  /** Keys while proposals are open. @param {KeyboardEvent} event @returns {boolean} */
  choose(event) {
    const count = this.proposal?.items.length ?? 0;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) this.at = (this.at + step + count) % count;
    else if ((event.key === 'Enter' && !event.ctrlKey && !event.metaKey) || event.key === 'Tab') this.accept(this.at);
    else if (event.key === 'Escape') {
      event.stopPropagation();
      this.proposal = null;
    } else return false;
    this.updateComplete.then(() => this.querySelector('[aria-selected=true]')?.scrollIntoView({ block: 'nearest' }));
    return true;
  }

  /** Keys that write more than themselves. @param {KeyboardEvent} event @returns {boolean} */
  edit(event) {
    const { selectionStart: from, selectionEnd: to } = this.area;
    const before = this.value.slice(0, from);
    const next = this.value.charAt(to);
    const command = event.ctrlKey || event.metaKey;
    if (command && event.key === '/')
      this.eachLine((line) => (line.startsWith('#') ? line.replace(/^# ?/, '') : `# ${line}`));
    else if (command || event.altKey) return false;
    else if (event.key === 'Tab' && event.shiftKey) this.eachLine((line) => line.replace(/^ {1,2}/, ''));
    else if (event.key === 'Tab' && from !== to) this.eachLine((line) => INDENT + line);
    else if (event.key === 'Tab') this.write(from, to, INDENT);
    else if (event.key === 'Enter') this.newLine(before, next, from, to);
    else if (PAIRS[event.key] && from === to && /^[\s)\]}]?$/.test(next)) {
      this.write(from, to, event.key + PAIRS[event.key]);
      this.area.setSelectionRange(from + 1, from + 1);
    } else if (Object.values(PAIRS).includes(event.key) && next === event.key && from === to) {
      this.area.setSelectionRange(to + 1, to + 1);
    } else return false;
    return true;
  }

  /** @param {string} before @param {string} next @param {number} from @param {number} to */
  newLine(before, next, from, to) {
    const indent = /^\s*/.exec(before.split('\n').at(-1) ?? '')?.[0] ?? '';
    const opens = /[{([]\s*$/.test(before);
    const closes = opens && /[})\]]/.test(next);
    this.write(from, to, `\n${indent}${opens ? INDENT : ''}${closes ? `\n${indent}` : ''}`);
    if (closes) this.area.setSelectionRange(this.caret - indent.length - 1, this.caret - indent.length - 1);
  }

  /** Changes each line of the selection. @param {(line: string) => string} change */
  eachLine(change) {
    const { selectionStart: from, selectionEnd: to } = this.area;
    const begin = this.value.lastIndexOf('\n', from - 1) + 1;
    const end = this.value.indexOf('\n', to) < 0 ? this.value.length : this.value.indexOf('\n', to);
    const text = this.value.slice(begin, end).split('\n').map(change).join('\n');
    this.write(begin, end, text);
    this.area.setSelectionRange(begin, begin + text.length);
  }

  /** Keeps colours and line numbers under the text, and the proposals at the caret. */
  place() {
    const { area } = this;
    const [colours, gutter, list] = ['.colours', '.gutter', '.proposals'].map((one) => this.querySelector(one));
    if (colours instanceof HTMLElement)
      colours.style.transform = `translate(${-area.scrollLeft}px, ${-area.scrollTop}px)`;
    if (gutter instanceof HTMLElement) gutter.style.transform = `translateY(${-area.scrollTop}px)`;
    if (!(list instanceof HTMLElement) || !this.proposal) return;
    const lines = this.value.slice(0, this.proposal.from).split('\n');
    const style = getComputedStyle(area);
    const [line, letter] = [parseFloat(style.lineHeight), this.letterWidth(style)];
    const left =
      (area.parentElement?.offsetLeft ?? 0) +
      parseFloat(style.paddingLeft) +
      (lines.at(-1)?.length ?? 0) * letter -
      area.scrollLeft;
    list.style.left = `${Math.max(8, Math.min(left, this.clientWidth - list.offsetWidth - 8))}px`;
    list.style.top = `${parseFloat(style.paddingTop) + lines.length * line - area.scrollTop + 4}px`;
  }

  /** @param {CSSStyleDeclaration} style */
  letterWidth(style) {
    const context = document.createElement('canvas').getContext('2d');
    if (!context) return 8;
    context.font = `${style.fontSize} ${style.fontFamily}`;
    return context.measureText('0').width;
  }

  firstUpdated() {
    this.area.value = this.value;
  }

  updated() {
    if (this.area.value !== this.value) this.area.value = this.value;
    this.place();
  }

  proposals() {
    const { proposal } = this;
    if (!proposal) return nothing;
    const chosen = proposal.items[this.at];
    return html`<div class="proposals">
      <ul id=${`${this.id}-proposals`} role="listbox" aria-label=${t('console.proposals')}>
        ${proposal.items.map(
          (item, nth) =>
            html`<li
              id=${`${this.id}-proposal-${nth}`}
              role="option"
              aria-selected=${nth === this.at}
              @mousedown=${(/** @type {Event} */ event) => {
                event.preventDefault();
                this.accept(nth);
              }}
            >
              <code>${item.text}</code><code class="faint">${item.type}</code>
            </li>`,
        )}
      </ul>
      ${chosen?.description ? html`<p class="small muted">${described(chosen.description)}</p>` : nothing}
    </div>`;
  }

  render() {
    const lines = this.value.split('\n').length;
    return html`<div class="editor">
      <div class="gutter-box" aria-hidden="true">
        <div class="gutter">${Array.from({ length: lines }, (_, nth) => html`<span>${nth + 1}</span>`)}</div>
      </div>
      <div class="page">
        <pre class="colours" aria-hidden="true">
${coloured(this.value)}
</pre>
        <textarea
          rows=${this.rows}
          wrap="off"
          spellcheck="false"
          autocomplete="off"
          autocapitalize="none"
          aria-label=${this.label}
          aria-description=${t('console.leave')}
          aria-autocomplete=${this.schema ? 'list' : nothing}
          aria-controls=${this.proposal ? `${this.id}-proposals` : nothing}
          aria-activedescendant=${this.proposal ? `${this.id}-proposal-${this.at}` : nothing}
          @input=${this.input}
          @keydown=${this.press}
          @scroll=${this.place}
          @blur=${() => (this.proposal = null)}
        ></textarea>
      </div>
      ${this.proposals()}
    </div>`;
  }
}
customElements.define('fl-editor', Editor);
