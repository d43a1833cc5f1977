// What can be done with devices that are selected: send all of them a command, or retire them.

import { remove } from '../api.js';
import { number, t } from '../i18n.js';
import { go } from '../router.js';
import { may } from '../session.js';
import { each } from './bulk.js';
import { ask, say } from './dialog.js';
import { icon } from './icons.js';
import { html, nothing } from './part.js';
import { Problem } from '../api.js';

/** The most devices that an address names; more go along in the browser's own memory. */
const IN_ADDRESS = 60;
/** Where more devices than an address can hold wait for the page that sends them a command. */
export const HANDED_OVER = 'fleetlog.batch.devices';

/** Whether the viewer may do anything with a selection. */
export const maySelect = () => may('commands.write') || may('devices.write');

/** Goes to the page that sends a command to these devices. @param {string[]} uids */
export function sendTo(uids) {
  if (uids.length <= IN_ADDRESS) {
    go(`/app/commands/batches/new?devices=${encodeURIComponent(uids.join(','))}`);
    return;
  }
  sessionStorage.setItem(HANDED_OVER, uids.join(','));
  go('/app/commands/batches/new?devices=selected');
}

/** Goes to the page that sends a command to all devices that fit the present filter. */
function sendToMatching() {
  const search = new URLSearchParams(location.search);
  for (const name of ['sort', 'metric']) search.delete(name);
  search.set('matching', 'true');
  go(`/app/commands/batches/new?${search}`);
}

/** Takes devices out of service, after saying what that means. @param {string[]} uids @param {() => void} then */
function retire(uids, then) {
  ask({
    heading: uids.length === 1 ? t('about.retire', { uid: uids[0] ?? '' }) : t('devices.retire', { n: uids.length }),
    confirm: t('about.retire.button'),
    danger: true,
    content: () =>
      html`<p>${t(uids.length === 1 ? 'about.retire.why' : 'devices.retire.why')}</p>
        <p>${t(uids.length === 1 ? 'about.retire.back' : 'devices.retire.back')}</p>
        <ul class="labels">
          ${uids.slice(0, 12).map((uid) => html`<li class="label">${uid}</li>`)}
          ${uids.length > 12 ? html`<li class="label">+ ${number(uids.length - 12)}</li>` : nothing}
        </ul>`,
    work: async () => {
      /** @type {import('./bulk.js').Result<string>[]} */
      const failed = [];
      const out = async (/** @type {string} */ uid) => {
        await remove(`/devices/${encodeURIComponent(uid)}`);
        return 'retired';
      };
      await each(uids, out, (result) => result.problem && failed.push(result), new AbortController().signal);
      then();
      if (failed.length)
        throw new Problem(failed[0]?.problem?.status ?? 409, {
          detail: t('devices.retire.failed', { n: failed.length, of: uids.length }),
          errors: failed.slice(0, 10).map(({ item, problem }) => ({ field: item, reason: problem?.message ?? '' })),
        });
      say(t('devices.retired', { n: uids.length }));
    },
  });
}

/**
 * The bar with what can be done with the selection.
 * @param {{ uids: string[], all: boolean, total: number | null, clear: () => void, selectAll: () => void, done: () => void }} what
 *   `all`: everything that fits the filter, of which `total` are known.
 */
export function selectionBar({ uids, all, total, clear, selectAll, done }) {
  if (uids.length === 0 && !all) return nothing;
  const retired = new URLSearchParams(location.search).get('status') === 'decommissioned';
  return html`<div class="selection" role="region" aria-label=${t('devices.selection')}>
    <strong role="status" class="numeric"
      >${all ? (total === null ? t('devices.selected.matching') : t('devices.selected.all', { n: total })) : t('devices.selected', { n: uids.length })}</strong
    >
    ${all || uids.length === total ? nothing : html`<button class="link" @click=${selectAll}>${total === null ? t('devices.select.matching') : t('devices.select.all', { n: total })}</button>`}
    <span class="grow"></span>
    ${
      may('commands.write') && !retired
        ? html`<button class="primary" @click=${() => (all ? sendToMatching() : sendTo(uids))}>
            ${icon('commands')}${t('send.open')}
          </button>`
        : nothing
    }
    ${may('devices.write') && !all && !retired ? html`<button class="danger" @click=${() => retire(uids, done)}>${t('about.retire.open')}</button>` : nothing}
    <button class="plain" @click=${clear}>${t('devices.unselect')}</button>
  </div>`;
}
