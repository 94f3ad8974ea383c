// Starts the page: asks which models there are, builds the views, and shows the one that the address names.

import * as api from "./api.js";
import { empty, problem } from "./cards.js";
import { announce, h } from "./elements.js";
import { itemsView } from "./finder.js";
import { itemDialog } from "./item.js";
import { keyDialog } from "./keydialog.js";
import { forgetLists } from "./lists.js";
import { mineView } from "./mine.js";
import { modelChoice, serve } from "./models.js";
import { newItemView } from "./newitem.js";
import { peopleView } from "./people.js";
import { go, state, tell, watch } from "./state.js";
import { tunePanel } from "./tune.js";

const main = /** @type {HTMLElement} */ (document.getElementById("main"));

function themeSwitch() {
  const button = /** @type {HTMLElement} */ (document.getElementById("theme"));
  const dark = () => {
    const { theme } = document.documentElement.dataset;
    return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  };
  const paint = () => button.setAttribute("aria-pressed", String(dark()));
  button.addEventListener("click", () => {
    const theme = dark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem("palate-theme", theme);
    } catch {
      // Storage may be forbidden; the choice lasts as long as the page then.
    }
    paint();
  });
  paint();
}

/** Models, reasons and tuning: one set of controls, which every view that has lists takes in turn. */
function listControls() {
  const models = modelChoice(), tune = tunePanel();
  const why = h("button.toggle", { type: "button", onclick: () => go({ why: !state().why }, { replace: true }) }, "Say why");
  const element = h("div.list-controls", {}, models.element, why, tune.element);
  const update = () => {
    models.update();
    tune.update();
    why.setAttribute("aria-pressed", String(state().why));
  };
  return { element, update };
}

function views() {
  const controls = listControls();
  /** @type {Record<string, {element: HTMLElement, update: () => void, title: () => string}>} */
  const all = {
    people: peopleView(controls.element),
    mine: mineView(controls.element),
    new: newItemView(controls.element),
    items: itemsView(),
  };
  let shown = "";
  return () => {
    const { view, picks } = state();
    const here = all[view];
    controls.update();
    if (view !== shown) {
      forgetLists();
      main.replaceChildren(here.element);
    }
    here.update();
    document.title = `${here.title()} – Palate`;
    const heading = /** @type {HTMLElement} */ (document.getElementById("heading"));
    heading.textContent = here.title();
    for (const link of document.querySelectorAll("nav a")) {
      const current = /** @type {HTMLElement} */ (link).dataset.view === view;
      if (current) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    /** @type {HTMLElement} */ (document.getElementById("picked")).textContent = picks.length ? String(picks.length) : "";
    if (shown && shown !== view) {
      scrollTo(0, 0);
      announce(here.title());
    }
    shown = view;
  };
}

async function start() {
  try {
    serve((await api.models()).models);
  } catch (error) {
    main.replaceChildren(problem(error, start));
    return;
  }
  main.replaceChildren(empty("One moment."));
  watch(views());
  tell();
  itemDialog();
}

document.addEventListener("click", (event) => {
  const link = /** @type {Element} */ (event.target).closest?.("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (link.classList.contains("skip")) main.focus();
  else if (!link.dataset.view) return;
  // What else the address says, such as my list, stays as it is.
  else go({ view: link.dataset.view, item: "", ...(link.classList.contains("brand") && { user: "" }) });
  event.preventDefault();
});
api.onKeyWanted(keyDialog);
themeSwitch();
start();
