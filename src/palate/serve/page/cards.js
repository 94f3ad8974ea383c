// Items as cards: the picture, or a tile with the title where there is none; and the states around lists of them.

import * as api from "./api.js";
import { announce, h, icon } from "./elements.js";
import { leading } from "./models.js";
import { go, pick, picked, unpick, watch } from "./state.js";

/** @typedef {import("./api.js").Item} Item */

/** What an item is called. @param {Item} item */
export const titleOf = (item) => item.title?.trim() || `Item ${item.id}`;

/** A hue of its own for each id, the same on every visit. @param {string} id */
function hue(id) {
  let value = 2166136261;
  for (const letter of id) value = Math.imul(value ^ (letter.codePointAt(0) ?? 0), 16777619) >>> 0;
  // Steps of the golden angle lie far apart even where the numbers are near.
  return Math.round(((value % 997) * 137.508) % 360);
}

/** @type {number[]} Width over height of the first pictures seen. */
const ratios = [];

/** All cards take the shape that most pictures of this catalogue have. @param {HTMLImageElement} image */
function learnShape(image) {
  if (ratios.length >= 9 || !image.naturalWidth || !image.naturalHeight) return;
  ratios.push(image.naturalWidth / image.naturalHeight);
  if (ratios.length % 4 !== 1) return;
  const middle = [...ratios].sort((one, other) => one - other)[ratios.length >> 1];
  document.documentElement.style.setProperty("--shape", String(Math.min(1.5, Math.max(2 / 3, middle)).toFixed(3)));
}

/** Fetches pictures that need the key once they come into sight. */
const sight = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      sight.unobserve(target);
      const image = /** @type {HTMLImageElement} */ (target);
      api.pictureData(String(image.dataset.path)).then(
        (data) => (image.src = data),
        () => image.dispatchEvent(new Event("error")),
      );
    }
  },
  { rootMargin: "200px" },
);

/**
 * The picture of an item; a tile with its title where there is none or it does not load.
 *
 * @param {Item} item
 * @param {{alt?: string}} [settings] alt: "" where the title stands beside it
 */
export function picture(item, { alt = "" } = {}) {
  const title = titleOf(item);
  const frame = h("span.picture", { style: { "--hue": hue(item.id) } });
  const tile = () => {
    frame.classList.add("tile");
    frame.replaceChildren(h("span.tile-words", { "aria-hidden": !alt }, title));
  };
  if (!item.image) {
    tile();
    return frame;
  }
  const image = /** @type {HTMLImageElement} */ (h("img", { alt, decoding: "async" }));
  image.addEventListener("load", () => {
    frame.classList.add("loaded");
    learnShape(image);
  });
  image.addEventListener("error", tile);
  if (api.key()) {
    image.dataset.path = item.image;
    sight.observe(image);
  } else {
    image.loading = "lazy";
    image.src = api.address(item.image);
  }
  frame.append(image);
  return frame;
}

/** A button that puts an item on my list or takes it off. @param {Item} item @param {boolean} [wide] with words */
export function pickButton(item, wide = false) {
  const button = h("button.pick", { type: "button", "data-pick": item.id, "data-title": titleOf(item) });
  if (wide) button.classList.add("wide");
  button.addEventListener("click", () => {
    if (picked(item.id)) unpick(item.id);
    else pick(item.id);
    announce(`${titleOf(item)} ${picked(item.id) ? "added to" : "taken off"} my list`);
  });
  paintPick(button);
  return button;
}

/** @param {HTMLElement} button */
function paintPick(button) {
  const there = Boolean(picked(String(button.dataset.pick)));
  if (button.dataset.there === String(there)) return;
  button.dataset.there = String(there);
  button.setAttribute("aria-pressed", String(there));
  button.setAttribute("aria-label", `${button.dataset.title}: on my list`);
  button.title = there ? "Take off my list" : "Add to my list";
  button.replaceChildren(icon(there ? "check" : "add"));
  if (button.classList.contains("wide")) button.append(there ? "On my list" : "Add to my list");
}

watch(() => document.querySelectorAll("[data-pick]").forEach((button) => paintPick(/** @type {HTMLElement} */ (button))));

/** Open an item. @param {string} id @param {string} [model] whose item it is; default: the first of those that are shown */
export const openItem = (id, model = "") => go({ item: id, of: model === leading() ? "" : model });

/**
 * An item to open.
 *
 * @param {Item} item
 * @param {{model?: string, rank?: number, small?: boolean, note?: string | null | (Node | string)[], below?: (Node | null)[], pickable?: boolean}} [settings]
 *   model: whose item it is; note: a figure or word under the title; below: further parts outside the button
 */
export function card(item, { model, rank, small = false, note, below = [], pickable = true } = {}) {
  const open = h(
    "button.open",
    { type: "button", title: titleOf(item), onclick: () => openItem(item.id, model) },
    picture(item),
    h("span.words", {}, rank && h("span.rank", {}, h("span.unseen", {}, "Rank "), rank), h("span.title", {}, titleOf(item))),
    note && h("span.note", {}, note),
  );
  return h(small ? "li.card.small" : "li.card", { "data-item": item.id }, open, pickable && pickButton(item), ...below);
}

/** A row to scroll sideways. @param {Node[]} cards @param {string} label */
export function strip(cards, label) {
  return h("ul.strip", { "aria-label": label, role: "list" }, cards);
}

/** @param {Node[]} cards @param {string} label */
export const grid = (cards, label) => h("ul.grid", { "aria-label": label, role: "list" }, cards);

/** What stands where cards will be. @param {number} count @param {"grid" | "strip"} kind */
export function skeleton(count, kind) {
  const cards = Array.from({ length: count }, () => h("li.card.bone", {}, h("span.picture"), h("span.bone-line")));
  return h(`ul.${kind}`, { "aria-hidden": "true" }, cards);
}

/** Nothing to show, and what to do about it. @param {string} what @param {string} [remedy] @param {...Node} more */
export function empty(what, remedy = "", ...more) {
  return h("div.empty", {}, h("p.what", {}, what), remedy && h("p", {}, remedy), ...more);
}

/**
 * A failure: what happened, where, what to do.
 *
 * @param {unknown} error
 * @param {(() => void) | null} [again] tries once more
 */
export function problem(error, again = null) {
  if (!(error instanceof api.Problem)) console.error(error);
  const known = error instanceof api.Problem ? error : new api.Problem("The page made a mistake.", { do: "reload it" });
  return h(
    "div.problem",
    { role: "alert" },
    h("p.what", {}, known.what),
    known.where && h("p.where", {}, known.where),
    known.remedy && h("p", {}, `${known.remedy[0].toUpperCase()}${known.remedy.slice(1)}.`.replace(/\.\.$/, ".")),
    again && h("button.quiet", { type: "button", onclick: again }, "Try again"),
  );
}

/**
 * Fill a place with what a request brings: a skeleton first (or what stood there, dimmed), then cards or the failure.
 *
 * @template T
 * @param {HTMLElement} place
 * @param {Node} waiting
 * @param {(signal: AbortSignal) => Promise<T>} request
 * @param {(result: T) => Node | Node[]} show
 * @returns {() => Promise<void>} loads, and breaks off a load that is under way
 */
export function loader(place, waiting, request, show) {
  const channel = api.latest();
  const load = async () => {
    const signal = channel();
    place.setAttribute("aria-busy", "true");
    if (!place.childElementCount || place.querySelector(".problem, .empty")) place.replaceChildren(waiting.cloneNode(true));
    try {
      const result = await request(signal);
      if (signal.aborted) return;
      const shown = show(result);
      place.replaceChildren(...(Array.isArray(shown) ? shown : [shown]));
    } catch (error) {
      if (api.overtaken(error) || signal.aborted) return;
      place.replaceChildren(problem(error, load));
    }
    place.removeAttribute("aria-busy");
  };
  return load;
}

