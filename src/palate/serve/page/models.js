// The models that are served, and the choice of one or two of them.

import { h, uniqueId } from "./elements.js";
import { go, state } from "./state.js";

/** @typedef {import("./api.js").Model} Model */

/** @type {Model[]} */
let served = [];

/** @param {Model[]} models the first is the default */
export function serve(models) {
  served = models;
}

/** What a model is called; where two have one title, with what requests call it. @param {Model} model */
export function nameOf({ title, name }) {
  if (!title) return name;
  return served.filter((model) => model.title === title).length > 1 ? `${title} (${name})` : title;
}

/** The chosen models, one or two; names that nobody serves count as not chosen. @returns {Model[]} */
export function chosen() {
  const found = state().models.flatMap((name) => served.filter((model) => model.name === name));
  return found.length ? found : served.slice(0, 1);
}

/** The name of the first one, whose people and items are shown where nothing else is said. */
export const leading = () => chosen()[0]?.name ?? "";

/** The model of a name; of one that nobody serves, the first chosen. @param {string} name @returns {Model | undefined} */
export const modelOf = (name) => served.find((model) => model.name === name) ?? chosen()[0];

/** Whether an id means the same to both. @param {Model | undefined} one @param {Model | undefined} other */
export const sameCatalogue = (one, other) => one === other || one?.catalogue === other?.catalogue;

/** Of the chosen models together, in their order. @returns {string[]} */
export const modalities = () => [...new Set(chosen().flatMap((model) => model.modalities ?? []))];

/** Two lists to choose from: a model, and one beside it. */
export function modelChoice() {
  const first = uniqueId("model"), second = uniqueId("model");
  const one = /** @type {HTMLSelectElement} */ (h("select", { id: first, name: "model" }));
  const other = /** @type {HTMLSelectElement} */ (h("select", { id: second, name: "beside" }));
  const beside = h("div.control", {}, h("label", { for: second }, "Compare with"), other);
  const element = h("div.models", {}, h("div.control", {}, h("label", { for: first }, "Model"), one), beside);

  const change = () => go({ models: [one.value, other.value].filter((name, place, all) => name && all.indexOf(name) === place) });
  one.addEventListener("change", change);
  other.addEventListener("change", change);

  function update() {
    const [left, right] = chosen();
    fill(one, served.map((model) => [model.name, nameOf(model)]), left?.name ?? "");
    const others = served.filter((model) => model.name !== left?.name);
    fill(other, [["", "nothing"], ...others.map((model) => [model.name, nameOf(model)])], right?.name ?? "");
    beside.hidden = served.length < 2;
  }
  return { element, update };
}

/**
 * Give a list its options, only where they differ, so that an open list is not torn away.
 *
 * @param {HTMLSelectElement} select @param {string[][]} options value and words @param {string} value
 */
export function fill(select, options, value) {
  const wanted = JSON.stringify(options);
  if (select.dataset.options !== wanted) {
    select.dataset.options = wanted;
    select.replaceChildren(...options.map(([key, words]) => h("option", { value: key }, words)));
  }
  select.value = value;
}
