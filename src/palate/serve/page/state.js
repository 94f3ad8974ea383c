// What the page shows, kept in the address after "#": a view can be shared, reloaded and gone back to.

/**
 * @typedef {{id: string, disliked: boolean}} Pick
 * @typedef {{column: string, values?: string[], min?: number, max?: number}} Filter
 * @typedef {object} State
 * @property {string} view one of VIEWS
 * @property {string} user
 * @property {string[]} models one or two names; empty: the service's default
 * @property {number} k
 * @property {string} diverse by what a list is made diverse; "": it is not
 * @property {number} strength of it, 0 to 1
 * @property {boolean} repeat show what was met already, too
 * @property {Filter[]} filters
 * @property {boolean} why
 * @property {Pick[]} picks my list
 * @property {string} query words that items are searched by
 * @property {string} text a new item's description
 * @property {string} item the open item; "": none
 * @property {string} of the model whose item it is; "": the first of those that are shown
 */

export const VIEWS = ["people", "mine", "new", "items"];
export const DEFAULT_K = 12, MOST_K = 100;

/** @returns {State} */
function fresh() {
  return {
    view: "people", user: "", models: [], k: DEFAULT_K, diverse: "", strength: 0.5, repeat: false, filters: [],
    why: false, picks: [], query: "", text: "", item: "", of: "",
  };
}

/** @param {string} text @param {number} low @param {number} high @param {number} otherwise */
function number(text, low, high, otherwise) {
  const value = Number(text);
  return text.trim() !== "" && Number.isFinite(value) ? Math.min(high, Math.max(low, value)) : otherwise;
}

/** Anything a person may have typed there gives a state; what makes no sense is left out. @param {string} hash @returns {State} */
export function parse(hash) {
  const state = fresh();
  const [path, query = ""] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  if (VIEWS.includes(path)) state.view = path;
  /** @type {Map<string, Pick>} */
  const picks = new Map();
  for (const [name, value] of new URLSearchParams(query)) {
    if (name === "user" || name === "query" || name === "text" || name === "item" || name === "of") state[name] = value;
    else if (name === "model" && state.models.length < 2 && !state.models.includes(value)) state.models.push(value);
    else if (name === "k") state.k = Math.round(number(value, 1, MOST_K, DEFAULT_K));
    else if (name === "diverse") state.diverse = value;
    else if (name === "strength") state.strength = number(value, 0, 1, 0.5);
    else if (name === "repeat") state.repeat = true;
    else if (name === "why") state.why = true;
    else if (name === "like" || name === "dislike") picks.set(value, { id: value, disliked: name === "dislike" });
    else if (name.startsWith("where.")) filterInto(state.filters, name.slice(6), value);
    else if (name.startsWith("range.")) rangeInto(state.filters, name.slice(6), value);
  }
  state.picks = [...picks.values()];
  return state;
}

/** @param {Filter[]} filters @param {string} column @param {string} value */
function filterInto(filters, column, value) {
  const there = filters.find((each) => each.column === column);
  if (!there) filters.push({ column, values: [value] });
  else if (there.values && !there.values.includes(value)) there.values.push(value);
}

/** @param {Filter[]} filters @param {string} column @param {string} text */
function rangeInto(filters, column, text) {
  const ends = text.split("~").map((end) => number(end, -Infinity, Infinity, NaN));
  /** @type {Filter} */
  const range = { column };
  if (!Number.isNaN(ends[0])) range.min = ends[0];
  if (ends.length > 1 && !Number.isNaN(ends[1])) range.max = ends[1];
  if ((range.min ?? range.max) !== undefined && !filters.some((each) => each.column === column)) filters.push(range);
}

/** @param {State} state */
export function format(state) {
  const query = new URLSearchParams();
  for (const name of /** @type {const} */ (["user", "query", "text"])) if (state[name]) query.set(name, state[name]);
  for (const pick of state.picks) query.append(pick.disliked ? "dislike" : "like", pick.id);
  for (const model of state.models) query.append("model", model);
  if (state.k !== DEFAULT_K) query.set("k", String(state.k));
  if (state.diverse) {
    query.set("diverse", state.diverse);
    query.set("strength", String(state.strength));
  }
  if (state.repeat) query.set("repeat", "1");
  if (state.why) query.set("why", "1");
  for (const { column, values, min, max } of state.filters) {
    if (values) for (const value of values) query.append(`where.${column}`, value);
    else query.append(`range.${column}`, `${min ?? ""}~${max ?? ""}`);
  }
  if (state.item) query.set("item", state.item);
  if (state.item && state.of) query.set("of", state.of);
  return `#/${state.view}${query.size ? `?${query}` : ""}`;
}

/** @type {((state: State) => void)[]} */
const watchers = [];
let current = parse(location.hash);

/** What is shown now. */
export const state = () => current;

/**
 * Change what is shown.
 *
 * @param {Partial<State>} change
 * @param {{replace?: boolean}} [how] replace: a step that "back" should not stop at
 */
export function go(change, how = {}) {
  const next = { ...current, ...change };
  const hash = format(next);
  if (hash === format(current)) return;
  current = next;
  if (how.replace) history.replaceState(null, "", hash);
  else history.pushState(null, "", hash);
  tell();
}

/** @param {(state: State) => void} watcher called at every change */
export function watch(watcher) {
  watchers.push(watcher);
}

export function tell() {
  for (const watcher of watchers) watcher(current);
}

window.addEventListener("popstate", () => {
  current = parse(location.hash);
  tell();
});

/** Whether an item is on my list, and how. @param {string} id */
export const picked = (id) => current.picks.find((pick) => pick.id === id);

/** Put an item on my list, or change how it stands there. @param {string} id @param {boolean} [disliked] */
export function pick(id, disliked = false) {
  const there = picked(id);
  const picks = there
    ? current.picks.map((each) => (each.id === id ? { id, disliked } : each))
    : [...current.picks, { id, disliked }];
  go({ picks }, { replace: true });
}

/** @param {string} id */
export function unpick(id) {
  go({ picks: current.picks.filter((each) => each.id !== id) }, { replace: true });
}
