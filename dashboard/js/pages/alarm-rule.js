// One alarm rule, or a new one: what it looks for, and what it would have raised.

import { get, graphql } from '../api.js';
import { t } from '../i18n.js';
import { ask, say } from '../parts/dialog.js';
import { Part, asProblem, html, nothing, shown, waiting } from '../parts/part.js';
import { people } from '../parts/people.js';
import { metrics } from '../parts/readings.js';
import { NEW, devicesKind, fields, ruleOf } from '../parts/rule-form.js';
import '../parts/rule-preview.js';
import { readRule, removeRule, saveRule } from '../parts/rules.js';
import { go, query } from '../router.js';
import { may, me } from '../session.js';

/** @typedef {import('../parts/rule-text.js').Rule} Rule */
/** @typedef {import('../parts/rules.js').Definition} Definition */

/** The fields that show their own reasons. */
const OWN = ['title', 'condition', 'devices', 'mail'];

/** A name for a rule, out of its title. @param {string} title */
const slug = (title) =>
  title
    .normalize('NFD')
    .replace(/\p{M}/gu, '')
    .replaceAll(/[đĐ]/g, 'd')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replace(/^-+/, '')
    .slice(0, 64)
    .replace(/-+$/, '');

class AlarmRulePage extends Part {
  static properties = {
    params: { attribute: false },
    rule: { state: true },
    draft: { state: true },
    shape: { state: true },
    offers: { state: true },
    name: { state: true },
    problem: { state: true },
    loading: { state: true },
    busy: { state: true },
  };

  constructor() {
    super();
    /** @type {Record<string, string>} */
    this.params = {};
    /** The rule as the form began. @type {Definition | null} */
    this.rule = null;
    this.version = 0;
    /** The rule as the form says it now; `null` while something is missing. @type {Definition | null} */
    this.draft = null;
    this.shape = { kind: 'threshold', devices: 'all' };
    /** @type {import('../parts/rule-form.js').Offers} */
    this.offers = { metrics: [], commands: [], people: [], names: {} };
    this.name = '';
    this.named = false;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
    this.loading = true;
    this.busy = false;
  }

  get isNew() {
    return this.params.name === undefined;
  }

  connectedCallback() {
    super.connectedCallback();
    this.load();
    this.offer();
  }

  async load() {
    this.loading = true;
    try {
      const like = this.params.name ?? query('like');
      const found = like ? await readRule(like) : null;
      if (found && !this.isNew) this.version = found.version;
      this.begin(found);
      this.problem = null;
    } catch (error) {
      this.problem = asProblem(error);
    }
    this.loading = false;
    await this.updateComplete;
    this.read();
  }

  /** @param {Rule | null} found */
  begin(found) {
    const device = query('device');
    const { name: _name, version: _version, ...definition } = found ?? { name: '', version: 0, ...NEW() };
    this.rule = device && this.isNew ? { ...definition, devices: { uids: [device] } } : definition;
    const metric = query('metric');
    if (metric && this.isNew && !found) this.rule.condition = { ...this.rule.condition, metric };
    this.shape = { kind: this.rule.condition.kind, devices: devicesKind(this.rule.devices) };
  }

  /** What the form offers to choose from; the form works without it. */
  async offer() {
    const mine = me();
    const all = await people().catch(() => []);
    const mailed = all.length ? all.filter((one) => one.status === 'active') : mine ? [mine] : [];
    this.offers = {
      ...this.offers,
      people: mailed.map((one) => one.user_id),
      names: Object.fromEntries(
        [...all, ...mailed].map((one) => [
          one.user_id,
          one.verified ? one.email : `${one.email}, ${t('account.unverified')}`,
        ]),
      ),
    };
    const [commands, seen] = await Promise.all([
      may('command_types.read') ? get('/command-types').catch(() => null) : null,
      may('devices.read')
        ? graphql('{ devices(sort: LAST_SEEN_AT_DESC, first: 50) { nodes { lastReading { payload } } } }').catch(
            () => null,
          )
        : null,
    ]);
    const payloads = (seen?.devices.nodes ?? []).map((/** @type {any} */ one) => one.lastReading?.payload);
    this.offers = {
      ...this.offers,
      commands: (commands?.items ?? []).map((/** @type {{ name: string }} */ one) => one.name),
      metrics: [...new Set(payloads.flatMap((/** @type {any} */ one) => Object.keys(metrics(one))))].sort(),
    };
  }

  get form() {
    return /** @type {HTMLFormElement | null} */ (this.querySelector('form.rule'));
  }

  /** Reads the form: another kind of condition or of devices has other fields. @returns {Promise<void>} */
  async read() {
    if (!this.form) return;
    // A form that is only shown has no values of its own.
    if (!may('alarm_rules.write')) {
      this.draft = this.rule;
      return;
    }
    const form = new FormData(this.form);
    const shape = { kind: `${form.get('kind')}`, devices: `${form.get('devices')}` };
    if (this.isNew && !this.named) this.name = slug(`${form.get('title')}`);
    if (shape.kind !== this.shape.kind || shape.devices !== this.shape.devices) {
      this.keepMetric(form);
      this.shape = shape;
      await this.updateComplete;
      return this.read();
    }
    const parts = [...this.form.querySelectorAll('input, select, textarea')];
    const isFilled = parts.every(
      (part) => part.matches('[name=title], [name=name]') || /** @type {HTMLInputElement} */ (part).validity.valid,
    );
    try {
      this.draft = isFilled ? ruleOf(form) : null;
    } catch {
      // A line that is no label: saving says so.
      this.draft = null;
    }
  }

  /** The metric stays what it is when the kind of condition changes. @param {FormData} form */
  keepMetric(form) {
    const metric = form.get('metric');
    if (this.rule && metric) this.rule = { ...this.rule, condition: { ...this.rule.condition, metric: `${metric}` } };
  }

  /** @param {SubmitEvent} event */
  async save(event) {
    event.preventDefault();
    if (this.busy || !this.form) return;
    this.busy = true;
    this.problem = null;
    try {
      const name = this.isNew ? this.name : (this.params.name ?? '');
      const { position } = await saveRule(name, ruleOf(new FormData(this.form)), this.version);
      say(t('saved', { position: position ?? '–' }));
      go('/app/alarms/rules');
    } catch (error) {
      this.problem = asProblem(error);
    }
    this.busy = false;
  }

  drop() {
    const name = this.params.name ?? '';
    ask({
      heading: t('rule.remove.heading', { name }),
      confirm: t('rule.remove'),
      danger: true,
      content: () => html`<p>${t('rule.remove.why')}</p>`,
      work: async () => {
        const { position } = await removeRule(name);
        say(t('rule.removed', { position: position ?? '–' }));
        go('/app/alarms/rules');
      },
    });
  }

  nameField() {
    return html`<div class="field">
      <label for="name">${t('rule.name')}</label
      ><input
        id="name"
        name="name"
        required
        maxlength="64"
        pattern="[A-Za-z0-9_.\\-]+"
        autocapitalize="none"
        spellcheck="false"
        .value=${this.name}
        aria-describedby="name-hint"
        @input=${(/** @type {InputEvent} */ event) => {
          this.name = /** @type {HTMLInputElement} */ (event.target).value.trim();
          this.named = this.name !== '';
        }}
      />
      <p class="hint" id="name-hint">${t('rule.name.hint')}</p>
    </div>`;
  }

  head() {
    const { name } = this.params;
    const canWrite = may('alarm_rules.write');
    return html`<div class="page-head">
      <div class="grow">
        <p class="small"><a href="/app/alarms/rules">${t('rules')}</a></p>
        <h1>${this.isNew ? t('rules.new') : this.rule?.title || name}</h1>
        ${this.isNew ? html`<p class="sub">${t('rules.new.sub')}</p>` : html`<p class="sub"><code>${name}</code>${this.version ? ` · ${t('alarm.rule.version', { version: this.version })}` : ''}</p>`}
      </div>
      ${
        this.isNew || !this.rule
          ? nothing
          : html`<div class="actions">
              <a class="button" href=${`/app/alarms?rule=${encodeURIComponent(name ?? '')}`}
                >${t('alarm.rule.alarms')}</a
              >
              ${canWrite ? html`<a class="button" href=${`/app/alarms/new-rule?like=${encodeURIComponent(name ?? '')}`}>${t('rule.copy')}</a><button class="danger" @click=${this.drop}>${t('rule.remove.open')}</button>` : nothing}
            </div>`
      }
    </div>`;
  }

  /** @param {Definition} rule */
  editor(rule) {
    const canWrite = may('alarm_rules.write');
    return html`<form class="sheet rule" @input=${this.read} @submit=${this.save}>
      <fieldset class="bare" ?disabled=${!canWrite}>
        <div class="sheet-body fields">
          ${canWrite ? nothing : html`<p class="notice">${t('rule.readonly')}</p>`}
          ${fields(rule, this.shape, this.offers, this.problem)}${this.isNew ? this.nameField() : nothing}
          ${shown(this.problem, OWN)}
        </div>
      </fieldset>
      ${
        canWrite
          ? html`<div class="form-foot">
              ${this.isNew ? nothing : html`<p class="small muted grow">${t('rule.change.means')}</p>`}
              <a class="button" href="/app/alarms/rules">${t('cancel')}</a
              ><button class="primary" ?disabled=${this.busy}>${this.isNew ? t('rule.create') : t('save')}</button>
            </div>`
          : nothing
      }
    </form>`;
  }

  render() {
    if (this.loading) return html`${this.head()}${waiting(8)}`;
    if (!this.rule) return html`${this.head()}${shown(this.problem)}`;
    return html`${this.head()}
      <div class="grid two">
        ${this.editor(this.rule)}
        <fl-rule-preview class="beside" .rule=${this.draft}></fl-rule-preview>
      </div>`;
  }
}
customElements.define('fl-alarm-rule', AlarmRulePage);
