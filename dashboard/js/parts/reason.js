// The question whether something is to be ended, and why. A reason is optional, and goes on the record.

import { t } from '../i18n.js';
import { ask } from './dialog.js';
import { html, nothing } from './part.js';

/**
 * @param {object} question
 * @param {string} question.heading
 * @param {string} question.confirm
 * @param {string} question.why
 * @param {(body: { reason?: string }) => Promise<unknown>} question.work
 */
export function askReason({ heading, confirm, why, work }) {
  ask({
    heading,
    confirm,
    fields: ['reason'],
    danger: true,
    content: (problem) =>
      html`<p>${why}</p>
        <div class="field">
          <label for="reason">${t('command.reason')} <span class="faint">${t('optional')}</span></label
          ><input
            id="reason"
            name="reason"
            maxlength="500"
          />${problem?.of('reason') ? html`<p class="wrong">${problem.of('reason')}</p>` : nothing}
        </div>`,
    work: (form) => {
      const reason = `${form.get('reason')}`.trim();
      return work(reason ? { reason } : {});
    },
  });
}
