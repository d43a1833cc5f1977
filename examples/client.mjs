// A client in JavaScript, for Node 18 or newer without packages: node examples/client.mjs (see README.md).
const url = process.env.FLEETLOG_URL ?? 'http://127.0.0.1:8080';
const ended = ['acked', 'failed', 'timed_out', 'cancelled'];
const headers = { 'content-type': 'application/json' };

async function call(method, path, body) {
  const answer = await fetch(`${url}/api/v1${path}`, { method, headers, body: body && JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return answer.json();
}

if (!process.env.FLEETLOG_EMAIL || !process.env.FLEETLOG_PASSWORD) {
  throw new Error('set FLEETLOG_EMAIL and FLEETLOG_PASSWORD first');
}
const login = { email: process.env.FLEETLOG_EMAIL, password: process.env.FLEETLOG_PASSWORD };
headers.authorization = `Bearer ${(await call('POST', '/auth/login', login)).access_token}`;

const { items: devices } = await call('GET', '/devices?status=online');
console.log('online:', devices.map((device) => device.uid));
const uid = process.env.FLEETLOG_DEVICE ?? devices[0].uid;

let command = await call('POST', `/devices/${uid}/commands`, { cmd: 'ping', timeout_s: 10 });
const until = Date.now() + 20_000;
while (!ended.includes(command.status)) {
  if (Date.now() > until) {
    throw new Error(`${uid} has not answered within 20 s: is it connected? FLEETLOG_DEVICE chooses another`);
  }
  await new Promise((resume) => setTimeout(resume, 200));
  command = await call('GET', `/commands/${command.cmd_id}`);
}
console.log('ping:', command.status, command.result);

const { items: [reading] } = await call('GET', `/telemetry/${uid}?limit=1`);
console.log('last reading:', reading.ts, reading.payload);
