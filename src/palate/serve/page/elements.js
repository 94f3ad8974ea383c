// Building blocks of the page: elements made of data (always as text, never as HTML), icons, announcements.

const SVG = "http://www.w3.org/2000/svg";

/** @type {Record<string, string>} Outlines on a grid of 24 × 24. */
const OUTLINES = {
  add: "M12 5v14M5 12h14",
  back: "M15 5l-7 7 7 7",
  check: "M5 13l4.5 4.5L19 7",
  close: "M6 6l12 12M18 6L6 18",
  down: "M7 13V4h9.5a2 2 0 0 1 2 1.6l1.3 6.2a2 2 0 0 1-2 2.4H13l.7 4.2a1.9 1.9 0 0 1-3.5 1.2L7 13zM7 13H4V4h3",
  picture: "M4 5h16v14H4zM4 16l5-5 4 4 3-3 4 4M15.5 9.5h.01",
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13zM15.5 15.5L20 20",
  shuffle: "M4 7h3c5 0 5 10 10 10h3M4 17h3c1.6 0 2.7-1 3.5-2.3M13.5 9.3C14.3 8 15.4 7 17 7h3M17.5 4.5L20 7l-2.5 2.5M17.5 14.5L20 17l-2.5 2.5",
  up: "M7 11v9h9.5a2 2 0 0 0 2-1.6l1.3-6.2a2 2 0 0 0-2-2.4H13l.7-4.2a1.9 1.9 0 0 0-3.5-1.2L7 11zM7 11H4v9h3",
};

/**
 * An element. Text goes in as text nodes, so that nothing in the data can become markup.
 *
 * @param {string} tag tag, with classes after dots: "li.card.shared"
 * @param {Record<string, unknown>} [settings] `on…` are listeners, `style` sets custom properties, booleans set or leave
 *   out attributes, anything else is an attribute
 * @param {...(Node | string | number | null | undefined | false | Array<unknown>)} children
 * @returns {HTMLElement & Record<string, any>}
 */
export function h(tag, settings = {}, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(settings)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on") && typeof value === "function") {
      element.addEventListener(key.slice(2), /** @type {EventListener} */ (value));
    } else if (key === "style") {
      for (const [property, content] of Object.entries(/** @type {Record<string, string>} */ (value))) {
        element.style.setProperty(property, String(content));
      }
    } else if (key === "value") {
      /** @type {HTMLInputElement} */ (element).value = String(value);
    } else {
      element.setAttribute(key, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat(3).filter((child) => child || child === 0).map((child) => /** @type {Node} */ (child)));
  return element;
}

/** An icon that says nothing to screen readers; its button must have a name. @param {string} name */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  for (const [key, value] of [["viewBox", "0 0 24 24"], ["class", "icon"], ["aria-hidden", "true"], ["focusable", "false"]]) {
    svg.setAttribute(key, value);
  }
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", OUTLINES[name]);
  svg.append(path);
  return svg;
}

let made = 0;

/** An id that no other element has. @param {string} stem */
export function uniqueId(stem) {
  made += 1;
  return `${stem}-${made}`;
}

let speaking = 0;

/** Say something to screen readers, politely. @param {string} text */
export function announce(text) {
  const region = document.getElementById("announcements");
  if (!region) return;
  clearTimeout(speaking);
  region.textContent = "";
  speaking = setTimeout(() => (region.textContent = text), 60);
}

/**
 * The same function, called once things have been quiet for a while; `cancel` forgets a call that waits.
 *
 * @param {() => void} act
 * @param {number} wait milliseconds
 */
export function settled(act, wait) {
  let timer = 0;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(act, wait);
  };
  later.cancel = () => clearTimeout(timer);
  return later;
}

/** "1 item", "1,204 items". @param {number} count @param {string} one @param {string} [many] */
export function counted(count, one, many = `${one}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
}

/** A number of a model in few characters. @param {number} value */
export function figure(value) {
  const size = Math.abs(value);
  if (size >= 100) return value.toFixed(0);
  if (size >= 10) return value.toFixed(1);
  return size >= 0.001 || size === 0 ? value.toFixed(size >= 1 ? 2 : 3) : value.toExponential(0);
}
