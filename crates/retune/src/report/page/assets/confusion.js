// Which classes are taken for which: a matrix, and the pairs confused most often.

function drawConfusion(view) {
  const size = view.classes.length;
  const counts = Array.from({ length: size }, () => new Array(size).fill(0));
  for (const [label, predicted, n] of view.counts) counts[label][predicted] = n;
  const totals = counts.map((row) => row.reduce((a, b) => a + b, 0));
  const holder = element("div");
  const show = (normalized) => {
    const share = (row, column) => (totals[row] ? counts[row][column] / totals[row] : null);
    const values = counts.map((cells, row) => cells.map((n, column) => (normalized ? share(row, column) : n)));
    // Among many classes no share but that of the diagonal would have a color of its own.
    const most = normalized && size <= 30 ? 1 : values.flat().reduce((a, b) => Math.max(a, b), normalized ? 1e-3 : 1);
    holder.replaceChildren(
      heatMap({
        rows: view.classes, columns: view.classes, values, range: [0, most], square: true, xLabel: "Predicted", yLabel: "True",
        cellText: (row, column) => (counts[row][column] === 0 ? "" : normalized ? (100 * share(row, column)).toFixed(0) : whole(counts[row][column])),
        describe: (row, column) => [
          element("p", { class: "head" }, row !== column ? `${view.classes[row]} taken for ${view.classes[column]}`
            : view.group > 1 ? `${view.classes[row]} among themselves` : `${view.classes[row]}, recognized`),
          pairs(["images", `${whole(counts[row][column])} of ${whole(totals[row])}`], [view.group > 1 ? "share of the classes" : "share of the class", totals[row] ? percent(share(row, column)) : "–"])],
      }),
      colorBar(0, normalized ? percent(most, 0) : whole(most), normalized ? view.group > 1 ? "share of the true classes" : "share of the true class" : "images"));
  };
  const pair = ({ label, predicted, n, of, examples }) => element("li", {},
    element("p", {}, element("b", {}, label), " taken for ", element("b", {}, predicted),
      element("span", { class: "count" }, `${whole(n)} of ${whole(of)}`)),
    view.sheet === null || !examples.length ? null
      : element("div", { class: "examples" }, examples.map((tile) => thumbnail(view.sheet, tile, 44, `${label} taken for ${predicted}`))));
  return element("div", { class: "confusion" },
    element("div", { class: "matrix" }, choice("What cells show", ["Share of the class", "Images"], 0, (index) => show(index === 0)), holder),
    view.pairs.length ? element("div", { class: "pairs" }, element("h3", {}, "Confused most often"), element("ol", {}, view.pairs.map(pair))) : null);
}
