// The dialog of one item: what is known of it, why it is in the lists in sight, and what it is like in each modality.

import * as api from "./api.js";
import { card, empty, loader, picture, pickButton, problem, skeleton, strip, titleOf } from "./cards.js";
import { announce, figure, h, icon } from "./elements.js";
import { standings, watchLists } from "./lists.js";
import { chosen, modalities, modelOf, nameOf, sameCatalogue } from "./models.js";
import { reasons } from "./reasons.js";
import { go, pick, picked, state, watch } from "./state.js";
import { noticeAttributes, valuesOf } from "./tune.js";

const NEIGHBOURS = 12;
// Letters of a title and a description that are shown without being asked for.
const TITLE = 160, DESCRIPTION = 420;
// What a request that makes no sense for this model or item is answered with; no reason for alarm here.
const NOT_HERE = [400, 404, 422];

const heading = h("h2", { tabindex: "-1", id: "item-title" });
const content = h("div.item-content", {}, heading);
const dialog = /** @type {HTMLDialogElement} */ (
  h(
    "dialog.item",
    { "aria-labelledby": "item-title" },
    h("button.close", { type: "button", "aria-label": "Close", title: "Close", onclick: leave }, icon("close")),
    content,
  )
);
const places = h("div.standings");
/** @type {Element | null} */
let opener = null;
let openItem = "", openOf = "";

function leave() {
  go({ item: "" });
}

/** Follow the state: open, turn to another item, or close and give the focus back. */
function follow() {
  const { item, of } = state();
  // The same id is another item to a model of another catalogue.
  const whose = item ? (modelOf(of)?.name ?? "") : "";
  if (item === openItem && whose === openOf) return;
  const before = openItem;
  [openItem, openOf] = [item, whose];
  if (item) {
    if (!before) opener = document.activeElement;
    if (!dialog.open) dialog.showModal();
    fill(item);
    return;
  }
  dialog.close();
  const there = opener?.isConnected && opener !== document.body ? opener : document.querySelector(`[data-item="${CSS.escape(before)}"] .open`);
  /** @type {HTMLElement | null} */ (there ?? document.getElementById("main"))?.focus();
}

/** Say where the item stands in the lists in sight, as far as they are there. */
function place() {
  places.replaceChildren(...standings(openItem, modelOf(openOf)).map(reasonOf));
  places.hidden = !places.childElementCount;
}

/** @param {string} id */
async function fill(id) {
  const whose = openOf;
  const overtaken = () => openItem !== id || openOf !== whose;
  heading.textContent = "";
  content.replaceChildren(heading, h("div.item-head", { "aria-busy": "true" }, h("span.picture.bone")));
  dialog.scrollTop = 0;
  let details;
  try {
    details = await api.item(id, whose);
  } catch (error) {
    if (overtaken()) return;
    heading.textContent = `Item ${id}`;
    content.replaceChildren(heading, problem(error, () => fill(id)));
    return;
  }
  if (overtaken()) return;
  noticeAttributes(details);
  heading.textContent = titleOf(details);
  content.replaceChildren(head(details), places, neighbours(details));
  place();
  heading.focus();
  announce(titleOf(details));
}

/** @param {api.Details} details */
function head(details) {
  const attributes = Object.entries(details.attributes ?? {}).filter(([, value]) => valuesOf(value).length > 0);
  const dislike = h("button.pick.wide", { type: "button" });
  const paint = () => {
    const there = Boolean(picked(details.id)?.disliked);
    dislike.setAttribute("aria-pressed", String(there));
    dislike.replaceChildren(icon("down"), there ? "Disliked" : "Not for me");
  };
  dislike.addEventListener("click", () => {
    pick(details.id, !picked(details.id)?.disliked);
    paint();
  });
  paint();
  const add = pickButton(details, true);
  add.addEventListener("click", paint);
  return h(
    "div.item-head",
    {},
    picture(details, { alt: details.image ? `Picture of ${titleOf(details)}` : "" }),
    h(
      "div.item-words",
      {},
      foldable(heading, TITLE, "Whole title", "Shorter title"),
      details.title && h("p.quiet-words", {}, `Item ${details.id}`),
      details.description && foldable(h("p.description", {}, details.description), DESCRIPTION),
      attributes.length > 0 &&
        h("dl.attributes", {}, attributes.map(([name, value]) =>
          h("div", {}, h("dt", {}, name), h("dd", {}, valuesOf(value).join(", "))))),
      h("div.actions", {}, add, dislike),
    ),
  );
}

/**
 * Words that open on demand where they are long.
 *
 * @param {HTMLElement} words @param {number} most letters that are shown in any case
 * @param {string} [open] what the button says @param {string} [shut] what it says when all is shown
 */
function foldable(words, most, open = "Read on", shut = "Show less") {
  const long = (words.textContent ?? "").length > most;
  words.classList.toggle("folded", long);
  if (!long) return words;
  const more = h("button.link", { type: "button", "aria-expanded": "false" }, open);
  more.addEventListener("click", () => {
    const folded = words.classList.toggle("folded");
    more.setAttribute("aria-expanded", String(!folded));
    more.textContent = folded ? open : shut;
  });
  return h("div", {}, words, more);
}

/** @param {ReturnType<typeof standings>[number]} standing */
function reasonOf({ model, whom, rank, why }) {
  const place = h("div", { "aria-busy": "true" });
  const section = h("section.standing", {}, h("h3", {}, `Number ${rank} of ${nameOf(model)} for ${whom}`), place);
  why.then(
    (found) => place.replaceChildren(...[reasons(found, model.name)].filter((each) => each !== null)),
    (error) => place.replaceChildren(problem(error)),
  ).finally(() => place.removeAttribute("aria-busy"));
  return section;
}

/** A row for each way of being alike. @param {api.Details} details */
function neighbours(details) {
  const present = details.modalities ?? [];
  const known = modalities();
  const own = modelOf(openOf);
  const here = chosen().filter((model) => sameCatalogue(model, own));
  const alike = here.length || !own ? here : [own];
  /** @type {{title: string, body: object}[]} */
  const rows = [
    ...alike.map((model) => ({ title: `Close to it for ${nameOf(model)}`, body: { by: "model", model: model.name } })),
    ...present.map((by) => ({
      title: `Alike by ${by}`,
      body: { by, model: (alike.find((model) => model.modalities?.includes(by)) ?? alike[0])?.name },
    })),
  ];
  const lacking = known.filter((by) => !present.includes(by));
  return h(
    "section.neighbours",
    { "aria-label": `Neighbours of ${titleOf(details)}` },
    rows.map(({ title, body }) => row(title, { ...body, item: details.id, k: NEIGHBOURS })),
    lacking.length > 0 && h("p.quiet-words", {}, `It has no ${lacking.join(", no ")}, so nothing is said of its neighbours there.`),
  );
}

/**
 * A strip of similar items, loaded at once.
 *
 * @param {string} title @param {{model?: string} & object} body as /v1/similar takes it
 */
export function row(title, body) {
  const place = h("div.place");
  const section = h("section.neighbour-row", { "aria-label": title }, h("h3", {}, title), place);
  loader(
    place,
    skeleton(6, "strip"),
    (signal) =>
      api.similar(body, signal).catch((error) => {
        if (error instanceof api.Problem && NOT_HERE.includes(error.status)) return error;
        throw error;
      }),
    (answer) => {
      if (answer instanceof api.Problem) return h("p.quiet-words", {}, answer.what);
      const notes = (answer.notes ?? []).map((note) => h("p.notes", {}, note));
      if (!answer.items.length) return [...notes, empty("Nothing is like it here.")];
      return [...notes, strip(answer.items.map((item) => card(item, { model: body.model, small: true, note: figure(item.similarity ?? 0) })), title)];
    },
  )();
  return section;
}

/** Puts the dialog into the page; from then on it follows the address. */
export function itemDialog() {
  document.body.append(dialog);
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    leave();
  });
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) leave();
  });
  watch(follow);
  watchLists(() => {
    if (openItem) place();
  });
  follow();
}
