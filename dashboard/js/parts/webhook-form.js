// The form of a webhook: its address, what it is sent, and where it begins.

import { patch, post } from '../api.js';
import { number, t, word } from '../i18n.js';
import { go } from '../router.js';
import { ask, say } from './dialog.js';
import { html, nothing } from './part.js';
import { beginField, beginOf, path, tellSecret } from './webhooks.js';

/** @typedef {import('./webhooks.js').Webhook} Webhook */
/** @typedef {import('./webhooks.js').Follow} Follow */
/** @typedef {import('../api.js').Problem} Problem */

/** The kinds of streams that people ask for by name. */
const KINDS = /** @type {const} */ ([
  'Alarm',
  'Command',
  'CommandBatch',
  'Device',
  'Telemetry',
  'AlarmRule',
  'User',
  'Policy',
]);
/** What narrows the events further, each a text. */
const FILTERS = /** @type {const} */ (['device', 'label', 'metric', 'type', 'actor', 'cmd_id', 'batch_id']);
const EXAMPLES = /** @type {Record<string, string>} */ ({
  device: 'dev-01,dev-02',
  label: 'site=hanoi',
  metric: 'temperature',
  type: 'CommandAcknowledged,CommandFailed',
});
const MAX_BATCH = { most: 1000, usual: 100 };

/** @param {Problem | null} problem @param {string} field */
const wrong = (problem, field) => {
  const reason = problem?.of(field);
  return reason ? html`<p class="wrong" role="alert">${reason}</p>` : nothing;
};

/** @param {Follow} follow */
function kinds(follow) {
  const chosen = follow.aggregate_type?.split(',') ?? [];
  const all = [...new Set([...KINDS, ...chosen])];
  return html`<fieldset class="field">
    <legend class="field-label">${t('webhook.follows')}</legend>
    <div class="checks">
      ${all.map((one) => html`<label class="check"><input type="checkbox" name="kind" value=${one} ?checked=${chosen.includes(one)} />${word('webhook.kind', one)}</label>`)}
    </div>
    <p class="hint">${t('webhook.follows.hint')}</p>
  </fieldset>`;
}

/** @param {Follow} follow @param {Problem | null} problem */
function filters(follow, problem) {
  const open = FILTERS.some((name) => follow[name]) || follow.log;
  return html`<details ?open=${Boolean(open)}>
    <summary>${t('webhook.filters')}</summary>
    <div class="fields">
      <p class="small muted">${t('webhook.filters.hint')}</p>
      ${FILTERS.map(
        (name) =>
          html`<div class="field">
            <label for=${`follow-${name}`}>${word('webhook.filter', name)}</label
            ><input
              id=${`follow-${name}`}
              name=${name}
              autocapitalize="none"
              spellcheck="false"
              placeholder=${EXAMPLES[name] ?? nothing}
              .value=${follow[name] ?? ''}
            />${wrong(problem, `follow.${name}`)}
          </div>`,
      )}
      <div class="field">
        <label for="follow-log">${t('events.log')}</label
        ><select id="follow-log" name="log">
          <option value="">${t('webhook.log.both')}</option>
          ${['control', 'telemetry'].map((one) => html`<option value=${one} ?selected=${follow.log === one}>${word('log', one)}</option>`)}
        </select>
        ${wrong(problem, 'follow.log')}
      </div>
    </div>
  </details>`;
}

/** @param {FormData} form @returns {Follow} */
function followOf(form) {
  const chosen = form.getAll('kind').map(String).join(',');
  const named = [...FILTERS, 'log'].map((name) => [name, `${form.get(name) ?? ''}`.trim()]);
  return Object.fromEntries([['aggregate_type', chosen], ...named].filter(([, value]) => value));
}

/** @param {Webhook | null} webhook @param {Problem | null} problem */
const about = (webhook, problem) =>
  html`<div class="field">
      <label for="url">${t('webhook.url')}</label
      ><input
        id="url"
        name="url"
        type="url"
        required
        maxlength="2000"
        autocomplete="off"
        spellcheck="false"
        placeholder=${`${'https:'}//erp.example/fleetlog`}
        .value=${webhook?.url ?? ''}
        aria-invalid=${problem?.of('url') ? 'true' : nothing}
      />
      <p class="hint">${t('webhook.url.hint')}</p>
      ${wrong(problem, 'url')}
    </div>
    <div class="field">
      <label for="description">${t('webhook.description')} <span class="faint">${t('optional')}</span></label
      ><input
        id="description"
        name="description"
        maxlength="500"
        placeholder=${t('webhook.description.example')}
        .value=${webhook?.description ?? ''}
      />${wrong(problem, 'description')}
    </div>`;

/** @param {number} most @param {Problem | null} problem */
const batch = (most, problem) =>
  html`<div class="field">
    <label for="max-batch">${t('webhook.batch')}</label
    ><input
      id="max-batch"
      name="max_batch"
      type="number"
      min="1"
      max=${MAX_BATCH.most}
      required
      inputmode="numeric"
      .value=${`${most}`}
    />
    <p class="hint">${t('webhook.batch.hint', { most: number(MAX_BATCH.most) })}</p>
    ${wrong(problem, 'max_batch')}
  </div>`;

/** The fields that show their own reasons. */
const OWN = ['url', 'description', 'max_batch', 'from', 'follow.log', ...FILTERS.map((name) => `follow.${name}`)];

/** Creates a webhook, and shows its secret. */
export function create() {
  const dialog = ask({
    heading: t('webhooks.new'),
    confirm: t('webhook.create'),
    fields: OWN,
    content: (problem) =>
      html`${about(null, problem)}${kinds({})}${filters({}, problem)}
        <div class="field">
          <label for="begin">${t('webhook.from')}</label
          ><select id="begin" name="begin" @change=${() => dialog.requestUpdate()}>
            ${['now', 'start', 'time'].map((one) => html`<option value=${one}>${word('webhook.from', one)}</option>`)}
          </select>
        </div>
        ${beginField(/** @type {HTMLSelectElement | null | undefined} */ (dialog?.querySelector('#begin'))?.value ?? 'now')}
        ${wrong(problem, 'from')} ${batch(MAX_BATCH.usual, problem)}`,
    work: async (form) => {
      const description = `${form.get('description')}`.trim();
      const created = await post('/webhooks', {
        url: `${form.get('url')}`.trim(),
        ...(description ? { description } : {}),
        follow: followOf(form),
        from: beginOf(form),
        max_batch: Number(form.get('max_batch')),
      });
      say(t('webhook.created', { position: created.position }));
      go(`/app/webhooks/${created.webhook_id}`);
      tellSecret(created);
    },
  });
}

/** Changes a webhook. @param {Webhook} webhook @param {() => unknown} then */
export function change(webhook, then) {
  ask({
    heading: t('webhook.change'),
    confirm: t('save'),
    fields: OWN,
    content: (problem) =>
      html`${about(webhook, problem)}${kinds(webhook.follow)}${filters(webhook.follow, problem)}${batch(webhook.max_batch, problem)}
        <p class="small muted">${t('webhook.change.means')}</p>`,
    work: async (form) => {
      const [url, description, most] = [
        `${form.get('url')}`.trim(),
        `${form.get('description')}`.trim() || null,
        Number(form.get('max_batch')),
      ];
      const follow = followOf(form);
      const changes = {
        ...(url === webhook.url ? {} : { url }),
        ...(description === webhook.description ? {} : { description }),
        ...(isSame(follow, webhook.follow) ? {} : { follow }),
        ...(most === webhook.max_batch ? {} : { max_batch: most }),
      };
      if (Object.keys(changes).length === 0) return;
      const { position } = await patch(path(webhook.webhook_id), changes);
      say(t('saved', { position: position ?? '–' }));
      await then();
    },
  });
}

/** Whether two filters let the same pass: the order of their words says nothing. @param {Follow} one @param {Follow} other */
function isSame(one, other) {
  const plain = (/** @type {Follow} */ follow) =>
    JSON.stringify(
      Object.entries(follow)
        .map(([name, value]) => [name, value.split(',').sort()])
        .sort(),
    );
  return plain(one) === plain(other);
}
