// What happens, as it happens: GraphQL subscriptions over one WebSocket (graphql-transport-ws).
//
// Each message says the position up to which everything was sent. After a lost connection a subscription goes on from there:
// nothing is missed and nothing comes twice.

import { Problem } from './api.js';
import * as connection from './connection.js';
import { load } from './session.js';

/** @typedef {{ message: string, locations?: { line: number, column: number }[], path?: (string | number)[], extensions?: { code?: string, status?: number } }} GraphqlError */
/**
 * @typedef {object} Subscription
 * @property {string} query It has the variables `$after` and `$from`.
 * @property {Record<string, unknown>} variables
 * @property {(data: any) => void} next
 * @property {(problem: Problem, errors: GraphqlError[]) => void} fail
 * @property {() => void} over
 * @property {string | null} at
 */

/** The pauses before the next try, in milliseconds. */
const PAUSE = { least: 500, most: 8000 };
/** How often the server is asked for a sign of life, and how long it may take. */
const PING = { every: 15_000, patience: 10_000 };
/** How long a connection is kept that nobody uses. */
const IDLE = 5000;

/** @type {Map<string, Subscription>} */
const subscriptions = new Map();
/** @type {WebSocket | null} */
let socket = null;
let ready = false;
let pause = PAUSE.least;
let named = 0;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let silence;

/**
 * Follows a subscription. Returns what ends it.
 * @param {string} query
 * @param {Record<string, unknown>} variables
 * @param {{ next: (data: any) => void, fail?: Subscription['fail'], over?: () => void }} told
 */
export function follow(query, variables, { next, fail = () => {}, over = () => {} }) {
  const id = `${(named += 1)}`;
  subscriptions.set(id, { query, variables, next, fail, over, at: null });
  if (ready) subscribe(id);
  else if (!socket) connect();
  return () => {
    if (!subscriptions.delete(id)) return;
    if (ready) say({ type: 'complete', id });
    setTimeout(() => subscriptions.size === 0 && leave(), IDLE);
  };
}

function leave() {
  clearTimeout(timer);
  if (socket) lose(socket, 1000);
  connection.note('live', true);
}

/** @param {object} message */
function say(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

/** @param {string} id */
function subscribe(id) {
  const subscription = subscriptions.get(id);
  if (!subscription) return;
  const { query, variables, at } = subscription;
  const from = at ? { from: null, after: at } : {};
  say({ type: 'subscribe', id, payload: { query, variables: { ...variables, ...from } } });
}

function connect() {
  clearTimeout(timer);
  if (socket || subscriptions.size === 0) return;
  const opening = new WebSocket(
    `${location.protocol === 'https:' ? 'wss' : 'ws'}://${location.host}/graphql/ws`,
    'graphql-transport-ws',
  );
  socket = opening;
  opening.onopen = () => {
    say({ type: 'connection_init' });
    expect();
  };
  opening.onmessage = ({ data }) => hear(JSON.parse(data));
  opening.onclose = ({ code }) => lose(opening, code);
}

/** @param {{ type: string, id: string, payload: any }} message */
function hear({ type, id, payload }) {
  expect();
  if (type === 'connection_ack') {
    ready = true;
    pause = PAUSE.least;
    connection.note('live', true);
    for (const known of subscriptions.keys()) subscribe(known);
  } else if (type === 'ping') say({ type: 'pong' });
  else if (type === 'next') tell(id, payload);
  else if (type === 'error') refuse(id, payload);
  else if (type === 'complete') {
    const subscription = subscriptions.get(id);
    subscriptions.delete(id);
    subscription?.over();
  }
}

/**
 * @param {string} id
 * @param {{ data?: Record<string, any>, errors?: any[] }} payload
 */
function tell(id, { data, errors }) {
  const subscription = subscriptions.get(id);
  if (!subscription) return;
  if (errors?.length) refuse(id, errors);
  else if (data) {
    subscription.at = Object.values(data)[0]?.at ?? subscription.at;
    subscription.next(data);
  }
}

/** @param {string} id @param {GraphqlError[]} errors */
function refuse(id, errors) {
  const subscription = subscriptions.get(id);
  subscriptions.delete(id);
  const { message = '', extensions = {} } = errors[0] ?? {};
  const { status = 422, code } = extensions;
  subscription?.fail(new Problem(status, { detail: message, ...(code ? { code } : {}) }), errors);
}

/** Expects a sign of life, and asks for one where none comes by itself. */
function expect() {
  clearTimeout(silence);
  silence = setTimeout(() => {
    say({ type: 'ping' });
    silence = setTimeout(() => socket && lose(socket, 0), PING.patience);
  }, PING.every);
}

/**
 * @param {WebSocket} closed
 * @param {number} code
 */
function lose(closed, code) {
  if (closed !== socket) return;
  clearTimeout(silence);
  closed.onclose = closed.onmessage = null;
  closed.close();
  socket = null;
  ready = false;
  if (subscriptions.size === 0) return;
  // The session may be over: the next request tells.
  if (code === 4403) load().catch(() => {});
  connection.note('live', false);
  timer = setTimeout(connect, pause * (0.5 + Math.random() / 2));
  pause = Math.min(pause * 2, PAUSE.most);
}

// A machine that wakes up, or a network that is back, need not wait for the pause to end.
for (const event of ['online', 'focus']) addEventListener(event, () => !socket && connect());
