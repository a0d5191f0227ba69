// Confidence against accuracy, in bins, and how many images are in each.

function drawReliability(view) {
  const HEIGHT = 320;
  const plot = element("div", { class: "plot" });
  let draw = () => {};
  const count = view.bins.length;
  const render = (width) => {
    const chart = frame({
      width: Math.min(width, 460), height: HEIGHT, label: `Reliability diagram; calibration error ${percent(view.expected_error)}`,
      x: { values: [0, 1], label: "Confidence", asPercent: true, margin: 0 },
      y: { values: [0, 1], label: "Accuracy", asPercent: true, margin: 0 },
    });
    const most = view.bins.reduce((a, bin) => Math.max(a, bin.n), 1);
    view.bins.forEach((bin, index) => {
      if (!bin.n) return;
      const [left, right] = [chart.x.place(index / count), chart.x.place((index + 1) / count)];
      const [top, mean] = [chart.y.place(bin.accuracy), chart.y.place(bin.confidence)];
      const bar = { x: left + 1, width: right - left - 2 };
      const thick = 0.35 + 0.65 * Math.sqrt(bin.n / most);
      const group = drawn("g", { class: "point", tabindex: "0", role: "img", "aria-label": `${whole(bin.n)} images, confidence ${percent(bin.confidence)}, accuracy ${percent(bin.accuracy)}` },
        drawn("rect", { ...bar, y: top, height: chart.bottom - top, fill: colourOf(0), "fill-opacity": thick }),
        drawn("rect", { ...bar, y: Math.min(top, mean), height: Math.abs(top - mean), fill: colourOf(1), "fill-opacity": mean < top ? 0.28 : 0, stroke: colourOf(1), "stroke-dasharray": "3 2" }),
        drawn("rect", { ...bar, y: chart.top, height: chart.bottom - chart.top, fill: "transparent" }));
      const show = (x, y) => tooltip.show(x, y, pairs(["images", whole(bin.n)], ["confidence", percent(bin.confidence)], ["right", percent(bin.accuracy)]));
      whenPointed(group, (event) => show(event.clientX, event.clientY), tooltip.hide);
      group.addEventListener("focus", () => { const box = group.getBoundingClientRect(); show(box.right, box.top + 40); });
      group.addEventListener("blur", tooltip.hide);
      chart.inner.append(group);
    });
    chart.inner.append(drawn("line", { class: "diagonal", x1: chart.left, y1: chart.bottom, x2: chart.right, y2: chart.top }));
    plot.replaceChildren(chart.svg);
  };
  whenResized(plot, (width) => { draw = () => render(width); draw(); });
  whenRecoloured(() => draw());
  const swatch = (index, opacity) => element("i", { class: "dot square", style: `background:${colourOf(index)};opacity:${opacity}` });
  return element("figure", {}, plot,
    element("p", { class: "key" }, swatch(0, 1), "share that is right", swatch(1, 0.45), "gap to confidence; pale bars hold few images"),
    element("p", { class: "numbers" }, element("b", {}, percent(view.expected_error)), " calibration error · right ", element("b", {}, percent(view.accuracy)),
      " · confidence ", element("b", {}, percent(view.confidence)), ` · ${whole(view.n)} images`));
}
