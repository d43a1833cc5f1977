// The page of what an event is about, by the type and the name of its stream.

import { may } from '../session.js';

/** @type {Record<string, { path: string, needs: string }>} */
const PAGES = {
  Device: { path: '/app/devices/', needs: 'devices.read' },
  Telemetry: { path: '/app/devices/', needs: 'devices.read' },
  Command: { path: '/app/commands/', needs: 'commands.read' },
  Alarm: { path: '/app/alarms/', needs: 'alarms.read' },
  AlarmRule: { path: '/app/alarms/rules/', needs: 'alarm_rules.read' },
  User: { path: '/app/admin/users/', needs: 'users.read' },
  Policy: { path: '/app/admin/policies/', needs: 'policies.read' },
  Webhook: { path: '/app/webhooks/', needs: 'webhooks.read' },
};

/** @param {string} type @param {string} name @returns {string | null} */
export function pageOf(type, name) {
  const page = PAGES[type];
  return page && may(page.needs) ? page.path + encodeURIComponent(name) : null;
}
