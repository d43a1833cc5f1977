// The administration itself has no page of its own: it begins with the first that the viewer may see.

import { adminPlaces } from '../../admin.js';
import { Part } from '../../parts/part.js';
import { go } from '../../router.js';

class Admin extends Part {
  connectedCallback() {
    super.connectedCallback();
    go(adminPlaces()[0]?.path ?? '/app', { replace: true });
  }
}
customElements.define('fl-admin', Admin);
