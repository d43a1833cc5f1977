// States as coloured words: the word says it, the colour helps.

import { t, word } from '../i18n.js';
import { html } from './part.js';

/** @type {Record<string, string>} */
const TONES = {
  online: 'good',
  acked: 'good',
  active: 'good',
  cleared: 'good',
  delivered: 'good',
  following: 'good',
  in_use: 'good',
  swapped: 'good',
  requested: 'busy',
  sent: 'busy',
  building: 'busy',
  starting: 'busy',
  running: 'busy',
  completed: 'good',
  registered: 'good',
  changed: 'good',
  aborted: 'bad',
  acknowledged: 'busy',
  pending: 'busy',
  warning: 'busy',
  invited: 'busy',
  failed: 'bad',
  raised: 'bad',
  suspended: 'bad',
  failing: 'bad',
  critical: 'solid',
  major: 'bad',
  minor: 'warn',
  waiting: 'warn',
  catching_up: 'busy',
  comparing: 'busy',
  swapping: 'busy',
  stopped: 'bad',
  timed_out: 'warn',
  degraded: 'warn',
  paused: 'warn',
  late: 'warn',
  clock_ahead: 'warn',
  bad_ts: 'warn',
  bad_msg_id: 'warn',
  id_reused: 'warn',
  repeated_key: 'warn',
  no_metrics: 'warn',
  partial: 'warn',
};

/** What is shown as it happens. */
export const liveSign = () => html`<span class="pill good"><span class="dot"></span>${t('charts.live')}</span>`;

/**
 * @param {string} kind What the state is of: `device`, `command`, `batch`, `alarm`, `severity`, `webhook` …
 * @param {string} state
 */
export function pill(kind, state) {
  const name = state.toLowerCase();
  return html`<span class="pill ${TONES[name] ?? 'calm'}"><span class="dot"></span>${word(kind, name)}</span>`;
}
