// Which classes are taken for which: a matrix, and the pairs confused most often.

function drawConfusion(view) {
  const size = view.classes.length;
  const counts = Array.from({ length: size }, () => new Array(size).fill(0));
  for (const [label, predicted, n] of view.counts) counts[label][predicted] = n;
  const totals = counts.map((row) => row.reduce((a, b) => a + b, 0));
  const holder = element("div");
  const show = (normalised) => {
    const share = (row, column) => (totals[row] ? counts[row][column] / totals[row] : null);
    const values = counts.map((cells, row) => cells.map((n, column) => (normalised ? share(row, column) : n)));
    const most = normalised ? 1 : counts.flat().reduce((a, b) => Math.max(a, b), 1);
    holder.replaceChildren(
      heatMap({
        rows: view.classes, columns: view.classes, values, range: [0, most], square: true, xLabel: "Predicted", yLabel: "True",
        cellText: (row, column) => (counts[row][column] === 0 ? "" : normalised ? (100 * share(row, column)).toFixed(0) : whole(counts[row][column])),
        describe: (row, column) => [
          element("p", { class: "head" }, row === column ? `${view.classes[row]}, recognised` : `${view.classes[row]} taken for ${view.classes[column]}`),
          pairs(["images", `${whole(counts[row][column])} of ${whole(totals[row])}`], ["share of the class", totals[row] ? percent(share(row, column)) : "–"])],
      }),
      colourBar(0, normalised ? "100 %" : whole(most), normalised ? "share of the true class" : "images"));
  };
  const pair = ({ label, predicted, n, of, examples }) => element("li", {},
    element("p", {}, element("b", {}, view.classes[label]), " taken for ", element("b", {}, view.classes[predicted]),
      element("span", { class: "count" }, `${whole(n)} of ${whole(of)}`)),
    view.sheet === null || !examples.length ? null
      : element("div", { class: "examples" }, examples.map((tile) => thumbnail(view.sheet, tile, 44, `${view.classes[label]} taken for ${view.classes[predicted]}`))));
  return element("div", { class: "confusion" },
    element("div", { class: "matrix" }, choice("What cells show", ["Share of the class", "Images"], 0, (index) => show(index === 0)), holder),
    view.pairs.length ? element("div", { class: "pairs" }, element("h3", {}, "Confused most often"), element("ol", {}, view.pairs.map(pair))) : null);
}
