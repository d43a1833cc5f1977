// The form of an alarm rule: what is asked for, and the rule that a filled form says.

import { t, word } from '../i18n.js';
import { SEVERITIES } from './alarms.js';
import { labelText, labelsOf } from './labels.js';
import { html, nothing } from './part.js';
import { KINDS } from './rule-text.js';
import { who } from './who.js';

/** @typedef {import('./rules.js').Definition} Definition */
/** @typedef {import('../api.js').Problem} Problem */
/**
 * What the form offers to choose from.
 * @typedef {{ metrics: string[], commands: string[], people: string[], names: Record<string, string> }} Offers
 */

/** The units of a time, in seconds. */
const UNITS = /** @type {const} */ ([1, 60, 3600, 86_400]);
/** The longest times: that a value holds, within which it changes, of a silence. In seconds. */
const LONGEST = { hold: 604_800, within: 86_400, silence: 2_592_000 };

/** What a new rule says before anybody has changed it. @returns {Definition} */
export const NEW = () => ({
  title: '',
  severity: 'major',
  devices: null,
  condition: { kind: 'threshold', metric: '', is: 'above', for_s: 60 },
  mail: [],
});

/** @param {Problem | null} problem @param {string} field */
const wrong = (problem, field) => {
  const reason = problem?.of(field);
  return reason ? html`<p class="wrong" role="alert">${reason}</p>` : nothing;
};

/** @param {string} name @param {string} label @param {number | undefined} seconds @param {string} hint */
function time(name, label, seconds, hint) {
  const unit = seconds ? (UNITS.findLast((one) => seconds % one === 0) ?? 1) : 60;
  return html`<div class="field">
    <label for=${name}>${label}</label>
    <div class="with-button">
      <input
        id=${name}
        name=${name}
        type="number"
        min="0"
        step="any"
        inputmode="decimal"
        required
        aria-describedby=${`${name}-hint`}
        .value=${seconds === undefined ? '' : `${seconds / unit}`}
      /><select name=${`${name}-unit`} aria-label=${t('rule.unit')}>
        ${UNITS.map((one) => html`<option value=${one} ?selected=${one === unit}>${word('unit', `${one}`)}</option>`)}
      </select>
    </div>
    <p class="hint" id=${`${name}-hint`}>${hint}</p>
  </div>`;
}

/** @param {string} name @param {string} label @param {number | null | undefined} value @param {{ hint?: string, optional?: boolean }} [more] */
function amount(name, label, value, { hint = '', optional = false } = {}) {
  return html`<div class="field">
    <label for=${name}>${label}${optional ? html` <span class="faint">${t('optional')}</span>` : nothing}</label
    ><input
      id=${name}
      name=${name}
      type="number"
      step="any"
      inputmode="decimal"
      ?required=${!optional}
      .value=${value === null || value === undefined ? '' : `${value}`}
    />${hint ? html`<p class="hint">${hint}</p>` : nothing}
  </div>`;
}

/** @param {string | undefined} metric @param {Offers} offers */
const metricField = (metric, offers) =>
  html`<div class="field">
    <label for="metric">${t('alarm.metric')}</label
    ><input
      id="metric"
      name="metric"
      list="metrics"
      required
      maxlength="128"
      autocomplete="off"
      autocapitalize="none"
      spellcheck="false"
      .value=${metric ?? ''}
    /><datalist id="metrics">${offers.metrics.map((one) => html`<option value=${one}></option>`)}</datalist>
    <p class="hint">${t('rule.metric.hint')}</p>
  </div>`;

/** The fields of a kind of condition. @param {Definition['condition']} condition @param {Offers} offers */
function conditionFields(condition, offers) {
  switch (condition.kind) {
    case 'threshold':
      return html`${metricField(condition.metric, offers)}
        <div class="pair">
          <div class="field">
            <label for="is">${t('rule.side')}</label
            ><select id="is" name="is">
              ${['above', 'below'].map((one) => html`<option value=${one} ?selected=${one === condition.is}>${word('rule.side', one)}</option>`)}
            </select>
          </div>
          ${amount('value', t('rule.value'), condition.value)}
        </div>
        <div class="pair">
          ${time('hold', t('rule.hold'), condition.for_s ?? 0, t('rule.hold.hint'))}
          ${amount('clear', t('rule.clear'), condition.clear_value, { hint: t('rule.clear.hint'), optional: true })}
        </div>`;
    case 'rate':
      return html`${metricField(condition.metric, offers)}
        <div class="pair">
          ${amount('by', t('rule.by'), condition.by, { hint: t('rule.by.hint') })}
          ${time('within', t('rule.within'), condition.within_s ?? 60, t('rule.within.hint'))}
        </div>`;
    case 'silent':
      return time('silence', t('rule.silence'), condition.for_s ?? 300, t('rule.silence.hint'));
    default:
      return commandsField(condition.cmds ?? [], offers.commands);
  }
}

/** @param {string[]} chosen @param {string[]} offered */
function commandsField(chosen, offered) {
  const all = [...new Set([...offered, ...chosen])];
  return html`<fieldset class="field">
    <legend class="field-label">${t('rule.commands')}</legend>
    <div class="checks">
      ${all.map((one) => html`<label class="check"><input type="checkbox" name="cmd" value=${one} ?checked=${chosen.includes(one)} /><code>${one}</code></label>`)}
    </div>
    <p class="hint">${t('rule.commands.hint')}</p>
  </fieldset>`;
}

/** @param {Definition['devices']} devices @param {string} which @param {Problem | null} problem */
function devicesField(devices, which, problem) {
  const labels = devices && 'labels' in devices ? labelText(devices.labels) : '';
  const uids = devices && 'uids' in devices ? devices.uids.join('\n') : '';
  const area = (/** @type {string} */ name, /** @type {string} */ value, /** @type {string} */ hint) =>
    html`<label class="visually-hidden" for=${name}>${word('rule.devices', which)}</label
      ><textarea
        id=${name}
        name=${name}
        rows="3"
        required
        autocapitalize="none"
        spellcheck="false"
        .value=${value}
        placeholder=${name === 'labels' ? 'site=hanoi' : 'dev-01'}
      ></textarea>
      <p class="hint">${hint}</p>`;
  return html`<div class="field">
    <label for="devices">${t('rule.devices')}</label
    ><select id="devices" name="devices">
      ${['all', 'labels', 'uids'].map((one) => html`<option value=${one} ?selected=${one === which}>${word('rule.devices', one)}</option>`)}
    </select>
    ${which === 'labels' ? area('labels', labels, t('labels.rule')) : which === 'uids' ? area('uids', uids, t('rule.devices.uids.hint')) : nothing}
    ${wrong(problem, 'devices')}
  </div>`;
}

/** @param {string[]} chosen @param {Offers} offers @param {Problem | null} problem */
function mailField(chosen, offers, problem) {
  const all = [...new Set([...offers.people, ...chosen])];
  return html`<fieldset class="field">
    <legend class="field-label">${t('rule.mail')} <span class="faint">${t('optional')}</span></legend>
    <div class="checks">
      ${all.map(
        (one) =>
          html`<label class="check"
            ><input type="checkbox" name="mail" value=${one} ?checked=${chosen.includes(one)} /><span
              >${who(one)} <span class="faint">${offers.names[one] ?? nothing}</span></span
            ></label
          >`,
      )}
    </div>
    <p class="hint">${t('rule.mail.hint')}</p>
    ${wrong(problem, 'mail')}
  </fieldset>`;
}

/** Which devices a rule names. @param {Definition['devices']} devices */
export const devicesKind = (devices) => (devices ? ('labels' in devices ? 'labels' : 'uids') : 'all');

/**
 * The form's fields.
 * @param {Definition} rule
 * @param {{ kind: string, devices: string }} shape What is chosen at the moment.
 * @param {Offers} offers
 * @param {Problem | null} problem
 */
export function fields(rule, shape, offers, problem) {
  const condition =
    rule.condition.kind === shape.kind ? rule.condition : { ...rule.condition, kind: shape.kind, for_s: undefined };
  return html`<div class="pair">
      <div class="field">
        <label for="title">${t('rule.title')}</label
        ><input
          id="title"
          name="title"
          required
          maxlength="200"
          .value=${rule.title}
          placeholder=${t('rule.title.example')}
          aria-invalid=${problem?.of('title') ? 'true' : nothing}
        />${wrong(problem, 'title')}
      </div>
      <div class="field">
        <label for="severity">${t('alarm.severity')}</label
        ><select id="severity" name="severity" aria-describedby="severity-hint">
          ${SEVERITIES.map((one) => html`<option value=${one} ?selected=${one === rule.severity}>${word('severity', one)}: ${word('severity.means', one)}</option>`)}
        </select>
      </div>
    </div>
    <fieldset class="field">
      <legend class="field-label">${t('rule.kind')}</legend>
      <div class="kinds">
        ${KINDS.map(
          (one) =>
            html`<label class="kind"
              ><input type="radio" name="kind" value=${one} ?checked=${one === shape.kind} /><span
                ><b>${word('rule.kind', one)}</b><span class="small muted">${word('rule.kind.means', one)}</span></span
              ></label
            >`,
        )}
      </div>
    </fieldset>
    ${conditionFields(condition, offers)}${wrong(problem, 'condition')}
    ${devicesField(rule.devices, shape.devices, problem)} ${mailField(rule.mail, offers, problem)}`;
}

/** @param {FormData} form @param {string} name */
const text = (form, name) => `${form.get(name) ?? ''}`.trim();
/** @param {FormData} form @param {string} name @param {number} most */
const timeOf = (form, name, most) =>
  Math.min(Math.round(Number(form.get(name)) * Number(form.get(`${name}-unit`))), most);

/** @param {FormData} form @returns {Definition['condition']} */
function conditionOf(form) {
  const kind = text(form, 'kind');
  const metric = text(form, 'metric');
  switch (kind) {
    case 'threshold': {
      const [clear, hold] = [text(form, 'clear'), timeOf(form, 'hold', LONGEST.hold)];
      const is = text(form, 'is') === 'below' ? 'below' : 'above';
      const value = Number(form.get('value'));
      return {
        kind,
        metric,
        is,
        value,
        ...(clear ? { clear_value: Number(clear) } : {}),
        ...(hold ? { for_s: hold } : {}),
      };
    }
    case 'rate':
      return { kind, metric, by: Number(form.get('by')), within_s: timeOf(form, 'within', LONGEST.within) };
    case 'silent':
      return { kind, for_s: timeOf(form, 'silence', LONGEST.silence) };
    default:
      return { kind, cmds: form.getAll('cmd').map(String) };
  }
}

/** @param {FormData} form @returns {Definition['devices']} */
function devicesOf(form) {
  const which = text(form, 'devices');
  if (which === 'labels') return { labels: labelsOf(text(form, 'labels')) };
  return which === 'uids'
    ? {
        uids: text(form, 'uids')
          .split(/[\s,]+/)
          .filter(Boolean),
      }
    : null;
}

/** The rule that a filled form says. @param {FormData} form @returns {Definition} */
export const ruleOf = (form) => ({
  title: text(form, 'title'),
  severity: text(form, 'severity'),
  devices: devicesOf(form),
  condition: conditionOf(form),
  mail: form.getAll('mail').map(String),
});
