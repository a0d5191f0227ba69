// Points with intervals, such as accuracy in distribution against accuracy under shift.

function drawScatter(view) {
  const HEIGHT = 380;
  const plot = element("div", { class: "plot" });
  const shown = view.points.map(() => true);
  let draw = () => {};
  const ends = (value, interval) => (interval ? [value, ...interval] : [value]);
  const render = (width) => {
    const visible = view.points.filter((_, index) => shown[index]);
    const chart = frame({
      width, height: HEIGHT, label: `${view.y_label} against ${view.x_label}`,
      x: { values: visible.flatMap((p) => ends(p.x, p.x_interval)), label: view.x_label, asPercent: true, margin: 0.08 },
      y: { values: visible.flatMap((p) => ends(p.y, p.y_interval)), label: view.y_label, asPercent: true, margin: 0.08 },
    });
    const [low, high] = [chart.x.inverse(chart.left), chart.x.inverse(chart.right)];
    chart.inner.append(drawn("line", { class: "diagonal", x1: chart.x.place(low), y1: chart.y.place(low), x2: chart.x.place(high), y2: chart.y.place(high) }));
    if (view.joined) {
      const path = view.points.map((p) => `${chart.x.place(p.x).toFixed(1)},${chart.y.place(p.y).toFixed(1)}`).join(" ");
      chart.inner.append(drawn("polyline", { class: "line", points: path, stroke: colourOf(0), "stroke-width": 2 }));
    }
    const taken = [];
    view.points.forEach((point, index) => {
      if (!shown[index]) return;
      const colour = view.joined ? colourOf(0) : colourOf(index);
      const [a, b] = [chart.x.place(point.x), chart.y.place(point.y)];
      const error = (interval, horizontal) => interval && drawn("line", {
        class: "error", stroke: colour,
        ...(horizontal ? { x1: chart.x.place(interval[0]), x2: chart.x.place(interval[1]), y1: b, y2: b }
          : { x1: a, x2: a, y1: chart.y.place(interval[0]), y2: chart.y.place(interval[1]) }),
      });
      const show = (x, y) => tooltip.show(x, y, element("p", { class: "head" }, point.label), pairs(
        [view.x_label, spelled(point.x, point.x_interval)], [view.y_label, spelled(point.y, point.y_interval)]));
      const group = drawn("g", { class: "point", tabindex: "0", role: "img",
        "aria-label": `${point.label}: ${view.x_label} ${percent(point.x)}, ${view.y_label} ${percent(point.y)}`,
        onblur: tooltip.hide,
        onfocus: () => { const box = group.getBoundingClientRect(); show(box.right, box.bottom); } },
        error(point.x_interval, true), error(point.y_interval, false),
        drawn("circle", { cx: a, cy: b, r: 13, fill: "transparent" }),
        view.joined ? drawn("circle", { cx: a, cy: b, r: 4.5, fill: colour }) : markerAt(index, a, b, 6, colour));
      whenPointed(group, (event) => show(event.clientX, event.clientY), tooltip.hide);
      chart.inner.append(group);
      taken.push([a - 8, b - 8, a + 8, b + 8]);
    });
    names(chart, taken);
    plot.replaceChildren(chart.svg);
  };

  // Each point's name beside it, where it covers no point and no other name.
  const names = (chart, taken) => {
    view.points.forEach((point, index) => {
      if (!shown[index] || (view.joined && index % 5 !== 0)) return;
      const [a, b] = [chart.x.place(point.x), chart.y.place(point.y)];
      const width = 7.4 * point.label.length + 4;
      const places = [[a + 11, b - 8], [a - 11 - width, b - 8], [a + 8, b - 24], [a + 8, b + 9], [a - 8 - width, b - 24], [a - 8 - width, b + 9]];
      const free = places.find(([left, top]) => left > chart.left && left + width < chart.right && top > chart.top && top + 14 < chart.bottom
        && !taken.some(([l, t, r, d]) => left < r && left + width > l && top < d && top + 14 > t));
      if (!free) return;
      taken.push([free[0], free[1], free[0] + width, free[1] + 14]);
      chart.svg.append(drawn("text", { class: "label", x: free[0] + 2, y: free[1] + 11 }, point.label));
    });
  };

  whenResized(plot, (width) => { draw = () => render(width); draw(); });
  whenRecoloured(() => draw());
  if (view.joined) return element("figure", {}, plot);
  const entries = view.points.map((point, index) => ({ name: point.label, swatch: marker(index) }));
  return element("figure", {}, plot, legend(entries, (index, visible) => { shown[index] = visible; draw(); }));
}

const spelled = (value, interval) => (interval && interval[0] !== interval[1]
  ? `${percent(value)} (${(100 * interval[0]).toFixed(1)}–${(100 * interval[1]).toFixed(1)})` : percent(value));
