// The panel that tunes lists: how long, how diverse, with what was met already or without, and which items at all.

import * as api from "./api.js";
import { announce, counted, h, uniqueId } from "./elements.js";
import { fill, modalities } from "./models.js";
import { DEFAULT_K, go, state } from "./state.js";

/** @typedef {import("./state.js").Filter} Filter */

// Items that are looked at to learn which attributes there are, and values that are offered of each.
const LOOKED_AT = 16, OFFERED = 200;

/** @type {Map<string, Set<string>>} Attributes met so far with their values. */
const met = new Map();
/** @type {Map<string, string>} Items whose attributes can be asked for, and of which model. */
const waiting = new Map();
let open = false;
/** @type {() => void} */
let repaint = () => {};

/** The values in a cell: lists hold several, and so do texts with bars between them. @param {unknown} cell @returns {string[]} */
export function valuesOf(cell) {
  const values = Array.isArray(cell) ? cell : typeof cell === "string" ? cell.split("|") : [cell];
  return values.filter((value) => value !== null && value !== undefined).map((value) => String(value).trim()).filter(Boolean);
}

/** Remember which attributes an item has. @param {api.Details} details */
export function noticeAttributes(details) {
  for (const [column, value] of Object.entries(details.attributes ?? {})) {
    const values = valuesOf(value);
    if (!values.length) continue;
    const known = met.get(column) ?? new Set();
    met.set(column, known);
    for (const each of values) if (known.size < OFFERED) known.add(each);
  }
  repaint();
}

/** Items in sight, whose attributes can be asked for. @param {api.Item[]} items @param {string} model */
export function noticeItems(items, model) {
  for (const { id } of items.slice(0, LOOKED_AT)) waiting.set(id, model);
  if (open) learn();
}

async function learn() {
  const ids = [...waiting].slice(0, LOOKED_AT);
  waiting.clear();
  const found = await Promise.allSettled(ids.map(([id, model]) => api.item(id, model)));
  for (const each of found) if (each.status === "fulfilled") noticeAttributes(each.value);
}

/** @param {string} column */
const isNumber = (column) => [...(met.get(column) ?? [])].every((value) => value.trim() !== "" && Number.isFinite(Number(value)));

/** What the panel asks for, as the service takes it. @param {api.Model} model */
export function wishes(model) {
  const { k, diverse, strength, repeat, filters } = state();
  const by = diverse === "model" || model.modalities?.includes(diverse) ? diverse : "";
  return {
    k,
    exclude_seen: !repeat,
    ...(by && strength > 0 && { diversify: { by, strength } }),
    ...(filters.length > 0 && {
      where: Object.fromEntries(
        filters.map(({ column, values, min, max }) => [
          column,
          values ?? { ...(min !== undefined && { min }), ...(max !== undefined && { max }) },
        ]),
      ),
    }),
  };
}

/** @param {Filter} filter */
function words({ column, values, min, max }) {
  if (values) return `${column}: ${values.join(" or ")}`;
  if (min === undefined) return `${column}: up to ${max}`;
  return max === undefined ? `${column}: from ${min}` : `${column}: ${min} to ${max}`;
}

/** @param {string} label @param {HTMLElement} field @param {...Node} more */
function control(label, field, ...more) {
  field.id ||= uniqueId("tune");
  return h("div.control", {}, h("label", { for: field.id }, label), field, ...more);
}

/** The panel. */
export function tunePanel() {
  const length = /** @type {HTMLInputElement} */ (h("input", { type: "range", min: "4", max: "60", step: "1" }));
  const lengthShown = h("output", {});
  const by = /** @type {HTMLSelectElement} */ (h("select"));
  const strength = /** @type {HTMLInputElement} */ (h("input", { type: "range", min: "0", max: "1", step: "0.05" }));
  const strengthControl = control("How much", strength, h("span.ends", { "aria-hidden": "true" }, h("span", {}, "less"), h("span", {}, "more")));
  const repeat = /** @type {HTMLInputElement} */ (h("input", { type: "checkbox", id: uniqueId("tune") }));
  const chips = h("ul.chips", { role: "list", "aria-label": "Filters" });
  const filterPart = filterForm();
  const changes = h("span.changes");
  const reset = h("button.quiet", { type: "button" }, "Reset");
  const panel = /** @type {HTMLDetailsElement} */ (
    h(
      "details.tune",
      {},
      h("summary", {}, "Tune the list ", changes),
      h(
        "div.controls",
        {},
        control("Length of the list", length, lengthShown),
        control("Keep it varied by", by),
        strengthControl,
        h("div.control.check", {}, repeat, h("label", { for: repeat.id }, "Include what was met already")),
        filterPart.element,
        chips,
        reset,
      ),
    )
  );

  const settle = (/** @type {Partial<import("./state.js").State>} */ change) => go(change, { replace: true });
  length.addEventListener("input", () => (lengthShown.textContent = length.value));
  length.addEventListener("change", () => settle({ k: Number(length.value) }));
  by.addEventListener("change", () => settle({ diverse: by.value }));
  strength.addEventListener("change", () => settle({ strength: Number(strength.value) }));
  repeat.addEventListener("change", () => settle({ repeat: repeat.checked }));
  reset.addEventListener("click", () => {
    settle({ k: DEFAULT_K, diverse: "", strength: 0.5, repeat: false, filters: [] });
    /** @type {HTMLElement} */ (panel.querySelector("summary")).focus();
  });
  panel.addEventListener("toggle", () => {
    open = panel.open;
    if (open) learn();
  });

  function update() {
    const { k, diverse, strength: weight, repeat: repeats, filters } = state();
    length.max = String(Math.max(60, k));
    length.value = lengthShown.textContent = String(k);
    const kinds = ["model", ...modalities()];
    fill(by, [["", "nothing"], ...kinds.map((kind) => [kind, kind === "model" ? "the model itself" : kind])], kinds.includes(diverse) ? diverse : "");
    strengthControl.hidden = !by.value;
    strength.value = String(weight);
    repeat.checked = repeats;
    chips.replaceChildren(
      ...filters.map((filter) =>
        h("li", {}, h("button.chip", {
          type: "button", "aria-label": `Remove the filter ${words(filter)}`,
          onclick: () => {
            settle({ filters: state().filters.filter((each) => each.column !== filter.column) });
            announce("Filter removed");
            /** @type {HTMLElement} */ (panel.querySelector("summary")).focus();
          },
        }, words(filter), h("span", { "aria-hidden": "true" }, " ×"))),
      ),
    );
    filterPart.update();
    const count = Number(k !== DEFAULT_K) + Number(Boolean(by.value)) + Number(repeats) + filters.length;
    changes.textContent = count ? `· ${counted(count, "change")}` : "";
    reset.hidden = !count;
  }
  repaint = filterPart.update;
  return { element: panel, update };
}

/** Choose an attribute and which values of it are wanted; hidden until an attribute is known. */
function filterForm() {
  const column = /** @type {HTMLSelectElement} */ (h("select"));
  const options = h("datalist", { id: uniqueId("values") });
  const value = /** @type {HTMLInputElement} */ (h("input", { type: "text", list: options.id, autocomplete: "off" }));
  const low = /** @type {HTMLInputElement} */ (h("input", { type: "number", step: "any" }));
  const high = /** @type {HTMLInputElement} */ (h("input", { type: "number", step: "any" }));
  const valueControl = control("is", value, options);
  const ends = h("div.ends-of-range", {}, control("from", low), control("to", high));
  const element = h(
    "form.filter",
    { "aria-label": "Only items where" },
    control("Only items where", column),
    valueControl,
    ends,
    h("button.quiet", { type: "submit" }, "Add filter"),
  );

  element.addEventListener("submit", (event) => {
    event.preventDefault();
    /** @type {Filter} */
    let filter;
    const others = state().filters.filter((each) => each.column !== column.value);
    if (isNumber(column.value)) {
      filter = { column: column.value };
      if (low.value) filter.min = Number(low.value);
      if (high.value) filter.max = Number(high.value);
      if (!low.value && !high.value) return low.focus();
    } else {
      const there = state().filters.find((each) => each.column === column.value)?.values ?? [];
      if (!value.value.trim()) return value.focus();
      filter = { column: column.value, values: [...new Set([...there, value.value.trim()])] };
    }
    go({ filters: [...others, filter] }, { replace: true });
    announce(`Only items where ${words(filter)}`);
    value.value = low.value = high.value = "";
  });

  function update() {
    element.hidden = !met.size;
    fill(column, [...met.keys()].map((name) => [name, name]), met.has(column.value) ? column.value : ([...met.keys()][0] ?? ""));
    const numbers = isNumber(column.value);
    valueControl.hidden = numbers;
    ends.hidden = !numbers;
    const values = [...(met.get(column.value) ?? [])].sort();
    if (options.childElementCount !== values.length || options.dataset.column !== column.value) {
      options.dataset.column = column.value;
      options.replaceChildren(...values.map((each) => h("option", { value: each })));
    }
  }
  column.addEventListener("change", update);
  return { element, update };
}
