// Colors and markers of groups: those of figures, which the page's data holds; a dark page has colors of its own.

let looks = { series: [], others: "", shapes: [] };
const colorOf = (index) => {
  const at = index % looks.series.length;
  return getComputedStyle(document.documentElement).getPropertyValue(`--series-${at}`).trim() || looks.series[at];
};

// A marker's outline on a canvas or as the data of a path.
function traceMarker(pen, index, x, y, radius) {
  const shape = looks.shapes[index % looks.shapes.length];
  pen.beginPath();
  if (!shape.length) pen.arc(x, y, radius, 0, 2 * Math.PI);
  else shape.forEach(([a, b], at) => (at ? pen.lineTo(x + a * radius, y + b * radius) : pen.moveTo(x + a * radius, y + b * radius)));
  pen.closePath();
}

function markerAt(index, x, y, radius, color) {
  const shape = looks.shapes[index % looks.shapes.length];
  return shape.length
    ? drawn("polygon", { class: "marker", fill: color, points: shape.map(([a, b]) => `${(x + a * radius).toFixed(2)},${(y + b * radius).toFixed(2)}`).join(" ") })
    : drawn("circle", { class: "marker", fill: color, cx: x, cy: y, r: radius });
}

const marker = (index) => drawn("svg", { width: 16, height: 14, class: "swatch", "aria-hidden": "true" },
  markerAt(index, 8, 7, 5, colorOf(index)));
