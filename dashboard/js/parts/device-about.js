// What is known of a device, and what can be changed of it.

import { patch, remove } from '../api.js';
import { ago, number, t, when, word } from '../i18n.js';
import { may } from '../session.js';
import { ask, say } from './dialog.js';
import { labelList, labelText, labelsOf } from './labels.js';
import { html, nothing } from './part.js';

/** @typedef {{ logId: number, position: number }} Place */
/**
 * @typedef {{
 *   uid: string, name: string | null, labels: Record<string, string>, status: string, registeredAt: string,
 *   registeredVia: string, decommissionedAt: string | null, lastSeenAt: string | null, connectedAt: string | null,
 *   onlineWithinS: number | null, lastReading: { ts: string, position: number, payload: any } | null, messages:
 *   number, duplicates: number | null, lastControlEvent: Place | null, lastTelemetryEvent: Place | null, asOf:
 *   string[] | null
 * }} Device
 */

export const DEVICE = `uid name labels status registeredAt registeredVia decommissionedAt lastSeenAt connectedAt onlineWithinS
  lastReading { ts position payload } messages duplicates lastControlEvent { logId position } lastTelemetryEvent {
    logId position } asOf`;

/** @param {Device} device */
const path = (device) => `/devices/${encodeURIComponent(device.uid)}`;

/** Changes name, labels and threshold. @param {Device} device @param {() => Promise<unknown>} then */
export function edit(device, then) {
  ask({
    heading: t('about.edit', { uid: device.uid }),
    confirm: t('save'),
    fields: ['name'],
    content: (problem) =>
      html`<div class="field">
          <label for="edit-name">${t('name')}</label
          ><input
            id="edit-name"
            name="name"
            maxlength="200"
            .value=${device.name ?? ''}
          />${problem?.of('name') ? html`<p class="wrong">${problem.of('name')}</p>` : nothing}
        </div>
        <div class="field">
          <label for="edit-labels">${t('labels')}</label
          ><textarea
            id="edit-labels"
            name="labels"
            rows="4"
            .value=${labelText(device.labels)}
            placeholder="site=hanoi"
          ></textarea>
          <p class="hint">${t('labels.rule')}</p>
        </div>
        <div class="field">
          <label for="edit-online">${t('about.online')} <span class="faint">${t('optional')}</span></label
          ><input
            id="edit-online"
            name="online"
            type="number"
            min="1"
            max="604800"
            inputmode="numeric"
            .value=${device.onlineWithinS ? `${device.onlineWithinS}` : ''}
          />
          <p class="hint">${t('about.online.hint')}</p>
        </div>`,
    work: async (form) => {
      const name = `${form.get('name')}`.trim();
      const online = Number(form.get('online')) || null;
      const labels = labelsOf(`${form.get('labels')}`);
      const changes = {
        ...(name && name !== device.name ? { name } : {}),
        ...(labelText(labels) === labelText(device.labels) ? {} : { labels }),
        ...(online === device.onlineWithinS ? {} : { online_within_s: online }),
      };
      if (Object.keys(changes).length === 0) return;
      const { position } = await patch(path(device), changes);
      say(t('saved', { position: position ?? '–' }));
      await then();
    },
  });
}

/** Takes a device out of service, after a question. @param {Device} device @param {() => Promise<unknown>} then */
export function retire(device, then) {
  ask({
    heading: t('about.retire', { uid: device.uid }),
    confirm: t('about.retire.button'),
    danger: true,
    content: () =>
      html`<p>${t('about.retire.why')}</p>
        <p class="muted">${t('about.retire.back')}</p>`,
    work: async () => {
      const { position } = await remove(path(device));
      say(t('about.retired', { uid: device.uid, position }));
      await then();
    },
  });
}

/** @param {Place | null} place @param {string} log */
function placed(place, log) {
  if (!place) return html`<span class="none">–</span>`;
  const text = `${place.logId}:${place.position}`;
  return may('events.read')
    ? html`<a class="mono" href=${`/app/events?log=${log}&order=asc&after=${place.position - 1}`}>${text}</a>`
    : html`<span class="mono">${text}</span>`;
}

/** @param {Device} device @param {() => Promise<unknown>} then */
export function about(device, then) {
  const open = device.status !== 'DECOMMISSIONED' && !device.asOf && may('devices.write');
  return html`<section class="sheet" aria-labelledby="about">
    <div class="sheet-head">
      <h2 id="about" class="grow">${t('about')}</h2>
      ${open ? html`<button @click=${() => edit(device, then)}>${t('edit')}</button><button class="danger" @click=${() => retire(device, then)}>${t('about.retire.open')}</button>` : nothing}
    </div>
    <dl class="facts sheet-body">
      <dt>${t('device.uid')}</dt>
      <dd><code>${device.uid}</code></dd>
      <dt>${t('name')}</dt>
      <dd>${device.name ?? html`<span class="none">–</span>`}</dd>
      <dt>${t('labels')}</dt>
      <dd>${Object.keys(device.labels).length ? labelList(device.labels) : html`<span class="none">–</span>`}</dd>
      <dt>${t('about.registered')}</dt>
      <dd>
        ${when(device.registeredAt)} <span class="muted">${word('via', device.registeredVia.toLowerCase())}</span>
      </dd>
      ${
        device.decommissionedAt
          ? html`<dt>${t('about.retired_at')}</dt>
              <dd>${when(device.decommissionedAt)}</dd>`
          : nothing
      }
      <dt>${t('device.seen')}</dt>
      <dd>${ago(device.lastSeenAt)}</dd>
      <dt>${t('about.connected')}</dt>
      <dd>
        ${device.connectedAt ? html`${t('about.since')} ${when(device.connectedAt)}` : html`<span class="none">${t('about.not_connected')}</span>`}
      </dd>
      <dt>${t('about.online')}</dt>
      <dd>
        ${device.onlineWithinS ? `${number(device.onlineWithinS)} s` : html`<span class="muted">${t('about.online.default')}</span>`}
      </dd>
      <dt>${t('device.messages')}</dt>
      <dd class="numeric">${number(device.messages)}</dd>
      <dt>${t('about.duplicates')}</dt>
      <dd class="numeric">
        ${device.duplicates === null ? html`<span class="none">–</span>` : number(device.duplicates)}
      </dd>
      <dt>${t('about.last_control')}</dt>
      <dd>${placed(device.lastControlEvent, 'control')}</dd>
      <dt>${t('about.last_telemetry')}</dt>
      <dd>${placed(device.lastTelemetryEvent, 'telemetry')}</dd>
    </dl>
  </section>`;
}
