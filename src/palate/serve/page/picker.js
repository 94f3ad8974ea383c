// A field that suggests while one types: ARIA's combobox with a list box, by keyboard, mouse and touch.

import * as api from "./api.js";
import { announce, counted, h, icon, settled, uniqueId } from "./elements.js";

/**
 * @template T
 * @typedef {object} Suggesting
 * @property {string} label
 * @property {string} placeholder
 * @property {(words: string, signal: AbortSignal) => Promise<T[]>} find
 * @property {(found: T) => (Node | string)[]} show what an option looks like
 * @property {(found: T) => string} name what stands in the field once it is chosen
 * @property {(found: T) => void} choose
 * @property {string} nothing said when nothing is found
 */

/**
 * @template T
 * @param {Suggesting<T>} settings
 * @returns {{element: HTMLElement, input: HTMLInputElement, put: (text: string) => void}}
 */
export function suggestingField({ label, placeholder, find, show, name, choose, nothing }) {
  const fieldId = uniqueId("field"), listId = uniqueId("options");
  const input = /** @type {HTMLInputElement} */ (
    h("input", {
      id: fieldId, type: "text", role: "combobox", placeholder, autocomplete: "off", spellcheck: "false",
      "aria-expanded": "false", "aria-controls": listId, "aria-autocomplete": "list",
    })
  );
  const list = h("ul.options", { id: listId, role: "listbox", "aria-label": label, hidden: true });
  const element = h("div.suggesting", {}, h("label", { for: fieldId }, label), h("div.field", {}, icon("search"), input), list);
  const channel = api.latest();
  /** @type {T[]} */
  let found = [];
  let active = -1, resting = "";

  function close() {
    channel();
    soon.cancel();
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    activate(-1);
  }

  /** @param {number} place */
  function activate(place) {
    active = place;
    [...list.querySelectorAll("[role=option]")].forEach((option, index) => {
      option.setAttribute("aria-selected", String(index === place));
      if (index === place) option.scrollIntoView({ block: "nearest" });
    });
    if (place < 0) input.removeAttribute("aria-activedescendant");
    else input.setAttribute("aria-activedescendant", `${listId}-${place}`);
  }

  /** @param {number} place */
  function take(place) {
    const chosen = found[place];
    put(name(chosen));
    close();
    choose(chosen);
  }

  /** @param {string} text */
  function put(text) {
    resting = text;
    input.value = text;
  }

  async function suggest() {
    const signal = channel();
    try {
      found = await find(input.value === resting ? "" : input.value.trim(), signal);
    } catch (error) {
      if (api.overtaken(error)) return;
      found = [];
      list.replaceChildren(h("li.nothing", {}, error instanceof api.Problem ? error.what : String(error)));
      list.hidden = false;
      return;
    }
    if (signal.aborted) return;
    list.replaceChildren(
      ...found.map((each, place) =>
        h(
          "li",
          {
            id: `${listId}-${place}`, role: "option", "aria-selected": "false",
            // The press must not take the focus from the field, which would close the list before the click.
            onmousedown: (/** @type {Event} */ event) => event.preventDefault(),
            onclick: () => take(place),
          },
          ...show(each),
        ),
      ),
    );
    if (!found.length) list.append(h("li.nothing", {}, nothing));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    activate(found.length && input.value !== resting ? 0 : -1);
    announce(found.length ? counted(found.length, "suggestion") : nothing);
  }

  const soon = settled(suggest, 120);
  input.addEventListener("input", soon);
  input.addEventListener("focus", () => {
    input.select();
    suggest();
  });
  input.addEventListener("blur", () => {
    close();
    input.value = resting;
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      if (list.hidden) suggest();
      else if (found.length) {
        const step = event.key === "ArrowDown" ? 1 : -1;
        activate(active < 0 && step < 0 ? found.length - 1 : (active + step + found.length) % found.length);
      }
    } else if (event.key === "Enter" && !list.hidden && active >= 0) {
      event.preventDefault();
      take(active);
    } else if (event.key === "Escape" && !list.hidden) {
      event.stopPropagation();
      close();
      input.value = resting;
    }
  });
  return { element, input, put };
}
