// "Verify": fetches an event's record, its proof and the signed checkpoint, and checks them in this browser.

import { Problem, get, getText } from '../api.js';
import { t } from '../i18n.js';
import { checkEvent, lacks } from '../proof/check.js';
import { readProof } from '../proof/given.js';
import { writeEvent } from '../proof/record.js';
import { may } from '../session.js';
import { say } from './dialog.js';
import { download } from './files.js';
import { icon } from './icons.js';
import { Part, asProblem, html, nothing, shown } from './part.js';
import { checked, means, reasons, steps, verdict } from './proof-report.js';
import { keepCheckpoint, trust, trustNotice } from './trust.js';

/** How long the page waits between two questions whether the event is signed yet, in milliseconds. */
const AGAIN = 2000;

class EventVerify extends Part {
  static properties = {
    log: { type: Number },
    position: { type: Number },
    report: { state: true },
    problem: { state: true },
    busy: { state: true },
    lacking: { state: true },
  };

  constructor() {
    super();
    this.log = 0;
    this.position = 0;
    /** @type {import('../proof/check.js').Report | null} */
    this.report = null;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    /** What it does now: nothing, checks, or waits until the event is signed. @type {'' | 'checks' | 'waits'} */
    this.busy = '';
    /** @type {string | null} */
    this.lacking = null;
    /** @type {import('./trust.js').Trust | null} */
    this.known = null;
    /** @type {{ event: import('../proof/record.js').Event, proof: import('../proof/given.js').Proof, text: string } | null} */
    this.given = null;
    this.timer = 0;
  }

  connectedCallback() {
    super.connectedCallback();
    this.whenGone(() => clearTimeout(this.timer));
  }

  async verify() {
    clearTimeout(this.timer);
    [this.problem, this.report, this.busy] = [null, null, 'checks'];
    try {
      this.lacking = await lacks();
      const path = `/events/${this.log}/${this.position}`;
      const [event, text, known] = await Promise.all([get(`${path}/record`), getText(`${path}/proof`), checked(trust)]);
      this.known = known;
      this.given = await checked(async () => ({ event, proof: readProof(text), text }));
      const { proof } = this.given;
      this.report = await checked(() => checkEvent(event, proof, known.keys));
      this.busy = '';
    } catch (error) {
      const problem = asProblem(error);
      this.busy = problem instanceof Problem && problem.code === 'not_yet' ? 'waits' : '';
      if (this.busy) this.timer = window.setTimeout(() => this.verify(), AGAIN);
      else this.problem = problem;
    }
  }

  save() {
    if (!this.given) return;
    const { event, text } = this.given;
    const key = this.known?.service ?? '';
    const head = `# ${t('proof.file', { host: location.host })}\n# ${key}\n`;
    download(`event-${this.log}-${this.position}.proof`, `${head}${writeEvent(event)}\n${text}`);
  }

  keep() {
    if (!this.given) return;
    keepCheckpoint(this.given.proof.checkpoint.text);
    say(t('proof.kept'));
  }

  answer() {
    const { report, given } = this;
    if (!report || !given) return nothing;
    const { size } = given.proof.checkpoint;
    const titles = { good: 'verify.event.good', bad: 'verify.event.bad', unknown: 'verify.event.unknown' };
    const title = t(/** @type {import('../i18n.js').Key} */ (titles[report.verdict]), { size });
    return html`${verdict(report.verdict, title, report.verdict === 'good' ? nothing : reasons(report.steps))}
      ${this.known ? trustNotice(this.known) : nothing} ${steps(report)}
      ${report.verdict === 'good' ? means({ of: 'event' }) : nothing}
      <div class="actions">
        <button @click=${this.save}>${icon('save')}${t('proof.save')}</button>
        <button @click=${this.keep}>${icon('check')}${t('proof.keep')}</button>
        <a class="button" href="/app/proof">${t('proof.all')}</a>
      </div>`;
  }

  render() {
    if (!may('events.read')) return nothing;
    return html`<section class="sheet" aria-labelledby="verify">
      <div class="sheet-head">
        <h2 id="verify" class="grow">${t('verify.event')}</h2>
        <button class=${this.report ? '' : 'primary'} ?disabled=${this.busy !== ''} @click=${this.verify}>
          ${icon('proof')}${this.report ? t('verify.event.again') : t('verify.event.button')}
        </button>
      </div>
      <div class="sheet-body stack">
        ${this.report ? nothing : html`<p class="muted">${t('verify.event.what')}</p>`}
        ${
          this.busy
            ? html`<p role="status">
                <span class="spinner" aria-hidden="true"></span>
                ${this.busy === 'waits' ? t('verify.event.waits') : t('verify.event.checks')}
              </p>`
            : nothing
        }
        ${shown(this.problem)} ${this.answer()}
      </div>
    </section>`;
  }
}
customElements.define('fl-event-verify', EventVerify);
