// Why something is recommended: the parts of its score as bars, and the items of the history behind it. Nothing else.

import { openItem, picture, titleOf } from "./cards.js";
import { figure, h } from "./elements.js";

/** @typedef {import("./api.js").Why} Why @typedef {import("./api.js").Reason} Reason */

/** The largest part of any score in a list, so that its bars can be compared. @param {(Why | null | undefined)[]} whys */
export const largest = (whys) =>
  Math.max(0, ...whys.flatMap((why) => Object.values(why?.branches ?? {})).map((value) => Math.abs(value)));

/**
 * @param {Why | null | undefined} why
 * @param {string} model whose reasons they are
 * @param {number} [scale] the part that fills a bar
 * @returns {HTMLElement | null} null where there is nothing to say
 */
export function reasons(why, model, scale = largest([why])) {
  const parts = Object.entries(why?.branches ?? {});
  const history = why?.history ?? [];
  if (!parts.length && !history.length && !why?.placed) return null;
  return h(
    "div.why",
    {},
    parts.length > 0 && bars(parts, scale),
    why?.placed && h("p.quiet-words", {}, "Nobody took it in training: its content gave it its place, so its score has no parts."),
    history.length > 0 && behind(history, model),
  );
}

/** @param {[string, number][]} parts @param {number} scale */
function bars(parts, scale) {
  const signed = parts.some(([, value]) => value < 0);
  return h(
    "dl.bars",
    { "aria-label": "Parts of the score" },
    parts.map(([name, value]) =>
      h(
        "div",
        {},
        h("dt", {}, name),
        h(
          "dd",
          {},
          h(
            `span.bar${signed ? ".signed" : ""}${value < 0 ? ".less" : ""}`,
            { "aria-hidden": "true", style: { "--share": scale > 0 ? Math.abs(value) / scale : 0 } },
            h("span"),
          ),
          h("span.number", {}, figure(value)),
        ),
      ),
    ),
  );
}

/** @param {Reason[]} history @param {string} model */
function behind(history, model) {
  const adds = history.some((item) => item.contribution !== undefined && item.contribution !== null);
  return h(
    "div.behind",
    {},
    h("p", {}, adds ? "What the history adds to the score" : "Nearest in the history"),
    h(
      "ul",
      { role: "list" },
      history.map((item) => {
        const value = item.contribution ?? item.similarity;
        const number = value === undefined || value === null ? "" : adds ? `${value > 0 ? "+" : ""}${figure(value)}` : value.toFixed(2);
        return h(
          "li",
          {},
          h(
            "button.open",
            { type: "button", title: titleOf(item), onclick: () => openItem(item.id, model) },
            picture(item),
            h("span.words", {}, h("span.number", {}, number), h("span.title", {}, titleOf(item))),
          ),
        );
      }),
    ),
  );
}
