// Which classes are predicted as which: the matrix, and examples of the pairs confused most often.

function drawConfusion(view) {
  const pair = ({ label, predicted, n, of, examples }) => element("li", { tabindex: "-1" },
    element("p", {}, element("b", {}, label), " predicted as ", element("b", {}, predicted),
      element("span", { class: "count" }, `${whole(n)} of ${whole(of)}`)),
    view.sheet === null || !examples.length ? null
      : element("div", { class: "examples" }, examples.map((tile) => thumbnail(view.sheet, tile, 44, `${label} predicted as ${predicted}`))));
  const items = view.pairs.map(pair);
  // A click on a cell leads to its examples, if there are any.
  const show = (head) => {
    const at = view.pairs.findIndex(({ label, predicted }) => head === `${label} → ${predicted}`);
    items.forEach((item, index) => item.classList.toggle("chosen", index === at));
    if (at >= 0) items[at].scrollIntoView({ block: "nearest" });
  };
  return element("div", { class: "confusion" }, drawFigure(view.figure, show),
    items.length ? element("div", { class: "pairs" }, element("h3", {}, "Confused most often"), element("ol", {}, items)) : null);
}
