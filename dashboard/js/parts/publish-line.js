// The line with which a terminal is a device of this service, at the port that the service listens on.

import { get } from '../api.js';
import { t } from '../i18n.js';
import { me } from '../session.js';
import { commandLine } from './command-line.js';
import { AskingPart, html, shown } from './part.js';

/** @typedef {{ mqtt_port?: number, mqtts_port?: number }} Ports */

/** What the program is told of where to publish. @param {Ports} ports */
function where({ mqtt_port: plain, mqtts_port: tls }) {
  const host = location.hostname.replace(/^\[|\]$/g, '');
  if (plain) return `-h ${host} -p ${plain}`;
  return tls ? `-h ${host} -p ${tls} --tls-use-os-certs` : '-h BROKER -p 1883';
}

/** What a reader must know of where that is. @param {Ports} ports */
function meaning({ mqtt_port: plain, mqtts_port: tls }) {
  const port = plain ?? tls;
  return port ? t('publish.port', { port: `${port}` }) : t('publish.broker');
}

class PublishLine extends AskingPart {
  static properties = { uid: {}, login: { attribute: false }, ports: { state: true } };

  constructor() {
    super();
    this.uid = 'dev-01';
    /** What the device logs in with. @type {{ username: string, password: string } | null} */
    this.login = null;
    /** @type {Ports | null} */
    this.ports = null;
  }

  connectedCallback() {
    super.connectedCallback();
    this.attempt(async () => {
      this.ports = await get('/healthz');
    });
  }

  render() {
    const { ports, login } = this;
    if (!ports) return shown(this.problem);
    const as = login ? ` -u ${login.username} -P ${login.password}` : '';
    const topic = `${me()?.tenant ?? 't0'}/devices/${this.uid}/telemetry`;
    return html`${commandLine(`mosquitto_pub ${where(ports)} -q 1${as} -t ${topic} -m '{"temperature":21.5}'`)}
      <p class="small muted">${meaning(ports)}</p>`;
  }
}
customElements.define('fl-publish-line', PublishLine);
