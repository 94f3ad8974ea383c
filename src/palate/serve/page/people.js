// The view of a person whom the service knows: what they met, and what is recommended to them.

import * as api from "./api.js";
import { card, empty, grid, loader, skeleton, strip } from "./cards.js";
import { counted, h, icon } from "./elements.js";
import { comparison } from "./lists.js";
import { leading } from "./models.js";
import { suggestingField } from "./picker.js";
import { go, state } from "./state.js";

const HISTORY = 50, SUGGESTED = 8, CHANCES = 200, FIRST_ITEMS = 18;

/** @typedef {{id: string, interactions?: number}} Person */

/** @param {HTMLElement} controls what tunes the lists, the same in every view */
export function peopleView(controls) {
  const field = suggestingField({
    label: "Person",
    placeholder: "Search by id",
    find: async (words, signal) => (await api.users(words, 20, leading(), signal)).users,
    show: (person) => [h("span", {}, person.id), h("span.quiet-words", {}, counted(person.interactions, "item"))],
    name: (person) => person.id,
    choose: (person) => go({ user: person.id }),
    nothing: "Nobody has such an id",
  });
  const anybody = h("button.quiet", { type: "button", onclick: chance }, icon("shuffle"), "Surprise me");
  const history = h("div.place");
  const historyTitle = h("h2", {}, "History");
  const historyPart = h("section.history", { "aria-label": "History" }, historyTitle, history);
  const lists = comparison();
  const recommended = h("section", { "aria-label": "Recommendations" }, h("h2", {}, "Recommendations"), lists.element);
  const start = h("div.start");
  const slot = h("div.slot");
  const element = h(
    "div.view",
    {},
    h("div.toolbar", {}, h("div.who", {}, field.element, anybody), slot),
    start,
    historyPart,
    recommended,
  );
  let shown = "", started = "";

  const loadHistory = loader(
    history,
    skeleton(10, "strip"),
    (signal) => api.user(state().user, HISTORY, leading(), signal),
    (person) => {
      const all = person.interactions ?? person.history.length;
      historyTitle.replaceChildren("History ", h("span.quiet-words", {}, told(person.history.length, all)));
      if (!person.history.length) return empty("Nothing is known of what this person met.", "Choose somebody else.");
      return strip(person.history.map((item) => card(item, { small: true, pickable: false })), `History of person ${person.id}, latest first`);
    },
  );

  async function chance() {
    anybody.setAttribute("disabled", "");
    try {
      const { users } = await api.users("", CHANCES, leading());
      const others = users.filter(({ id }) => id !== state().user);
      if (others.length) go({ user: others[Math.floor(Math.random() * others.length)].id });
    } catch (error) {
      if (!(error instanceof api.Problem)) throw error;
      loadStart();
    }
    anybody.removeAttribute("disabled");
    anybody.focus();
  }

  const people = h("div.place"), first = h("div.place");
  start.append(
    h("p.lead", {}, "See what a person met, and what a model makes of it."),
    h("h2", {}, "Start with somebody"),
    people,
    h("h2", {}, "Or with what you like yourself"),
    h("p.quiet-words", {}, "Add a few things to your list; ", h("a", { href: "#/mine", "data-view": "mine" }, "your list"), " has recommendations at once."),
    first,
  );
  const loadPeople = loader(
    people,
    h("div.persons"),
    (signal) => api.users("", SUGGESTED, leading(), signal),
    ({ users }) =>
      users.length
        ? h("div.persons", {}, users.map((person) =>
            h("button.person", { type: "button", onclick: () => go({ user: person.id }) },
              h("strong", {}, person.id), h("span.quiet-words", {}, counted(person.interactions, "item")))))
        : empty("The service knows no people.", "Build a list of your own instead."),
  );
  const loadFirst = loader(
    first,
    skeleton(12, "grid"),
    (signal) => api.items("", FIRST_ITEMS, leading(), signal),
    ({ items }) => grid(items.map((item) => card(item)), "A few items"),
  );
  function loadStart() {
    loadPeople();
    loadFirst();
  }

  function update() {
    const { user } = state();
    slot.append(controls);
    start.hidden = Boolean(user);
    historyPart.hidden = recommended.hidden = !user;
    if (document.activeElement !== field.input) field.put(user);
    lists.update(user ? { body: () => ({ user }), whom: `person ${user}` } : null);
    if (!user && (started !== leading() || !start.querySelector(".card:not(.bone)"))) {
      started = leading();
      loadStart();
    }
    if (user && `${user}\n${leading()}` !== shown) {
      shown = `${user}\n${leading()}`;
      historyTitle.replaceChildren("History");
      loadHistory();
    }
    if (!user) shown = "";
  }
  return { element, update, title: () => (state().user ? `Person ${state().user}` : "People") };
}

/** @param {number} shown @param {number} all */
function told(shown, all) {
  return shown < all ? `the latest ${shown} of ${counted(all, "item")}` : counted(all, "item");
}
