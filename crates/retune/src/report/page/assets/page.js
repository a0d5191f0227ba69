// The page: heading, sections, and each section's views.

const DRAW = {
  table: drawTable, text: drawText, figure: drawFigure, confusion: drawConfusion, gallery: drawGallery, map: drawMap,
};
// More views than this are chosen from a list instead of buttons.
const MOST_BUTTONS = 6;

// The view that is shown; each is drawn when it is first asked for.
function views(section) {
  const stage = element("div", { class: "view" });
  // On paper, where nothing can be chosen, the heading of what is shown.
  const shown = element("h3", { class: "on-paper" });
  const done = new Map();
  const show = (index) => {
    if (!done.has(index)) done.set(index, DRAW[section.views[index].kind](section.views[index]));
    tooltip.hide();
    shown.textContent = section.views[index].name;
    stage.replaceChildren(shown, done.get(index));
  };
  const names = section.views.map((view) => view.name);
  if (names.length === 1) {
    show(0);
    shown.remove();
    return [stage];
  }
  const long = names.length > MOST_BUTTONS || names.join("").length > 70;
  const pick = long
    ? element("select", { "aria-label": section.title, onchange: (event) => show(Number(event.target.value)) },
      names.map((name, index) => element("option", { value: index }, name)))
    : choice(section.title, names, section.open, show);
  if (!long) return [pick, stage];
  pick.value = section.open;
  show(section.open);
  return [element("label", { class: "picker" }, "Show ", pick), stage];
}

const THEMES = ["Auto", "Light", "Dark"];
function themeChoice() {
  const apply = (index) => {
    document.documentElement.dataset.theme = THEMES[index].toLowerCase();
    document.dispatchEvent(new Event("recolor"));
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => document.dispatchEvent(new Event("recolor")));
  return choice("Colors of the page", THEMES, 0, apply);
}

// The last parts of a long path; the whole one is in its title.
function shortened(value) {
  const parts = value.split("/");
  return value.length > 16 && parts.length > 2 ? `…/${parts.slice(-2).join("/")}` : value;
}

// The sections in the order in which they stand: one of half the width has the next such one beside it.
function arranged(sections) {
  const waiting = [...sections];
  const placed = [];
  while (waiting.length) {
    const section = waiting.shift();
    const partner = section.wide ? -1 : waiting.findIndex((other) => !other.wide);
    placed.push({ ...section, alone: !section.wide && partner < 0 }, ...(partner < 0 ? [] : waiting.splice(partner, 1)));
  }
  return placed;
}

function drawPage(page) {
  looks = page.looks;
  loadSheets(page.sheets);
  const anchor = ({ id, title }, index) => id ?? `s${index}-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
  const placed = arranged(page.sections.map((section, index) => ({ ...section, id: anchor(section, index) })));
  const header = element("header", {},
    element("div", { class: "top" }, element("span", { class: "brand" }, "retune report"), themeChoice()),
    element("h1", {}, page.title),
    element("div", { class: "verdict" }, page.verdict.map((sentence, index) => element("p", { class: index ? null : "first" }, prose(sentence)))),
    page.next.length ? element("ul", { class: "next" }, page.next.map(({ purpose, command }) =>
      element("li", {}, element("span", {}, `Next: ${prose(purpose)}`), drawText({ text: command, words: true })))) : null,
    element("dl", { class: "facts" }, page.facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", { title: value }, shortened(value))))));
  const contents = element("nav", { "aria-label": "Sections" }, placed.map((section) =>
    element("a", { href: `#${section.id}` }, section.title)));
  const note = ({ note: text, hint }) => element("p", { class: "note" }, prose(text), hint ? element("span", { class: "on-screen" }, ` ${hint}`) : null);
  const sections = placed.map((section) =>
    element("section", { id: section.id, class: section.wide ? "wide" : section.alone && !section.folded ? "alone" : null },
      section.folded
        ? element("details", {}, element("summary", {}, element("h2", {}, section.title)), note(section), views(section))
        : [element("h2", {}, section.title), note(section), views(section)]));
  document.body.append(header, page.sections.length > 2 ? contents : "", element("main", {}, sections),
    element("footer", {}, `Made by ${page.generator}. This page needs no network and sends nothing.`), tooltip.box);
}

// A string with letters that run to the left is one piece to the text about it, and no part of it changes its order.
const TO_THE_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
const isolated = (key, value) => (typeof value === "string" && key !== "svg" && key !== "narrow" && TO_THE_LEFT.test(value) ? `\u2068${value}\u2069` : value);

drawPage(JSON.parse(document.getElementById("data").textContent, isolated));
document.documentElement.dataset.ready = "yes";
