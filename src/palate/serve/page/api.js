// The service as functions: one place that sends the key, reads errors and breaks off what was overtaken.

/**
 * @typedef {{id: string, title?: string | null, image?: string | null}} Item
 * @typedef {Item & {description?: string | null, attributes?: Record<string, unknown>, modalities?: string[]}} Details
 * @typedef {{name: string, title?: string, catalogue?: string, users?: number, items?: number, modalities?: string[],
 *   branches?: string[], folds_in?: boolean, takes_text?: boolean, takes_image?: boolean, places_items?: boolean,
 *   dislike?: number | null}} Model
 * @typedef {Item & {contribution?: number, similarity?: number}} Reason
 * @typedef {{branches?: Record<string, number>, history?: Reason[], placed?: boolean}} Why
 * @typedef {Item & {score?: number, rank?: number, similarity?: number, why?: Why | null}} Ranked
 * @typedef {{model: string, items: Ranked[], notes?: string[]}} Answer
 */

const KEY = "palate-key";

/** What went wrong, for people: what, where and what to do. */
export class Problem extends Error {
  /** @param {string} what @param {{where?: string | null, do?: string | null, status?: number}} [more] */
  constructor(what, more = {}) {
    super(what);
    this.what = what;
    this.where = more.where ?? "";
    this.remedy = more.do ?? "";
    this.status = more.status ?? 0;
  }
}

/** Whether a failure only says that a newer request took over. @param {unknown} error */
export function overtaken(error) {
  return error instanceof DOMException && error.name === "AbortError";
}

let memory = "";

/** The API key of this tab. */
export function key() {
  try {
    return sessionStorage.getItem(KEY) ?? memory;
  } catch {
    return memory;
  }
}

/** @param {string} value */
export function keepKey(value) {
  memory = value;
  try {
    sessionStorage.setItem(KEY, value);
  } catch {
    // Storage may be forbidden; the key lives as long as the page then.
  }
}

/** @type {((wrong: boolean) => Promise<string>) | null} */
let askForKey = null;
/** @type {Promise<string> | null} One question at a time, however many requests wait for the answer. */
let asking = null;

/** Says who asks the person for a key when the service wants one. @param {(wrong: boolean) => Promise<string>} ask */
export function onKeyWanted(ask) {
  askForKey = ask;
}

/** An address of the service, also where it is served below a path. @param {string} path */
export function address(path) {
  return new URL(path.replace(/^\//, ""), document.baseURI).href;
}

/** @param {string} path @param {RequestInit} settings @returns {Promise<Response>} */
async function send(path, settings) {
  const used = key();
  const headers = new Headers(settings.headers);
  if (used) headers.set("X-API-Key", used);
  let response;
  try {
    response = await fetch(address(path), { ...settings, headers });
  } catch (error) {
    if (overtaken(error)) throw error;
    throw new Problem("The service does not answer.", { do: "see whether it still runs, then try again" });
  }
  if (response.status !== 401 || !askForKey) return response;
  if (key() === used) {
    asking ??= askForKey(Boolean(used)).finally(() => (asking = null));
    keepKey(await asking);
  }
  return send(path, settings);
}

/** @param {Response} response @returns {Promise<Problem>} */
async function problemOf(response) {
  let told;
  try {
    told = (await response.json()).error;
  } catch {
    told = null;
  }
  if (!told?.what) return new Problem(`The service answered ${response.status}.`, { status: response.status });
  return new Problem(told.what, { where: told.where, do: told.do, status: response.status });
}

/** @param {string} path @param {RequestInit} [settings] @returns {Promise<any>} */
async function answer(path, settings = {}) {
  const response = await send(path, settings);
  if (!response.ok) throw await problemOf(response);
  try {
    return await response.json();
  } catch (error) {
    if (overtaken(error)) throw error;
    throw new Problem("The service's answer is no JSON.", { do: "see whether another program answers at this address" });
  }
}

/** @param {string} path @param {Record<string, string | number>} about @param {AbortSignal} [signal] */
const get = (path, about = {}, signal) => {
  const query = new URLSearchParams(Object.entries(about).map(([name, value]) => [name, String(value)]));
  return answer(query.size ? `${path}?${query}` : path, { signal });
};

/** @param {string} path @param {object} body @param {AbortSignal} [signal] */
const post = (path, body, signal) =>
  answer(path, { method: "POST", body: JSON.stringify(body), headers: { "Content-Type": "application/json" }, signal });

/** @returns {Promise<{status: string, version: string, models: string[], default: string}>} */
export const health = () => get("v1/health");
/** @returns {Promise<{models: Model[]}>} */
export const models = () => get("v1/models");
/**
 * What is asked of one user or item. Browsers take "." and ".." out of a path, however they are written there.
 *
 * @param {string} path @param {string} id @param {Record<string, string | number>} about @param {AbortSignal} [signal]
 */
const one = (path, id, about, signal) =>
  id === "." || id === ".." ? get(`${path}/`, { id, ...about }, signal) : get(`${path}/${encodeURIComponent(id)}`, about, signal);

// Ids are those of a model's own catalogue, so every question says which model is meant.

/** @param {string} query @param {number} limit @param {string} model @param {AbortSignal} [signal] @returns {Promise<{users: {id: string, interactions: number}[]}>} */
export const users = (query, limit, model, signal) => get("v1/users", { query, limit, model }, signal);
/** @param {string} id @param {number} limit @param {string} model @param {AbortSignal} [signal] @returns {Promise<{id: string, history: Item[], interactions?: number}>} */
export const user = (id, limit, model, signal) => one("v1/users", id, { limit, model }, signal);
/** @param {string} query @param {number} limit @param {string} model @param {AbortSignal} [signal] @returns {Promise<{items: Item[]}>} */
export const items = (query, limit, model, signal) => get("v1/items", { query, limit, model }, signal);
/** @param {object} body @param {AbortSignal} [signal] @returns {Promise<Answer>} */
export const recommend = (body, signal) => post("v1/recommend", body, signal);
/** @param {object} body @param {AbortSignal} [signal] @returns {Promise<Answer>} */
export const similar = (body, signal) => post("v1/similar", body, signal);

/** @type {Map<string, Promise<Details>>} */
const known = new Map();

/** All that is known of an item; asked once. @param {string} id @param {string} model @returns {Promise<Details>} */
export function item(id, model) {
  const both = JSON.stringify([model, id]);
  let found = known.get(both);
  if (!found) {
    found = one("v1/items", id, { model });
    found.catch(() => known.delete(both));
    known.set(both, found);
  }
  return found;
}

/** A picture as a data address: the way to it when a key has to be sent. @param {string} path @returns {Promise<string>} */
export async function pictureData(path) {
  const response = await send(path, {});
  if (!response.ok) throw await problemOf(response);
  return dataAddress(await response.blob());
}

/** @param {Blob} blob @returns {Promise<string>} */
export function dataAddress(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(new Problem("The file cannot be read.", { do: "choose it again, or another one" }));
    reader.readAsDataURL(blob);
  });
}

/** A channel for requests of which only the latest matters. */
export function latest() {
  /** @type {AbortController | null} */
  let running = null;
  return () => {
    running?.abort();
    running = new AbortController();
    return running.signal;
  };
}
