// Recommendations of one or two models side by side: loaded, compared, and with reasons where they are asked for.

import * as api from "./api.js";
import { card, empty, loader, skeleton } from "./cards.js";
import { announce, counted, figure, h } from "./elements.js";
import { chosen, nameOf, sameCatalogue } from "./models.js";
import { largest, reasons } from "./reasons.js";
import { state } from "./state.js";
import { noticeItems, wishes } from "./tune.js";

/**
 * @typedef {object} Asked
 * @property {(model: api.Model) => object} body for whom: user, items, text or image, as the service takes it
 * @property {string} whom in words, after "for"
 *
 * @typedef {object} Column
 * @property {api.Model} model
 * @property {HTMLElement} element
 * @property {string} wanted what is shown or under way, as text
 * @property {Asked | null} asked
 * @property {api.Answer | null} answer
 * @property {Promise<api.Answer> | null} explained the same list with reasons, asked when an item is opened
 * @property {() => Promise<void>} load
 */

/** @typedef {import("./api.js").Model} Model */

/** @type {Column[]} The columns in sight, for whoever wants to know why an item is there. */
let inSight = [];

/** @type {(() => void)[]} */
const watchers = [];

/** @param {() => void} watcher called when a list has come */
export function watchLists(watcher) {
  watchers.push(watcher);
}

/** No list is in sight any more. */
export function forgetLists() {
  inSight = [];
}

/** @param {Asked} asked @param {Model} model @param {boolean} explain */
const bodyOf = (asked, model, explain) => ({ ...wishes(model), ...asked.body(model), model: model.name, ...(explain && { explain }) });

/**
 * Where an item stands in the lists in sight, and why.
 *
 * @param {string} id
 * @param {Model | undefined} of the model whose item it is
 * @returns {{model: Model, whom: string, rank: number, why: Promise<api.Why | null | undefined>}[]}
 */
export function standings(id, of) {
  return inSight.flatMap((column) => {
    const { answer, asked, model } = column;
    const place = answer?.items.findIndex((item) => item.id === id) ?? -1;
    if (!answer || !asked || place < 0 || !sameCatalogue(model, of)) return [];
    const here = answer.items[place];
    if (!here.why) column.explained ??= api.recommend(bodyOf(asked, model, true));
    const why = here.why
      ? Promise.resolve(here.why)
      : /** @type {Promise<api.Answer>} */ (column.explained).then((found) => found.items.find((item) => item.id === id)?.why);
    return [{ model, whom: asked.whom, rank: here.rank ?? place + 1, why }];
  });
}

/** Columns for the chosen models. */
export function comparison() {
  const summary = h("p.summary");
  const columns = h("div.columns");
  const element = h("div.comparison", {}, summary, columns);
  /** @type {Column[]} */
  let shown = [];

  /** @param {Model} model @returns {Column} */
  function column(model) {
    const place = h("div.place");
    const head = h("header", {}, h("h3", {}, nameOf(model)));
    /** @type {Column} */
    const made = {
      model, wanted: "", asked: null, answer: null, explained: null, load: async () => {},
      element: h("section.column", { "aria-label": nameOf(model), "data-model": model.name }, head, place),
    };
    made.load = loader(
      place,
      skeleton(8, "grid"),
      (signal) => {
        made.answer = made.explained = null;
        return api.recommend(JSON.parse(made.wanted), signal);
      },
      (answer) => {
        made.answer = answer;
        for (const watcher of watchers) watcher();
        noticeItems(answer.items, model.name);
        return show(answer, model, String(made.asked?.whom));
      },
    );
    return made;
  }

  /** @param {Asked | null} asked null: nothing can be asked yet */
  async function update(asked) {
    const models = chosen();
    inSight = shown;
    element.hidden = !asked;
    if (!asked) return;
    if (models.map((model) => model.name).join("\n") !== shown.map(({ model }) => model.name).join("\n")) {
      const before = shown;
      shown = inSight = models.map((model) => before.find((each) => each.model === model) ?? column(model));
      columns.replaceChildren(...shown.map((each) => each.element));
      columns.classList.toggle("two", shown.length > 1);
      mark();
    }
    const stale = shown.filter((each) => {
      each.asked = asked;
      const wanted = JSON.stringify(bodyOf(asked, each.model, state().why));
      if (wanted === each.wanted) return false;
      each.wanted = wanted;
      return true;
    });
    if (!stale.length) return;
    const now = shown;
    await Promise.all(stale.map((each) => each.load()));
    if (now !== shown || now.some((each) => !each.answer)) return;
    mark();
    announce(now.map((each) => `${counted(each.answer?.items.length ?? 0, "recommendation")} by ${nameOf(each.model)}`).join(", "));
  }

  /** Say which items both lists have. */
  function mark() {
    element.querySelectorAll(".also").forEach((note) => note.remove());
    element.querySelectorAll(".shared").forEach((item) => item.classList.remove("shared"));
    summary.textContent = "";
    const [left, right] = shown;
    if (!left?.answer || !right?.answer || !sameCatalogue(left.model, right.model)) return;
    const length = Math.max(left.answer.items.length, right.answer.items.length);
    let shared = 0;
    for (const [here, there] of [[left, right], [right, left]]) {
      for (const item of here.element.querySelectorAll("[data-item]")) {
        const place = there.answer?.items.findIndex((each) => each.id === /** @type {HTMLElement} */ (item).dataset.item) ?? -1;
        if (place < 0) continue;
        item.classList.add("shared");
        item.querySelector(".open")?.append(h("span.also", {}, `also ${place + 1} in ${nameOf(there.model)}`));
        shared += here === left ? 1 : 0;
      }
    }
    summary.textContent = shared ? `${shared} of ${length} are in both lists` : "The two lists share nothing";
  }

  /** Points out where the item under the pointer, or in focus, stands in the other list. @param {Event} event */
  function twins(event) {
    element.querySelectorAll(".twin").forEach((item) => item.classList.remove("twin"));
    const here = /** @type {Element} */ (event.target).closest?.(".shared");
    if (!(here instanceof HTMLElement) || event.type === "pointerleave") return;
    for (const item of element.querySelectorAll(".shared")) {
      if (item !== here && /** @type {HTMLElement} */ (item).dataset.item === here.dataset.item) item.classList.add("twin");
    }
  }
  for (const kind of ["pointerover", "pointerleave", "focusin"]) element.addEventListener(kind, twins);

  return { element, update };
}

/** @param {api.Answer} answer @param {Model} model @param {string} whom */
function show(answer, model, whom) {
  const notes = (answer.notes ?? []).map((note) => h("p.notes", {}, note));
  if (!answer.items.length) {
    return [...notes, empty(`${nameOf(model)} has nothing to recommend here.`, "Loosen the filters, or include what was met already.")];
  }
  const label = `Recommended by ${nameOf(model)} for ${whom}`;
  const scale = largest(answer.items.map((item) => item.why));
  const reasoned = answer.items.some((item) => reasons(item.why, model.name));
  const cards = answer.items.map((item, place) =>
    card(item, {
      model: model.name,
      rank: item.rank ?? place + 1,
      note: item.score === undefined || item.score === null ? null : [h("span.unseen", {}, "Score "), figure(item.score)],
      below: [reasons(item.why, model.name, scale)],
    }),
  );
  if (state().why && !reasoned) notes.push(h("p.notes", {}, `${nameOf(model)} gives no reasons.`));
  return [...notes, h(reasoned ? "ol.rows" : "ol.grid", { "aria-label": label, role: "list" }, cards)];
}

