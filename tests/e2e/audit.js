// Checks of what is on the screen: names of controls, alternative texts, headings, contrast, width. Gives complaints.
() => {
  const complaints = [];
  const seen = (element) => element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true });
  const told = (element) => `${element.tagName.toLowerCase()}.${element.className?.baseVal ?? element.className}: ${element.textContent.trim().slice(0, 40)}`;
  const nameOf = (element) =>
    element.getAttribute("aria-label") ||
    (element.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id)?.textContent ?? "").join(" ").trim() ||
    [...(element.labels ?? [])].map((label) => label.textContent).join(" ").trim() ||
    element.textContent.trim() ||
    element.querySelector("img[alt]")?.alt;
  const top = document.querySelector("dialog[open]") ?? document.body;

  for (const element of top.querySelectorAll("a, button, input, select, textarea, summary, dialog, [role=listbox]")) {
    if (seen(element) && !nameOf(element)) complaints.push(`no name: ${told(element)}`);
  }
  for (const image of top.querySelectorAll("img")) if (!image.hasAttribute("alt")) complaints.push(`no alt: ${image.src}`);
  for (const element of top.querySelectorAll("[aria-controls], [aria-labelledby], [aria-describedby]")) {
    for (const attribute of ["aria-controls", "aria-labelledby", "aria-describedby"]) {
      for (const id of (element.getAttribute(attribute) ?? "").split(" ").filter(Boolean)) {
        if (!document.getElementById(id)) complaints.push(`${attribute} leads nowhere: ${told(element)}`);
      }
    }
  }
  const ids = [...document.querySelectorAll("[id]")].map((element) => element.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) complaints.push(`id twice: ${id}`);
  if (document.querySelectorAll("main").length !== 1) complaints.push("not one main");
  if (document.querySelectorAll("h1").length !== 1) complaints.push("not one h1");
  if (!document.documentElement.lang) complaints.push("no language");
  let level = 1;
  for (const heading of document.querySelectorAll("h1, main :is(h2, h3, h4)")) {
    if (!seen(heading) && heading.tagName !== "H1") continue;
    const next = Number(heading.tagName[1]);
    if (next > level + 1) complaints.push(`heading skips a level: ${told(heading)}`);
    level = next;
  }
  for (const element of top.querySelectorAll("button, a, [role=button]")) {
    if (element.querySelector("button, a, input, select")) complaints.push(`control inside a control: ${told(element)}`);
    const { width, height } = element.getBoundingClientRect();
    if (seen(element) && !element.closest("p") && !element.classList.contains("skip") && Math.min(width, height) < 24) complaints.push(`too small to hit: ${told(element)}`);
  }

  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data].map((part) => part / 255);
  };
  const over = (front, back) => front.slice(0, 3).map((part, place) => part * front[3] + back[place] * (1 - front[3]));
  const light = (colour) => {
    const [r, g, b] = colour.map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    if (!element) return [1, 1, 1];
    const own = rgba(getComputedStyle(element).backgroundColor);
    return own[3] === 1 ? own.slice(0, 3) : over(own, behind(element.parentElement));
  };
  const words = document.createTreeWalker(top, NodeFilter.SHOW_TEXT);
  while (words.nextNode()) {
    const element = words.currentNode.parentElement;
    if (!words.currentNode.textContent.trim() || !seen(element) || element.closest(".unseen, [aria-busy=true], option")) continue;
    const style = getComputedStyle(element);
    const back = behind(element);
    const front = over(rgba(style.color), back);
    const [high, low] = [light(front), light(back)].sort((one, other) => other - one);
    const contrast = (high + 0.05) / (low + 0.05);
    const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
    if (contrast < (large ? 3 : 4.5)) complaints.push(`contrast ${contrast.toFixed(2)}: ${told(element)}`);
  }
  if (document.documentElement.scrollWidth > innerWidth) {
    const wide = [...document.querySelectorAll("body *")].filter((element) => element.getBoundingClientRect().right > innerWidth + 1 && !element.closest(".strip, .finder .grid"));
    complaints.push(`wider than the window: ${wide.slice(0, 3).map(told).join("; ")}`);
  }
  return [...new Set(complaints)];
}
