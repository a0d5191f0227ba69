// A figure that was drawn when the page was made. Script only shows what its marks stand for, at the pointer or by arrow
// keys, and shows a series alone or hides it.

// Figures are drawn twice where letters would be too small on a phone.
const NARROW = 460;

function drawFigure(view, pick) {
  const figure = element("figure", { class: "drawn", tabindex: "0" });
  let narrow = null;
  const show = (wanted) => {
    if (wanted === narrow) return;
    narrow = wanted;
    figure.replaceChildren(...interactive(figure, wanted ? view.narrow : view.svg, pick));
  };
  const fit = () => show(Boolean(view.narrow) && figure.clientWidth < NARROW);
  whenResized(figure, fit);
  // Half of a sheet of paper is as wide as a phone, whatever the window's width.
  addEventListener("beforeprint", () => show(Boolean(view.narrow) && !figure.matches("section.wide .view > *")));
  addEventListener("afterprint", fit);
  return figure;
}

// The nodes of a drawing that reacts to pointers and keys.
function interactive(figure, text, pick) {
  const parsed = new DOMParser().parseFromString(text, "image/svg+xml").documentElement;
  const svg = document.importNode(parsed, true);
  const marks = [...svg.querySelectorAll("[data-tip]")];
  let at = -1;
  const say = (mark, x, y) => {
    const [head, ...lines] = mark.dataset.tip.split("\n");
    tooltip.show(x, y, element("p", { class: "head" }, head), lines.map((line) => element("p", {}, line)));
  };
  const leave = () => { at = -1; tooltip.hide(); };
  whenPointed(svg, (event) => {
    const mark = event.target.closest("[data-tip]");
    if (!mark) return leave();
    at = marks.indexOf(mark);
    say(mark, event.clientX, event.clientY);
  }, leave);
  svg.addEventListener("click", (event) => {
    const mark = event.target.closest("[data-tip]");
    if (mark && pick) pick(mark.dataset.tip.split("\n")[0]);
  });
  figure.onkeydown = (event) => {
    if (event.target !== figure) return;
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") leave();
    if (event.key === "Enter" && at >= 0 && pick) pick(marks[at].dataset.tip.split("\n")[0]);
    if (!step || !marks.length) return;
    event.preventDefault();
    at = Math.max(0, Math.min(marks.length - 1, at + step));
    const box = marks[at].getBoundingClientRect();
    say(marks[at], box.right, box.top);
  };
  figure.onblur = leave;
  return [svg, switchable(svg)].filter(Boolean);
}

// Makes the names of series switches: a click shows a series alone, with Shift it hides or shows it.
function switchable(svg) {
  const names = [...svg.querySelectorAll("[data-legend]")];
  if (names.length < 2) return null;
  svg.setAttribute("role", "group");
  const all = names.map((name) => name.dataset.series);
  const hidden = new Set();
  const apply = () => {
    for (const part of svg.querySelectorAll("[data-series]")) part.classList.toggle("off", hidden.has(part.dataset.series));
    names.forEach((name) => name.setAttribute("aria-pressed", !hidden.has(name.dataset.series)));
  };
  const press = (series, one) => {
    const alone = hidden.size === all.length - 1 && !hidden.has(series);
    if (one) {
      if (hidden.has(series)) hidden.delete(series); else hidden.add(series);
    } else {
      hidden.clear();
      if (!alone) all.filter((other) => other !== series).forEach((other) => hidden.add(other));
    }
    apply();
  };
  for (const name of names) {
    fill(name, { tabindex: "0", role: "button", "aria-label": `Show ${name.dataset.legend} alone`,
      onclick: (event) => press(name.dataset.series, event.shiftKey),
      onkeydown: (event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault();
        press(name.dataset.series, event.shiftKey);
      } }, []);
  }
  apply();
  return element("p", { class: "hint" }, "Click a name to see its line alone; Shift+click hides it.");
}
