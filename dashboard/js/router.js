// Which page an address is. Every page has one that can be sent to a colleague: filters and tabs are in it.

/**
 * @typedef {object} Route
 * @property {RegExp} path
 * @property {string} tag The element that is the page.
 * @property {() => Promise<unknown>} load
 * @property {boolean} [open] Whether it needs no session.
 * @property {string} [needs] The action that a viewer must have.
 */

/** @type {Route[]} */
export const ROUTES = [
  { path: /^\/login\.html$/, tag: 'fl-login', load: () => import('./pages/login.js'), open: true },
  { path: /^\/app\/invitation$/, tag: 'fl-invitation', load: () => import('./pages/mailed.js'), open: true },
  { path: /^\/app\/verify$/, tag: 'fl-verify', load: () => import('./pages/mailed.js'), open: true },
  { path: /^\/app\/reset$/, tag: 'fl-reset', load: () => import('./pages/mailed.js'), open: true },
  { path: /^\/app\/forgot$/, tag: 'fl-forgot', load: () => import('./pages/mailed.js'), open: true },
  { path: /^\/app\/?$/, tag: 'fl-fleet', load: () => import('./pages/fleet.js') },
  { path: /^\/app\/devices$/, tag: 'fl-devices', load: () => import('./pages/devices.js'), needs: 'devices.read' },
  {
    path: /^\/app\/devices\/(?<uid>[^/]+)$/,
    tag: 'fl-device',
    load: () => import('./pages/device.js'),
    needs: 'devices.read',
  },
  { path: /^\/app\/import$/, tag: 'fl-import', load: () => import('./pages/import.js'), needs: 'devices.write' },
  {
    path: /^\/app\/commands\/batches$/,
    tag: 'fl-batches',
    load: () => import('./pages/batches.js'),
    needs: 'commands.read',
  },
  {
    path: /^\/app\/commands\/batches\/new$/,
    tag: 'fl-new-batch',
    load: () => import('./pages/new-batch.js'),
    needs: 'commands.write',
  },
  {
    path: /^\/app\/commands\/batches\/(?<id>[^/]+)$/,
    tag: 'fl-batch',
    load: () => import('./pages/batch.js'),
    needs: 'commands.read',
  },
  { path: /^\/app\/commands$/, tag: 'fl-commands', load: () => import('./pages/commands.js'), needs: 'commands.read' },
  {
    path: /^\/app\/commands\/(?<id>[^/]+)$/,
    tag: 'fl-command',
    load: () => import('./pages/command.js'),
    needs: 'commands.read',
  },
  { path: /^\/app\/alarms$/, tag: 'fl-alarms', load: () => import('./pages/alarms.js'), needs: 'alarms.read' },
  {
    path: /^\/app\/alarms\/rules$/,
    tag: 'fl-alarm-rules',
    load: () => import('./pages/alarm-rules.js'),
    needs: 'alarm_rules.read',
  },
  {
    path: /^\/app\/alarms\/rules\/(?<name>[^/]+)$/,
    tag: 'fl-alarm-rule',
    load: () => import('./pages/alarm-rule.js'),
    needs: 'alarm_rules.read',
  },
  {
    path: /^\/app\/alarms\/new-rule$/,
    tag: 'fl-alarm-rule',
    load: () => import('./pages/alarm-rule.js'),
    needs: 'alarm_rules.write',
  },
  {
    path: /^\/app\/alarms\/(?<id>[^/]+)$/,
    tag: 'fl-alarm',
    load: () => import('./pages/alarm.js'),
    needs: 'alarms.read',
  },
  { path: /^\/app\/events$/, tag: 'fl-events', load: () => import('./pages/events.js'), needs: 'events.read' },
  {
    path: /^\/app\/events\/(?<log>\d+)\/(?<position>\d+)$/,
    tag: 'fl-event',
    load: () => import('./pages/event.js'),
    needs: 'events.read',
  },
  { path: /^\/app\/proof$/, tag: 'fl-proof', load: () => import('./pages/proof.js'), needs: 'events.read' },
  {
    path: /^\/app\/proof\/check$/,
    tag: 'fl-proof-check',
    load: () => import('./pages/proof-check.js'),
    needs: 'events.read',
  },
  {
    path: /^\/app\/projections$/,
    tag: 'fl-projections',
    load: () => import('./pages/projections.js'),
    needs: 'projections.read',
  },
  {
    path: /^\/app\/projections\/(?<name>[^/]+)$/,
    tag: 'fl-projection',
    load: () => import('./pages/projection.js'),
    needs: 'projections.read',
  },
  { path: /^\/app\/console$/, tag: 'fl-console', load: () => import('./pages/console.js'), needs: 'graphql.query' },
  {
    path: /^\/app\/quarantine$/,
    tag: 'fl-quarantine',
    load: () => import('./pages/quarantine.js'),
    needs: 'quarantine.read',
  },
  { path: /^\/app\/sources$/, tag: 'fl-sources', load: () => import('./pages/sources.js'), needs: 'sources.read' },
  {
    path: /^\/app\/webhooks$/,
    tag: 'fl-webhooks',
    load: () => import('./pages/webhooks.js'),
    needs: 'webhooks.read',
  },
  {
    path: /^\/app\/webhooks\/(?<id>[^/]+)$/,
    tag: 'fl-webhook',
    load: () => import('./pages/webhook.js'),
    needs: 'webhooks.read',
  },
  { path: /^\/app\/admin$/, tag: 'fl-admin', load: () => import('./pages/admin/first.js') },
  { path: /^\/app\/admin\/users$/, tag: 'fl-users', load: () => import('./pages/admin/users.js'), needs: 'users.read' },
  {
    path: /^\/app\/admin\/users\/(?<id>[^/]+)$/,
    tag: 'fl-user',
    load: () => import('./pages/admin/user.js'),
    needs: 'users.read',
  },
  {
    path: /^\/app\/admin\/roles$/,
    tag: 'fl-roles',
    load: () => import('./pages/admin/roles.js'),
    needs: 'policies.read',
  },
  {
    path: /^\/app\/admin\/policies$/,
    tag: 'fl-policies',
    load: () => import('./pages/admin/policies.js'),
    needs: 'policies.read',
  },
  {
    path: /^\/app\/admin\/new-policy$/,
    tag: 'fl-policy',
    load: () => import('./pages/admin/policy.js'),
    needs: 'policies.write',
  },
  {
    path: /^\/app\/admin\/policies\/(?<name>[^/]+)$/,
    tag: 'fl-policy',
    load: () => import('./pages/admin/policy.js'),
    needs: 'policies.read',
  },
  {
    path: /^\/app\/admin\/check$/,
    tag: 'fl-check',
    load: () => import('./pages/admin/check.js'),
    needs: 'policies.read',
  },
  {
    path: /^\/app\/admin\/keys$/,
    tag: 'fl-api-keys',
    load: () => import('./pages/admin/keys.js'),
    needs: 'api_keys.read',
  },
  {
    path: /^\/app\/admin\/credentials$/,
    tag: 'fl-credentials',
    load: () => import('./pages/admin/credentials.js'),
    needs: 'credentials.read',
  },
  {
    path: /^\/app\/admin\/settings$/,
    tag: 'fl-tenant-settings',
    load: () => import('./pages/admin/settings.js'),
    needs: 'tenant.read',
  },
  {
    path: /^\/app\/admin\/usage$/,
    tag: 'fl-usage',
    load: () => import('./pages/admin/usage.js'),
    needs: 'tenant.read',
  },
  {
    path: /^\/app\/admin\/tenants$/,
    tag: 'fl-tenants',
    load: () => import('./pages/admin/tenants.js'),
    needs: 'tenants.read',
  },
  {
    path: /^\/app\/admin\/tenants\/(?<tenant>[^/]+)$/,
    tag: 'fl-tenant',
    load: () => import('./pages/admin/tenant.js'),
    needs: 'tenants.read',
  },
  { path: /^\/app\/admin\/tiers$/, tag: 'fl-tiers', load: () => import('./pages/admin/tiers.js'), needs: 'tiers.read' },
  { path: /^\/app\/account$/, tag: 'fl-account', load: () => import('./pages/account.js') },
];

const target = new EventTarget();

/** @param {() => void} changed */
export function watch(changed) {
  target.addEventListener('change', changed);
}

/** The page of the present address, and what its path names. */
export function matched() {
  for (const route of ROUTES) {
    const found = route.path.exec(location.pathname);
    if (found) {
      const params = Object.entries(found.groups ?? {}).map(([name, value]) => [name, decoded(value)]);
      return { route, params: /** @type {Record<string, string>} */ (Object.fromEntries(params)) };
    }
  }
  return { route: null, params: {} };
}

/** @param {string | undefined} value */
function decoded(value = '') {
  try {
    return decodeURIComponent(value);
  } catch {
    return value;
  }
}

/**
 * Goes to another page of the dashboard.
 * @param {string} to
 * @param {{ replace?: boolean }} [options]
 */
export function go(to, { replace = false } = {}) {
  const here = location.pathname + location.search;
  if (to === here && !replace) return;
  history[replace ? 'replaceState' : 'pushState'](null, '', to);
  target.dispatchEvent(new Event('change'));
}

/**
 * The present address with other values in its query; empty ones are left out.
 * @param {Record<string, string | null | undefined>} values
 */
export function withQuery(values) {
  const query = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(values)) {
    if (value) query.set(name, value);
    else query.delete(name);
  }
  const text = query.toString();
  return location.pathname + (text ? `?${text}` : '');
}

/** A value of the present address's query. @param {string} name */
export const query = (name) => new URLSearchParams(location.search).get(name);

/** The page that a login leads to: only one of the dashboard's own. */
export function next() {
  const wanted = query('next') ?? '/app';
  return /^\/app(?:$|[/?])/.test(wanted) ? wanted : '/app';
}

addEventListener('popstate', () => target.dispatchEvent(new Event('change')));
document.addEventListener('click', (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey) return;
  const link = event.target instanceof Element ? event.target.closest('a[href]') : null;
  const href = link?.getAttribute('href') ?? '';
  if (!link || link.hasAttribute('target') || !/^\/(app(?:$|[/?])|login\.html)/.test(href)) return;
  event.preventDefault();
  go(href);
});
