// Searching items by words, with cards to open or to put on my list.

import * as api from "./api.js";
import { card, empty, grid, loader, skeleton } from "./cards.js";
import { announce, counted, h, icon, settled, uniqueId } from "./elements.js";
import { leading } from "./models.js";
import { go, state } from "./state.js";

/** @param {{label: string, count: number}} settings */
export function finder({ label, count }) {
  const id = uniqueId("words");
  const input = /** @type {HTMLInputElement} */ (
    h("input", { id, type: "search", placeholder: "Words of a title, a description, a category", autocomplete: "off" })
  );
  const told = h("p.quiet-words");
  const place = h("div.place");
  const form = h("form.search", { role: "search", "aria-label": label }, h("label", { for: id }, label), h("div.field", {}, icon("search"), input));
  const element = h("section.finder", { "aria-label": label }, form, told, place);
  /** @type {string | null} */
  let shown = null;
  let whose = "";

  const load = loader(
    place,
    skeleton(12, "grid"),
    (signal) => api.items(String(shown), count, whose, signal),
    ({ items }) => {
      const some = items.length >= count ? `The first ${counted(items.length, "item")}` : counted(items.length, "item");
      told.textContent = shown ? `${some} for “${shown}”` : "What most people took";
      if (shown) announce(told.textContent);
      return items.length
        ? grid(items.map((item) => card(item)), label)
        : empty(`No item has all the words of “${shown}”.`, "Try fewer words, or a part of one.");
    },
  );
  const search = () => go({ query: input.value.trim() }, { replace: true });
  input.addEventListener("input", settled(search, 200));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });

  function update() {
    const { query } = state();
    if (document.activeElement !== input) input.value = query;
    if (shown === query && whose === leading()) return;
    shown = query;
    whose = leading();
    load();
  }
  return { element, input, update };
}

/** The view that is nothing but the search. */
export function itemsView() {
  const search = finder({ label: "Search items", count: 60 });
  const element = h("div.view", {}, search.element);
  return { element, update: search.update, title: () => "Items" };
}
