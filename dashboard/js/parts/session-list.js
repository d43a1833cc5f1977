// Open sessions as a table.

import { ago, t, when } from '../i18n.js';
import { html, nothing } from './part.js';

/**
 * @typedef {{
 *   session_id: string, created_at: string, last_used_at: string, expires_at: string, address: string | null,
 *   user_agent: string | null, current?: boolean
 * }} Session
 */

/** A browser's name for itself, in few words. @param {string | null} agent */
function browser(agent) {
  if (!agent) return t('account.program');
  const name = /(Edg|OPR|Firefox|Chrome|Safari)\//.exec(agent.replace('HeadlessChrome', 'Chrome'))?.[1];
  const system = /Windows|Android|iPhone|iPad|Mac OS X|Linux/.exec(agent)?.[0];
  return name ? [{ Edg: 'Edge', OPR: 'Opera' }[name] ?? name, system].filter(Boolean).join(' · ') : agent.slice(0, 48);
}

/**
 * @param {Session[]} sessions
 * @param {((session: Session) => unknown) | null} end What ends one of them.
 */
export function sessionList(sessions, end) {
  return html`<div class="table-wrap" tabindex="0" role="group" aria-label=${t('table')}>
    <table>
      <thead>
        <tr>
          <th>${t('account.session')}</th>
          <th class="wide">${t('account.address')}</th>
          <th class="wide">${t('account.used')}</th>
          <th class="wide">${t('account.until')}</th>
          ${end ? html`<th><span class="visually-hidden">${t('actions')}</span></th>` : nothing}
        </tr>
      </thead>
      <tbody>
        ${sessions.map(
          (session) =>
            html`<tr>
              <td title=${session.user_agent ?? ''}>
                ${browser(session.user_agent)}
                ${session.current ? html`<span class="pill good">${t('account.this')}</span>` : nothing}
                <div class="faint small">${t('account.since')} ${when(session.created_at)}</div>
                <div class="faint small only-small">${t('account.used')}: ${ago(session.last_used_at)}</div>
              </td>
              <td class="wide"><code>${session.address ?? '–'}</code></td>
              <td class="wide">${ago(session.last_used_at)}</td>
              <td class="wide">${when(session.expires_at)}</td>
              ${
                end
                  ? html`<td class="end">
                      ${session.current ? nothing : html`<button @click=${() => end(session)}>${t('account.end')}</button>`}
                    </td>`
                  : nothing
              }
            </tr>`,
        )}
      </tbody>
    </table>
  </div>`;
}
