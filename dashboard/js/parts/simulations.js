// Simulated devices: those that run, with a button that stops them, and an offer to start some where there is no device yet.

import { get, post, remove } from '../api.js';
import { t, timeOfDay, when } from '../i18n.js';
import { may } from '../session.js';
import { say } from './dialog.js';
import { icon } from './icons.js';
import { Part, asProblem, html, nothing, shown } from './part.js';

const EVERY = 10_000;

/** @typedef {{ simulation_id: string, devices: string[], ends_at: string }} Simulation */

class Simulations extends Part {
  static properties = {
    offer: { type: Boolean },
    list: { state: true },
    busy: { state: true },
    problem: { state: true },
  };

  constructor() {
    super();
    /** Whether to offer a start while none runs. */
    this.offer = false;
    /** @type {Simulation[]} */
    this.list = [];
    /** Whether the service allows them; `null`: not known yet. @type {boolean | null} */
    this.enabled = null;
    this.busy = false;
    /** @type {import('../api.js').Problem | null} */
    this.problem = null;
  }

  connectedCallback() {
    super.connectedCallback();
    if (may('devices.write')) this.every(EVERY, () => this.load());
  }

  async load() {
    // Where they are off they stay off, until the service is started anew.
    if (this.enabled === false) return;
    try {
      const { enabled, items } = await get('/simulations');
      this.enabled = enabled;
      this.list = items;
    } catch (error) {
      this.problem = asProblem(error);
    }
  }

  /** @param {() => Promise<unknown>} work */
  async attempt(work) {
    this.busy = true;
    this.problem = null;
    try {
      await work();
      await this.load();
    } catch (error) {
      this.problem = asProblem(error);
    } finally {
      this.busy = false;
    }
  }

  start() {
    return this.attempt(async () => {
      const { devices } = await post('/simulations', { devices: 3 });
      say(t('simulations.started', { devices: devices.join(', ') }));
    });
  }

  /** @param {Simulation} simulation */
  stop(simulation) {
    return this.attempt(async () => {
      await remove(`/simulations/${simulation.simulation_id}`);
      say(t('simulations.stopped'));
    });
  }

  render() {
    const running = this.list.map(
      (one) =>
        html`<div class="notice running" role="status">
          ${icon('devices')}<span class="grow"
            >${t('simulations.run', { n: one.devices.length })} ${when(one.ends_at, timeOfDay)}</span
          ><button ?disabled=${this.busy} @click=${() => this.stop(one)}>${t('simulations.stop')}</button>
        </div>`,
    );
    if (running.length || !this.offer || this.enabled === null) return html`${running}${shown(this.problem)}`;
    if (!this.enabled) return html`<p class="small">${t('simulations.off')} <code>--simulations</code></p>`;
    return html`<p class="or"><span>${t('or')}</span></p>
      <button class="primary" ?disabled=${this.busy} @click=${this.start}>
        ${icon('plus')}${t('simulations.start')}
      </button>
      <p class="small">${t('simulations.why')}</p>
      ${this.problem ? shown(this.problem) : nothing}`;
  }
}
customElements.define('fl-simulations', Simulations);
