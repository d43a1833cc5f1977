// The public API: GraphQL for reads, REST for the rest. The one place that knows how to ask it.

import * as connection from './connection.js';

/**
 * @typedef {object} ProblemDocument
 * @property {string} [code]
 * @property {string} [detail]
 * @property {string} [title]
 * @property {{ field: string, reason: string }[]} [errors]
 * @property {string} [request_id]
 */

/** Why a request failed, in the service's own words. */
export class Problem extends Error {
  /**
   * @param {number} status 0: the service was not reached.
   * @param {ProblemDocument} document
   * @param {number | null} [retryAfter] In seconds.
   */
  constructor(status, document, retryAfter = null) {
    super(document.detail ?? document.title ?? `HTTP ${status}`);
    this.status = status;
    this.code = document.code ?? (status === 0 ? 'unreachable' : 'unknown');
    this.errors = document.errors ?? [];
    this.requestId = document.request_id ?? null;
    this.retryAfter = retryAfter;
  }

  /** The reason that one field is wrong. @param {string} field */
  of(field) {
    return this.errors.find((error) => error.field === field || error.field.startsWith(`${field}.`))?.reason ?? null;
  }
}

/** What is told when the session turns out to be over. @type {() => void} */
let ended = () => {};

/** @param {() => void} then */
export function whenSessionEnds(then) {
  ended = then;
}

/**
 * @typedef {object} Options
 * @property {unknown} [body]
 * @property {AbortSignal} [signal]
 * @property {boolean} [stranger] The request needs no session, and a 401 says nothing of one.
 * @property {string} [key] Its `Idempotency-Key`: a repeat is carried out once.
 * @property {boolean} [text] The answer is text, and not JSON.
 */

/**
 * Asks REST. `path` begins with `/`; the versioned API's is without its prefix.
 * @param {string} method
 * @param {string} path
 * @param {Options} [options]
 * @returns {Promise<any>}
 */
export async function rest(method, path, options = {}) {
  const answer = await asked(method, path, options);
  if (answer.status === 204) return null;
  if (answer.ok && options.text) return answer.text();
  const json = await answer.json().catch(() => ({}));
  if (answer.ok) return json;
  throw new Problem(answer.status, json, Number(answer.headers.get('retry-after')) || null);
}

/**
 * Asks, and returns the answer as it comes, with its headers, whatever its status.
 * @param {string} method
 * @param {string} path
 * @param {Options} [options]
 */
export async function asked(method, path, { body, signal, stranger, key } = {}) {
  const address = /^\/(api\/|graphql|healthz)/.test(path) ? path : `/api/v1${path}`;
  /** @type {RequestInit} */
  const request = { method, headers: { accept: 'application/json' }, credentials: 'same-origin', cache: 'no-store' };
  if (signal) request.signal = signal;
  if (key) request.headers = { ...request.headers, 'idempotency-key': key };
  if (body !== undefined) {
    request.headers = { ...request.headers, 'content-type': 'application/json' };
    request.body = JSON.stringify(body);
  }
  const answer = await reached(address, request);
  if (answer.status === 401 && !stranger) ended();
  return answer;
}

/**
 * @param {string} address
 * @param {RequestInit} request
 */
async function reached(address, request) {
  let answer;
  try {
    answer = await fetch(address, request);
  } catch (error) {
    if (error instanceof DOMException && error.name === 'AbortError') throw error;
    connection.note('requests', false);
    throw new Problem(0, {});
  }
  // A proxy in front of a service that is down. The service itself says in a problem document what it cannot do yet.
  const isOwn = answer.headers.get('content-type')?.startsWith('application/problem+json');
  connection.note('requests', isOwn || ![502, 503, 504].includes(answer.status));
  return answer;
}

export const get = (/** @type {string} */ path, /** @type {Options} */ options = {}) => rest('GET', path, options);
/** Asks for a text, such as a proof. @param {string} path @returns {Promise<string>} */
export const getText = (path) => rest('GET', path, { text: true });
export const post = (
  /** @type {string} */ path,
  /** @type {unknown} */ body = {},
  /** @type {Options} */ options = {},
) => rest('POST', path, { ...options, body });
export const patch = (/** @type {string} */ path, /** @type {unknown} */ body) => rest('PATCH', path, { body });
export const remove = (/** @type {string} */ path) => rest('DELETE', path);

/**
 * Asks GraphQL. An error of a part of the answer is an error of the whole.
 * @param {string} query
 * @param {Record<string, unknown>} [variables]
 * @param {Options} [options]
 * @returns {Promise<any>}
 */
export async function graphql(query, variables = {}, options = {}) {
  const answer = await rest('POST', '/graphql', { ...options, body: { query, variables } });
  const [error] = answer.errors ?? [];
  if (!error) return answer.data;
  const { code, status = 422, errors } = error.extensions ?? {};
  throw new Problem(status, { detail: error.message, code, errors });
}
