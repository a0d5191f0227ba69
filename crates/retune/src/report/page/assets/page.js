// The page: heading, sections, and each section's views.

const DRAW = {
  table: drawTable, text: drawText, figure: drawFigure, confusion: drawConfusion, gallery: drawGallery, map: drawMap,
};
// More views than this are chosen from a list instead of buttons.
const MOST_BUTTONS = 6;

// The view that is shown; each is drawn when it is first asked for.
function views(section) {
  const stage = element("div", { class: "view" });
  const done = new Map();
  const show = (index) => {
    if (!done.has(index)) done.set(index, DRAW[section.views[index].kind](section.views[index]));
    tooltip.hide();
    stage.replaceChildren(done.get(index));
  };
  const names = section.views.map((view) => view.name);
  if (names.length === 1) {
    show(0);
    return [stage];
  }
  const long = names.length > MOST_BUTTONS || names.join("").length > 70;
  const pick = long
    ? element("select", { "aria-label": section.title, onchange: (event) => show(Number(event.target.value)) },
      names.map((name, index) => element("option", { value: index }, name)))
    : choice(section.title, names, section.open, show);
  if (long) { pick.value = section.open; show(section.open); }
  return [pick, stage];
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

function drawPage(page) {
  looks = page.looks;
  loadSheets(page.sheets);
  const anchor = ({ id, title }, index) => id ?? `s${index}-${title.toLowerCase().replace(/[^a-z0-9]+/g, "-")}`;
  const header = element("header", {},
    element("div", { class: "top" }, element("span", { class: "brand" }, "retune report"), themeChoice()),
    element("h1", {}, page.title),
    element("div", { class: "verdict" }, page.verdict.map((sentence, index) => element("p", { class: index ? null : "first" }, sentence))),
    page.next.length ? element("ul", { class: "next" }, page.next.map(({ purpose, command }) =>
      element("li", {}, element("span", {}, `Next: ${purpose}`), drawText({ text: command, words: true })))) : null,
    element("dl", { class: "facts" }, page.facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", { title: value }, shortened(value))))));
  const contents = element("nav", { "aria-label": "Sections" }, page.sections.map((section, index) =>
    element("a", { href: `#${anchor(section, index)}` }, section.title)));
  const sections = page.sections.map((section, index) =>
    element("section", { id: anchor(section, index), class: section.wide ? "wide" : null },
      section.folded
        ? element("details", {}, element("summary", {}, element("h2", {}, section.title)), element("p", { class: "note" }, section.note), views(section))
        : [element("h2", {}, section.title), element("p", { class: "note" }, section.note), views(section)]));
  document.body.append(header, page.sections.length > 2 ? contents : "", element("main", {}, sections),
    element("footer", {}, `Made by ${page.generator}. This page needs no network and sends nothing.`), tooltip.box);
}

// A string with letters that run to the left is one piece to the text about it, and no part of it changes its order.
const TO_THE_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;
const isolated = (key, value) => (typeof value === "string" && key !== "svg" && key !== "narrow" && TO_THE_LEFT.test(value) ? `\u2068${value}\u2069` : value);

drawPage(JSON.parse(document.getElementById("data").textContent, isolated));
document.documentElement.dataset.ready = "yes";
