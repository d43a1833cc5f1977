// Alarm rules in words: what a rule looks for, and at which devices.

import { duration, number, t, word } from '../i18n.js';
import { html } from './part.js';

/**
 * @typedef {{
 *   kind: string, metric?: string, is?: 'above' | 'below', value?: number, clear_value?: number | null, for_s?: number,
 *   by?: number, within_s?: number, cmds?: string[]
 * }} Condition
 */
/** @typedef {{ uids: string[] } | { labels: Record<string, string> }} Devices */
/**
 * @typedef {{
 *   name: string, version: number, title: string, severity: string, devices: Devices | null, condition: Condition,
 *   mail: string[]
 * }} Rule
 */

export const KINDS = /** @type {const} */ (['threshold', 'rate', 'silent', 'command_failed']);

/** What a rule looks for, as one reads it aloud. @param {Condition} condition @returns {string} */
export function conditionText(condition) {
  const { kind, metric = '', value = 0, clear_value: clear, for_s: hold = 0, by = 0, within_s: within = 0 } = condition;
  switch (kind) {
    case 'threshold': {
      const parts = [
        t(condition.is === 'below' ? 'rule.text.below' : 'rule.text.above', { metric, value }),
        hold ? t('rule.text.for', { time: duration(hold) }) : '',
        clear === null || clear === undefined || clear === value ? '' : t('rule.text.clears', { value: clear }),
      ];
      return parts.filter(Boolean).join(', ');
    }
    case 'rate':
      return t('rule.text.rate', { metric, by: number(by), time: duration(within) });
    case 'silent':
      return t('rule.text.silent', { time: duration(hold) });
    default:
      return condition.cmds?.length
        ? t('rule.text.commands', { cmds: condition.cmds.join(', ') })
        : t('rule.text.command');
  }
}

/** The devices that a rule is about. @param {Devices | null} devices */
export function devicesText(devices) {
  if (!devices) return html`<span class="muted">${t('rule.devices.all')}</span>`;
  if ('labels' in devices)
    return html`<div class="labels">
      ${Object.entries(devices.labels).map(([key, value]) => html`<span class="label">${key}=${value}</span>`)}
    </div>`;
  const [first = '', ...others] = devices.uids;
  return html`<a href=${`/app/devices/${encodeURIComponent(first)}`}>${first}</a
    >${others.length ? html` <span class="muted" title=${others.join(', ')}>${t('rule.devices.more', { n: others.length })}</span>` : ''}`;
}

/** How a severity is called. @param {string} severity */
export const severityText = (severity) => word('severity', severity.toLowerCase());
