// Values in cells. `describe(row, column)` says what a cell holds; `pick` is told which one is chosen.

const BREADTH = { row: 26, most: 30, least: 3 };

function heatMap({ rows, columns, values, range, log = false, xLabel, yLabel, cellText, describe, square, pick }) {
  const plot = element("div", { class: "plot heat", tabindex: "0", role: "application",
    "aria-label": `${yLabel || "Rows"} by ${xLabel || "columns"}; arrow keys move between cells` });
  const all = values.flat().filter((value) => value !== null);
  const [low, high] = range || [all.reduce((a, b) => Math.min(a, b), Infinity), all.reduce((a, b) => Math.max(a, b), -Infinity)];
  const scaled = log ? (value) => Math.log(Math.max(value, 1e-12)) : (value) => value;
  const share = (value) => (high > low ? (scaled(value) - scaled(low)) / (scaled(high) - scaled(low)) : 0.5);
  let active = null;
  let draw = () => {};
  const picture = () => {
    const canvas = element("canvas", { width: columns.length, height: rows.length });
    const pen = canvas.getContext("2d");
    const data = pen.createImageData(columns.length, rows.length);
    values.forEach((cells, row) => cells.forEach((value, column) => {
      if (value === null) return;
      data.data.set([...cividisChannels(share(value)), 255], 4 * (row * columns.length + column));
    }));
    pen.putImageData(data, 0, 0);
    return canvas.toDataURL();
  };

  const render = (width) => {
    const longest = (names) => names.reduce((most, name) => Math.max(most, name.length), 0);
    const most = Math.floor(width * 0.34);
    const left = Math.min(most, 7.4 * longest(rows) + 14) + (yLabel ? 18 : 0);
    const fits = Math.max(60, width - left - 12);
    const cellWidth = Math.max(0.5, Math.min(square ? 46 : 70, fits / columns.length));
    const cellHeight = square ? cellWidth : Math.max(BREADTH.least, Math.min(BREADTH.row, 560 / rows.length));
    const turned = longest(columns) * 7.4 > cellWidth - 4;
    const bottom = (turned ? Math.min(190, 7.4 * longest(columns) + 12) : 20) + (xLabel ? 22 : 4);
    const [mapWidth, mapHeight] = [cellWidth * columns.length, cellHeight * rows.length];
    const every = (size) => Math.max(1, Math.ceil(12 / size));
    // Names often differ in their ends only.
    const clip = (name, room) => {
      const most = Math.max(3, Math.floor(room / 7.2));
      const letters = [...name];
      return letters.length > most ? [...letters.slice(0, Math.ceil((most - 1) / 2)), "…", ...letters.slice(letters.length - Math.floor((most - 1) / 2))].join("") : name;
    };
    const height = mapHeight + bottom + 8;
    const nameRoom = left - (yLabel ? 18 : 0) - 10;
    const svg = drawn("svg", { width: left + mapWidth + 12, height, viewBox: `0 0 ${left + mapWidth + 12} ${height}` },
      rows.map((name, row) => row % every(cellHeight) ? null : drawn("text", { class: "tick", x: left - 7, y: 4 + (row + 0.5) * cellHeight, "text-anchor": "end", "dominant-baseline": "central" }, clip(name, nameRoom))),
      columns.map((name, column) => {
        if (column % every(turned ? cellWidth : Math.max(cellWidth, 12))) return null;
        const [x, y] = [left + (column + 0.5) * cellWidth, 4 + mapHeight];
        return turned
          ? drawn("text", { class: "tick", transform: `translate(${x} ${y + 8}) rotate(-90)`, "text-anchor": "end", "dominant-baseline": "central" }, clip(name, 178))
          : drawn("text", { class: "tick", x, y: y + 16, "text-anchor": "middle" }, name);
      }),
      xLabel ? drawn("text", { class: "axis", x: left + mapWidth / 2, y: height - 4, "text-anchor": "middle" }, xLabel) : null,
      yLabel ? drawn("text", { class: "axis", transform: `translate(12 ${4 + mapHeight / 2}) rotate(-90)`, "text-anchor": "middle" }, yLabel) : null,
      drawn("image", { href: picture(), x: left, y: 4, width: mapWidth, height: mapHeight, preserveAspectRatio: "none", style: "image-rendering:pixelated" }));
    if (cellText && cellWidth >= 26 && rows.length <= 24) {
      values.forEach((cells, row) => cells.forEach((value, column) => {
        const text = value === null ? "" : cellText(row, column);
        if (!text) return;
        const bright = share(value) > 0.55;
        svg.append(drawn("text", { class: "cell", x: left + (column + 0.5) * cellWidth, y: 4 + (row + 0.5) * cellHeight, "text-anchor": "middle", "dominant-baseline": "central", fill: bright ? "#10131a" : "#f4f5f7" }, text));
      }));
    }
    const ring = drawn("rect", { class: "ring", width: cellWidth, height: cellHeight, visibility: "hidden" });
    svg.append(ring);
    const go = (row, column, x, y) => {
      if (row < 0 || column < 0 || row >= rows.length || column >= columns.length) return;
      active = [row, column];
      ring.setAttribute("x", left + column * cellWidth);
      ring.setAttribute("y", 4 + row * cellHeight);
      ring.setAttribute("visibility", "visible");
      const box = svg.getBoundingClientRect();
      tooltip.show(x ?? box.left + left + (column + 1) * cellWidth, y ?? box.top + 4 + (row + 1) * cellHeight, describe(row, column));
    };
    const cellAt = (event) => {
      const box = svg.getBoundingClientRect();
      return [Math.floor((event.clientY - box.top - 4) / cellHeight), Math.floor((event.clientX - box.left - left) / cellWidth)];
    };
    const leave = () => { ring.setAttribute("visibility", "hidden"); tooltip.hide(); };
    whenPointed(svg, (event) => {
      const [row, column] = cellAt(event);
      if (row >= 0 && column >= 0 && row < rows.length && column < columns.length) go(row, column, event.clientX, event.clientY);
      else leave();
    }, leave);
    svg.addEventListener("click", (event) => pick && pick(...cellAt(event)));
    plot.onkeydown = (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (event.key === "Escape") leave();
      if (event.key === "Enter" && active && pick) pick(...active);
      if (!step) return;
      event.preventDefault();
      go(...(active ? [active[0] + step[0], active[1] + step[1]] : [0, 0]));
    };
    plot.onblur = leave;
    plot.replaceChildren(svg);
  };
  whenResized(plot, (width) => { draw = () => render(width); draw(); });
  whenRecolored(() => draw());
  return plot;
}

// The scale's colors from the least value to the largest.
const colorBar = (low, high, label) => element("div", { class: "color-bar" },
  element("span", {}, low), element("i", { style: `background:linear-gradient(to right,${CIVIDIS.map((_, index) => cividis(index / (CIVIDIS.length - 1))).join(",")})` }),
  element("span", {}, high), element("span", { class: "what" }, label));
