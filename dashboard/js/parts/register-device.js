// Registers one device: its uid, and what people call it.

import { post } from '../api.js';
import { t } from '../i18n.js';
import { go } from '../router.js';
import { ask, say } from './dialog.js';
import { labelsOf } from './labels.js';
import { html, nothing } from './part.js';

export function registerDevice() {
  ask({
    heading: t('devices.register'),
    confirm: t('devices.register.button'),
    fields: ['uid'],
    content: (problem) =>
      html`<p>${t('devices.register.why')}</p>
        <div class="field">
          <label for="new-uid">${t('device.uid')}</label
          ><input
            id="new-uid"
            name="uid"
            required
            maxlength="64"
            pattern="[A-Za-z0-9_.:\\-]+"
            autocapitalize="none"
            spellcheck="false"
            aria-invalid=${problem?.of('uid') ? 'true' : nothing}
            aria-describedby="new-uid-hint"
          />
          <p class="hint" id="new-uid-hint">${t('device.uid.rule')}</p>
          ${problem?.of('uid') ? html`<p class="wrong">${problem.of('uid')}</p>` : nothing}
        </div>
        <div class="field">
          <label for="new-name">${t('name')} <span class="faint">${t('optional')}</span></label
          ><input id="new-name" name="name" maxlength="200" />
        </div>
        <div class="field">
          <label for="new-labels">${t('labels')} <span class="faint">${t('optional')}</span></label
          ><textarea id="new-labels" name="labels" rows="3" placeholder="site=hanoi"></textarea>
          <p class="hint">${t('labels.rule')}</p>
        </div>`,
    work: async (form) => {
      const [uid, name, labels] = [
        `${form.get('uid')}`.trim(),
        `${form.get('name')}`.trim(),
        labelsOf(`${form.get('labels')}`),
      ];
      const { position } = await post('/devices', {
        uid,
        ...(name ? { name } : {}),
        ...(Object.keys(labels).length ? { labels } : {}),
      });
      say(t('devices.registered', { uid, position }));
      go(`/app/devices/${encodeURIComponent(uid)}`);
    },
  });
}
