// The pages of the administration: where each is, and what a viewer must be allowed to do to see it.

import { may } from './session.js';

/**
 * @typedef {object} AdminPlace
 * @property {string} path
 * @property {import('./i18n.js').Key} key
 * @property {string} needs The action that shows it.
 * @property {'people' | 'devices' | 'tenant' | 'platform'} group
 */

/** @type {AdminPlace[]} */
const ADMIN_PLACES = [
  { path: '/app/admin/users', key: 'admin.users', needs: 'users.read', group: 'people' },
  { path: '/app/admin/roles', key: 'admin.roles', needs: 'policies.read', group: 'people' },
  { path: '/app/admin/policies', key: 'admin.policies', needs: 'policies.read', group: 'people' },
  { path: '/app/admin/check', key: 'admin.check', needs: 'policies.read', group: 'people' },
  { path: '/app/admin/keys', key: 'admin.keys', needs: 'api_keys.read', group: 'people' },
  { path: '/app/admin/credentials', key: 'admin.credentials', needs: 'credentials.read', group: 'devices' },
  { path: '/app/admin/settings', key: 'admin.settings', needs: 'tenant.read', group: 'tenant' },
  { path: '/app/admin/usage', key: 'admin.usage', needs: 'tenant.read', group: 'tenant' },
  { path: '/app/admin/tenants', key: 'admin.tenants', needs: 'tenants.read', group: 'platform' },
  { path: '/app/admin/tiers', key: 'admin.tiers', needs: 'tiers.read', group: 'platform' },
];

/** The pages of the administration that the viewer may see. */
export const adminPlaces = () => ADMIN_PLACES.filter(({ needs }) => may(needs));

/** Whether the viewer administers anything: who may only look at the own tenant's settings does not. */
export const administers = () => adminPlaces().some(({ needs }) => needs !== 'tenant.read');
