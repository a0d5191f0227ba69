// A figure that was drawn when the page was made; what its marks stand for is shown at the pointer or by arrow keys.

function drawFigure(view) {
  const parsed = new DOMParser().parseFromString(view.svg, "image/svg+xml").documentElement;
  const svg = document.importNode(parsed, true);
  const figure = element("figure", { class: "drawn", tabindex: "0" }, svg);
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
  figure.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Escape") leave();
    if (!step || !marks.length) return;
    event.preventDefault();
    at = Math.max(0, Math.min(marks.length - 1, at + step));
    const box = marks[at].getBoundingClientRect();
    say(marks[at], box.right, box.top);
  });
  figure.addEventListener("blur", leave);
  return figure;
}
