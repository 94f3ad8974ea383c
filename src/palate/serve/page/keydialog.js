// Asks for the key of a service that wants one.

import { Problem } from "./api.js";
import { h } from "./elements.js";

/**
 * @param {boolean} wrong whether a key was sent and refused
 * @returns {Promise<string>}
 */
export function keyDialog(wrong) {
  const input = /** @type {HTMLInputElement} */ (
    h("input", { id: "api-key", type: "password", autocomplete: "off", required: true, "aria-describedby": "key-note" })
  );
  const form = h(
    "form",
    { method: "dialog" },
    h("h2", { id: "key-title" }, "This service wants a key"),
    h("p", { id: "key-note" }, wrong ? "The key was refused. Try another one." : "Whoever runs it can give you one. It is kept until this tab is closed."),
    h("label", { for: "api-key" }, "API key"),
    input,
    h(
      "div.actions",
      {},
      h("button.main", { type: "submit" }, "Go on"),
      h("button.quiet", { type: "button", onclick: () => dialog.close() }, "Not now"),
    ),
  );
  const dialog = /** @type {HTMLDialogElement} */ (h("dialog.key", { "aria-labelledby": "key-title" }, form));
  const before = document.activeElement;
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve, reject) => {
    let given = "";
    form.addEventListener("submit", () => (given = input.value.trim()));
    dialog.addEventListener("close", () => {
      dialog.remove();
      /** @type {HTMLElement | null} */ (before)?.focus?.();
      if (given) resolve(given);
      else reject(new Problem("The service wants a key.", { do: "try again and give the key" }));
    });
  });
}
