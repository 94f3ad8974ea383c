// The view of a new item: a dropped picture or a description, what is like it, and what somebody who likes it may like.

import * as api from "./api.js";
import { empty, problem } from "./cards.js";
import { announce, h, icon, settled, uniqueId } from "./elements.js";
import { row } from "./item.js";
import { comparison } from "./lists.js";
import { chosen, nameOf } from "./models.js";
import { go, state } from "./state.js";

const NEIGHBOURS = 12;
// Larger pictures are made smaller here: encoders look at a few hundred pixels.
const WIDEST = 1024, HEAVIEST = 1_500_000;

/** @param {HTMLElement} controls */
export function newItemView(controls) {
  const fileId = uniqueId("file"), textId = uniqueId("text");
  const file = /** @type {HTMLInputElement} */ (h("input", { id: fileId, type: "file", accept: "image/*" }));
  const words = /** @type {HTMLTextAreaElement} */ (
    h("textarea", { id: textId, rows: "5", maxlength: "4000", placeholder: "What is it, what is it like, who is in it?" })
  );
  const shown = /** @type {HTMLImageElement} */ (h("img", { alt: "The new item's picture", hidden: true }));
  const off = h("button.quiet", { type: "button", hidden: true, onclick: forget }, "Remove the picture");
  const trouble = h("div");
  const drop = h(
    "div.drop",
    {},
    file,
    h("label", { for: fileId }, icon("picture"), h("span", {}, h("strong", {}, "Drop a picture"), " here, paste one, or choose a file"), shown),
  );
  const which = h("div.segments", { role: "radiogroup", "aria-label": "Place it by" });
  const byPicture = radio("the picture"), byWords = radio("the words");
  which.append(byPicture.element, byWords.element);
  const near = h("div.near");
  const lists = comparison();
  const slot = h("div.slot");
  const results = h(
    "div.results",
    {},
    h("section", { "aria-label": "Nearest items" }, h("h2", {}, "What is like it"), near),
    h("section", { "aria-label": "Recommendations" }, h("h2", {}, "For somebody who likes it"), slot, lists.element),
  );
  const hint = empty("No new item yet.", "Drop a picture or write a description; known items that are like it appear here.");
  const unable = h("p.notes");
  const element = h(
    "div.view.new-view",
    {},
    h(
      "section.making",
      { "aria-label": "The new item" },
      h("h2", {}, "A new item"),
      drop,
      off,
      trouble,
      h("label", { for: textId }, "Description"),
      words,
      which,
      unable,
    ),
    h("div.answers", {}, hint, results),
  );
  let image = "";
  let preferred = "text";
  let placed = "";

  /** @param {string} label */
  function radio(label) {
    const id = uniqueId("by");
    const input = /** @type {HTMLInputElement} */ (h("input", { type: "radio", name: "place-by", id }));
    input.addEventListener("change", () => {
      preferred = input === byPicture.input ? "image" : "text";
      update();
    });
    return { input, element: h("div", {}, input, h("label", { for: id }, label)) };
  }

  function forget() {
    image = "";
    file.value = "";
    shown.removeAttribute("src");
    update();
    file.focus();
  }

  /** @param {File | null | undefined} chosenFile */
  async function take(chosenFile) {
    if (!chosenFile) return;
    trouble.replaceChildren();
    try {
      image = await smaller(chosenFile);
    } catch {
      trouble.replaceChildren(
        problem(new api.Problem(`“${chosenFile.name}” is no picture that this browser can read.`, { do: "choose a JPEG, PNG or WebP file" })),
      );
      return;
    }
    shown.src = image;
    preferred = "image";
    announce("Picture taken");
    update();
  }

  file.addEventListener("change", () => take(file.files?.[0]));
  words.addEventListener("input", settled(() => {
    preferred = words.value.trim() ? "text" : "image";
    go({ text: words.value.trim() }, { replace: true });
    update();
  }, 350));
  for (const kind of ["dragenter", "dragover", "dragleave", "drop"]) {
    element.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragenter" || kind === "dragover");
      if (kind === "drop") take(/** @type {DragEvent} */ (event).dataTransfer?.files[0]);
    });
  }
  document.addEventListener("paste", (event) => {
    const pasted = [...(event.clipboardData?.files ?? [])].find((each) => each.type.startsWith("image/"));
    if (state().view === "new" && pasted) take(pasted);
  });

  function update() {
    const { text } = state();
    slot.append(controls);
    if (document.activeElement !== words) words.value = text;
    shown.hidden = off.hidden = !image;
    drop.classList.toggle("full", Boolean(image));
    which.hidden = !image || !text;
    const by = image && (preferred === "image" || !text) ? "image" : text ? "text" : "";
    byPicture.input.checked = by === "image";
    byWords.input.checked = by === "text";
    const blind = chosen().filter((model) => !takes(model, by) || model.places_items === false);
    unable.textContent = by && blind.length ? `${blind.map(nameOf).join(" and ")} can do nothing with ${by === "image" ? "a picture" : "a description"}.` : "";
    unable.hidden = !unable.textContent;
    hint.hidden = Boolean(by);
    results.hidden = !by;
    const content = by === "image" ? { image: image.replace(/^data:[^,]*,/, "") } : { text };
    lists.update(by ? { body: () => content, whom: "somebody who likes the new item" } : null);
    const wanted = by ? JSON.stringify([content, chosen().map((model) => model.name)]) : "";
    if (wanted === placed) return;
    placed = wanted;
    if (by) near.replaceChildren(...rows(by, content));
  }
  return { element, update, title: () => "A new item" };
}

/** @param {import("./api.js").Model} model @param {string} by */
function takes(model, by) {
  return Boolean(by === "image" ? model.takes_image : model.takes_text);
}

/** @param {string} by @param {object} content */
function rows(by, content) {
  const able = chosen().filter((model) => takes(model, by));
  const first = able.find((model) => model.modalities?.includes(by));
  return [
    ...(first ? [row(`Alike by ${by}`, { ...content, by, model: first.name, k: NEIGHBOURS })] : []),
    ...able.filter((model) => model.places_items !== false).map((model) => row(`Close to it for ${nameOf(model)}`, { ...content, by: "model", model: model.name, k: NEIGHBOURS })),
  ];
}

/** A picture file as a data address, made smaller where it is large. @param {File} file */
async function smaller(file) {
  const bitmap = await createImageBitmap(file);
  const scale = WIDEST / Math.max(bitmap.width, bitmap.height);
  if (scale >= 1 && file.size < HEAVIEST) return api.dataAddress(file);
  const canvas = /** @type {HTMLCanvasElement} */ (h("canvas"));
  canvas.width = Math.max(1, Math.round(bitmap.width * Math.min(1, scale)));
  canvas.height = Math.max(1, Math.round(bitmap.height * Math.min(1, scale)));
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.92);
}
