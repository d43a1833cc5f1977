// What a policy may speak of, for those who write one.

import { t } from '../i18n.js';
import { html } from './part.js';

/** @type {[import('../i18n.js').Key, string[]][]} */
const WORDS = [
  [
    'policies.words.who',
    [
      'principal in Role::"operator"',
      'principal == User::"0199…"',
      'principal == ApiKey::"0199…"',
      'principal is ApiKey',
    ],
  ],
  [
    'policies.words.what',
    ['action == Action::"commands.write"', 'action in [Action::"devices.read", Action::"telemetry.read"]', 'action'],
  ],
  ['policies.words.which', ['resource is Device', 'resource is Tenant', 'resource']],
  [
    'policies.words.when',
    [
      'resource.uid == "dev-01"',
      'resource.uid like "pump-*"',
      'resource.hasTag("site") && resource.getTag("site") == "hanoi"',
      'context has cmd && context.cmd == "reboot"',
    ],
  ],
];

export const policyWords = () =>
  html`<details class="words">
    <summary class="small">${t('policies.words')}</summary>
    <dl class="facts">
      ${WORDS.map(
        ([key, lines]) =>
          html`<dt>${t(key)}</dt>
            <dd>${lines.map((line) => html`<code>${line}</code>`)}</dd>`,
      )}
    </dl>
    <p class="small muted">${t('policies.words.rule')} <a href="/app/admin/roles">${t('policies.words.actions')}</a></p>
  </details>`;
