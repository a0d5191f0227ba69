// Elements are only ever made with text nodes, so that no name in the data can become markup.

const SVG_NAMESPACE = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  const known = children.flat(Infinity).filter((child) => child !== null && child !== undefined);
  node.append(...(VERBATIM.has(node.tagName) ? known : known.flatMap((child) => (typeof child === "string" ? unbroken(child) : child))));
  return node;
}

// Elements whose text is shown as it is: code, and those that take text alone.
const VERBATIM = new Set(["PRE", "OPTION", "text", "title"]);

// A number with what belongs to it: a name before it, an exponent, the end of a range, and its unit.
const QUANTITY = /(?:\p{L} = )?[−-]?\d[\d.,]*(?:e-?\d+)?(?: ?%)?(?:–[−-]?\d[\d.,]*)?(?: (?:%|points?|s|min|h)(?!\p{L}))?/gu;

// Text in which no line breaks within a quantity.
function unbroken(text) {
  const parts = [];
  let end = 0;
  for (const { 0: found, index } of text.matchAll(QUANTITY)) {
    if (!/[ –-]/.test(found)) continue;
    const whole = document.createElement("span");
    whole.className = "whole";
    whole.append(found);
    parts.push(text.slice(end, index), whole);
    end = index + found.length;
  }
  return [...parts, text.slice(end)].filter((part) => part !== "");
}

const element = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);

const drawn = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS(SVG_NAMESPACE, tag), attributes, children);

// Calls `draw(width)` now and whenever the width of `container` changes.
function whenResized(container, draw) {
  let last = 0;
  const observer = new ResizeObserver(() => {
    const width = Math.floor(container.clientWidth);
    if (width > 0 && width !== last) draw((last = width));
  });
  observer.observe(container);
}

// Calls `draw` whenever the page turns light or dark.
const whenRecolored = (draw) => document.addEventListener("recolor", draw);

// A group of buttons of which one is chosen; arrow keys move the choice.
function choice(label, names, chosen, choose) {
  const buttons = names.map((name, index) =>
    element("button", { type: "button", role: "radio", onclick: () => pick(index, false) }, name));
  const pick = (index, focus) => {
    buttons.forEach((button, position) => {
      button.setAttribute("aria-checked", position === index);
      button.tabIndex = position === index ? 0 : -1;
    });
    if (focus) buttons[index].focus();
    choose(index);
  };
  const group = element("div", { class: "choice", role: "radiogroup", "aria-label": label }, buttons);
  group.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    pick((buttons.indexOf(document.activeElement) + step + buttons.length) % buttons.length, true);
  });
  pick(chosen, false);
  return group;
}

// A legend whose entries are switched on and off, or shown alone.
function legend(entries, toggle, isolate) {
  const buttons = entries.map(({ name, swatch, count }, index) => {
    const button = element("button", { type: "button", "aria-pressed": "true", title: `Hide or show ${name}` },
      swatch, element("span", { class: "name" }, name),
      count === undefined ? null : element("span", { class: "count" }, whole(count)));
    button.addEventListener("click", () => {
      const shown = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", shown);
      toggle(index, shown);
    });
    const only = element("button", { type: "button", class: "only", "aria-label": `Show ${name} alone`, onclick: () => isolate(index) }, "only");
    return element("div", { class: "entry" }, button, only);
  });
  return element("div", { class: "legend", role: "group", "aria-label": "Legend" }, buttons);
}
