// Who caused something, as people read it.

import { t } from '../i18n.js';
import { me } from '../session.js';
import { nameOf } from './people.js';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** The name of a stream in few words: of an id, its end. @param {string} name */
export const shortName = (name) => (UUID.test(name) ? `…${name.slice(-8)}` : name);

/** An actor in few words: the viewer, a user by name or by the id's end, a program's key, a device, a part of the service. @param {string} actor */
export function who(actor) {
  if (actor === me()?.user_id) return t('you');
  return actor.startsWith('key:') ? `key ${shortName(actor.slice(4))}` : (nameOf(actor) ?? shortName(actor));
}
