// Lines over one axis, with the values at the pointer.

function drawLines(view) {
  const HEIGHT = 300;
  const shown = view.lines.map(() => true);
  const plot = element("div", { class: "plot", tabindex: "0" });
  const dash = (index) => (view.ordered ? null : [null, "7 4", "2 3"][Math.floor(index / COLOURS) % 3]);
  const colour = (index) => (view.ordered
    ? cividis(view.lines.length > 1 ? 0.08 + (0.84 * index) / (view.lines.length - 1) : 0.5) : colourOf(index));
  const strong = view.lines.findIndex((line) => !line.faint);
  const style = (index) => (view.lines[index].faint
    ? { stroke: colour(index), "stroke-width": 1.4, "stroke-opacity": 0.65, "stroke-dasharray": "4 3" }
    : { stroke: colour(index), "stroke-width": view.ordered ? 1.8 : 2.2, "stroke-dasharray": dash(index) });

  let draw = () => {};
  const render = (width) => {
    const visible = view.lines.filter((_, index) => shown[index]);
    const points = visible.flatMap((line) => line.points);
    const marks = view.marks.map(([place]) => place);
    const epochs = view.x_label === "Epoch";
    const chart = frame({
      width, height: HEIGHT, label: `${view.y_label} by ${view.x_label}: ${view.lines.map((line) => line.name).join(", ")}`,
      x: { values: points.map((p) => p[0]).concat(epochs ? marks : []), log: view.log_x, label: view.x_label, integers: epochs, margin: 0.02 },
      y: { values: points.map((p) => p[1]), log: view.log_y, label: view.y_label, asPercent: view.percent,
        least: view.percent ? 0 : null, most: view.percent ? 1.0001 : null, margin: 0.08 },
    });
    for (const [place, text] of view.marks) {
      if (!chart.x.inside(place)) continue;
      const at = chart.x.place(place);
      const late = at > chart.right - 60;
      chart.inner.append(drawn("line", { class: "marked", x1: at, x2: at, y1: chart.top, y2: chart.bottom }),
        drawn("text", { class: "tick", x: at + (late ? -5 : 5), y: chart.top + 8, "text-anchor": late ? "end" : "start" }, text));
    }
    const order = view.lines.map((_, index) => index).sort((a, b) => (b === strong) - (a === strong) || 0).reverse();
    for (const index of order) {
      if (!shown[index]) continue;
      const places = view.lines[index].points.filter(([a, b]) => Number.isFinite(a) && Number.isFinite(b) && (!view.log_y || b > 0))
        .map(([a, b]) => [chart.x.place(a), chart.y.place(b)]);
      if (places.length > 1)
        chart.inner.append(drawn("polyline", { class: "line", points: places.map((p) => p.map((v) => v.toFixed(1)).join(",")).join(" "), ...style(index) }));
      if (places.length <= 12 || places.length === 1)
        places.forEach(([a, b]) => chart.inner.append(view.ordered || view.lines[index].faint
          ? drawn("circle", { cx: a, cy: b, r: 1.8, fill: colour(index) }) : markerAt(index, a, b, 3.2, colour(index))));
    }
    follow(chart, width);
    plot.replaceChildren(chart.svg);
  };

  // A vertical line at the nearest place with values, and what every line has there.
  const follow = (chart, width) => {
    const places = [...new Set(view.lines.filter((_, index) => shown[index]).flatMap((line) => line.points.map((p) => p[0])))].sort((a, b) => a - b);
    if (!places.length) return;
    const rule = drawn("line", { class: "rule", y1: chart.top, y2: chart.bottom, visibility: "hidden" });
    chart.svg.append(rule);
    let at = -1;
    const go = (index, clientY) => {
      at = Math.max(0, Math.min(places.length - 1, index));
      const pixel = chart.x.place(places[at]);
      rule.setAttribute("x1", pixel);
      rule.setAttribute("x2", pixel);
      rule.setAttribute("visibility", "visible");
      const box = plot.getBoundingClientRect();
      const rows = view.lines.map((line, index) => [line, index])
        .filter(([line, index]) => shown[index] && line.points.some((p) => p[0] === places[at]))
        .map(([line, index]) => {
          const value = line.points.find((p) => p[0] === places[at])[1];
          return [element("span", {}, element("i", { class: "dot", style: `background:${colour(index)}` }), line.name),
            view.percent ? percent(value) : number(value)];
        });
      const most = 14;
      const more = rows.length > most ? element("p", {}, `and ${rows.length - most} more`) : null;
      tooltip.show(box.left + (pixel * box.width) / width, clientY ?? box.top + 60,
        element("p", { class: "head" }, `${view.x_label} ${number(places[at])}`), pairs(...rows.slice(0, most)), more);
    };
    const leave = () => { rule.setAttribute("visibility", "hidden"); tooltip.hide(); };
    whenPointed(chart.svg, (event) => {
      const box = chart.svg.getBoundingClientRect();
      const pixel = ((event.clientX - box.left) * width) / box.width;
      const near = places.reduce((best, place, index) =>
        (Math.abs(chart.x.place(place) - pixel) < Math.abs(chart.x.place(places[best]) - pixel) ? index : best), 0);
      go(near, event.clientY);
    }, leave);
    plot.onkeydown = (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") leave();
      if (!step) return;
      event.preventDefault();
      go(at + step);
    };
    plot.onblur = leave;
  };

  whenResized(plot, (width) => { draw = () => render(width); draw(); });
  whenRecoloured(() => draw());
  const swatch = (index) => drawn("svg", { width: 26, height: 12, class: "swatch", "aria-hidden": "true" },
    drawn("line", { x1: 1, x2: 25, y1: 6, y2: 6, ...style(index) }),
    view.ordered || view.lines[index].faint ? null : markerAt(index, 13, 6, 3.4, colour(index)));
  const entries = view.lines.map((line, index) => ({ name: line.name, swatch: swatch(index) }));
  return element("figure", {}, plot, legend(entries, (index, visible) => { shown[index] = visible; draw(); }));
}
