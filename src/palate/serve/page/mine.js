// The view of my list: a new user made by choosing items, with recommendations that follow every choice.

import * as api from "./api.js";
import { card, empty } from "./cards.js";
import { announce, counted, h, icon } from "./elements.js";
import { finder } from "./finder.js";
import { comparison } from "./lists.js";
import { leading } from "./models.js";
import { go, pick, state, unpick } from "./state.js";

/** @typedef {import("./state.js").Pick} Pick */

/**
 * What the service is asked for a list. Items without a rating are liked. To a model that knows no dislikes a low rating
 * would be one more thing that was taken, so it is not told of them; they are kept out of its list in any case.
 *
 * @param {Pick[]} picks
 * @param {api.Model} model
 */
export function bodyOfPicks(picks, { dislike }) {
  const told = picks.filter(({ disliked }) => !disliked || typeof dislike === "number");
  const items = told.map(({ id, disliked }) => (disliked ? { id, rating: dislike } : { id }));
  const deny = picks.filter(({ disliked }) => disliked).map(({ id }) => id);
  return { items, ...(deny.length > 0 && { deny }) };
}

/** @param {HTMLElement} controls */
export function mineView(controls) {
  const list = h("ul.strip.mine", { role: "list", "aria-label": "My list" });
  const told = h("span.quiet-words");
  const clear = h("button.quiet", { type: "button", onclick: forget }, "Clear the list");
  const heading = h("h2", { tabindex: "-1" }, "My list ", told);
  const none = empty("Your list is empty.", "Add two or three things that you like, below; recommendations follow at once.");
  const search = finder({ label: "Add items", count: 24 });
  const lists = comparison();
  const hint = empty("Nothing to go by yet.", "Whatever you add to your list, likes above all, is answered here.");
  const slot = h("div.slot");
  const element = h(
    "div.view.mine-view",
    {},
    h("section.chosen", { "aria-label": "My list" }, h("div.head", {}, heading, clear), none, list),
    search.element,
    h("section.answers", { "aria-label": "Recommendations" }, h("h2", {}, "Recommendations for you"), slot, hint, lists.element),
  );
  /** @type {Map<string, HTMLElement>} */
  const cards = new Map();
  let whose = "";

  function forget() {
    go({ picks: [] });
    announce("My list is empty");
    heading.focus();
  }

  /** @param {Pick} chosen */
  function add({ id }) {
    const asked = whose;
    const place = card({ id }, { small: true, pickable: false });
    cards.set(id, place);
    api.item(id, whose).then(
      (details) => asked === whose && fill(id, details),
      (error) => asked === whose && fill(id, { id, title: error instanceof api.Problem ? error.what : null }),
    );
    return place;
  }

  /** @param {string} id @param {api.Details} details */
  function fill(id, details) {
    const old = cards.get(id);
    if (!old) return;
    const name = details.title || `item ${id}`;
    const liked = h("button", { type: "button", "aria-label": `Like ${name}`, title: "Like", onclick: () => pick(id, false) }, icon("up"));
    const disliked = h("button", { type: "button", "aria-label": `Dislike ${name}`, title: "Dislike", onclick: () => pick(id, true) }, icon("down"));
    const off = h("button", { type: "button", "aria-label": `Remove ${name}`, title: "Remove", onclick: () => remove(id, name) }, icon("close"));
    const opinion = h("div.opinion", {}, liked, disliked, off);
    const fresh = card(details, { small: true, pickable: false, below: [opinion] });
    cards.set(id, fresh);
    old.replaceWith(fresh);
    paint();
  }

  /** @param {string} id @param {string} name */
  function remove(id, name) {
    const here = cards.get(id);
    const next = here?.nextElementSibling ?? here?.previousElementSibling;
    unpick(id);
    announce(`${name} taken off my list`);
    const goal = next?.querySelector(".opinion button:last-child") ?? heading;
    /** @type {HTMLElement} */ (goal).focus();
  }

  function paint() {
    for (const { id, disliked } of state().picks) {
      const [like, dislike] = cards.get(id)?.querySelectorAll(".opinion button") ?? [];
      like?.setAttribute("aria-pressed", String(!disliked));
      dislike?.setAttribute("aria-pressed", String(disliked));
      cards.get(id)?.classList.toggle("disliked", disliked);
    }
  }

  function update() {
    const { picks } = state();
    slot.append(controls);
    // What an id stands for, the models of another catalogue say anew.
    const same = whose === leading();
    whose = leading();
    for (const [id, place] of cards) {
      if (same && picks.some((each) => each.id === id)) continue;
      place.remove();
      cards.delete(id);
    }
    for (const each of picks) if (!cards.has(each.id)) list.append(add(each));
    paint();
    const likes = picks.filter(({ disliked }) => !disliked).length;
    told.textContent = picks.length ? counted(picks.length, "item") : "";
    none.hidden = Boolean(picks.length);
    list.hidden = clear.hidden = !picks.length;
    hint.hidden = Boolean(likes);
    search.update();
    lists.update(likes ? { body: (model) => bodyOfPicks(picks, model), whom: "my list" } : null);
  }
  return { element, update, title: () => "My list" };
}
