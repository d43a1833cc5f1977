// Who caused something, as people read it.

import { t } from '../i18n.js';
import { me } from '../session.js';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** An actor in few words: the viewer, a program's key, a device, a part of the service, or the end of a user's id. @param {string} actor */
export function who(actor) {
  if (actor === me()?.user_id) return t('you');
  const id = actor.replace(/^key:/, '');
  return UUID.test(id) ? `${actor.startsWith('key:') ? 'key ' : ''}…${id.slice(-8)}` : actor;
}
