// Okabe and Ito's eight colors, which color-blind readers tell apart, then twelve that are far from them and from each
// other; each with a marker of its own.

const dark = () => getComputedStyle(document.documentElement).getPropertyValue("--dark").trim() === "1";
const PALETTES = {
  light: [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#1b1d21", "#8a8f98", "#690000", "#3c0087",
    "#5af0a5", "#0000ff", "#962d69", "#9669ff", "#4b5a00", "#691ec3", "#003c3c", "#96b487", "#b4d2ff", "#d2d200",
  ],
  dark: [
    "#3f9fdc", "#e8743b", "#1fbf90", "#d98bb8", "#e69f00", "#7cc8f2", "#eceef2", "#8a8f98", "#5a00c3", "#96002d",
    "#b4ff00", "#005a78", "#b40fff", "#965a00", "#875ab4", "#a5e1a5", "#4b785a", "#e11e4b", "#f069ff", "#d2d200",
  ],
};
const COLORS = PALETTES.light.length;
// What is in no group of its own.
const OTHERS = "#9b9fa6";
const colorOf = (index) => PALETTES[dark() ? "dark" : "light"][index % COLORS];

// Each shape as a list of corners about 0, of about the area of a circle of radius 1.
const polygon = (corners, radius, turn, inner) => {
  const count = inner ? 2 * corners : corners;
  return Array.from({ length: count }, (_, index) => {
    const angle = turn + (2 * Math.PI * index) / count;
    const reach = inner && index % 2 ? inner : radius;
    return [reach * Math.sin(angle), -reach * Math.cos(angle)];
  });
};
const SHAPES = [
  null, polygon(4, 1.25, Math.PI / 4), polygon(3, 1.4, 0), polygon(4, 1.3, 0), polygon(3, 1.4, Math.PI),
  polygon(5, 1.5, 0, 0.62), polygon(4, 1.45, 0, 0.5),
];

// A marker's outline on a canvas or as the data of a path.
function traceMarker(pen, index, x, y, radius) {
  const shape = SHAPES[index % SHAPES.length];
  pen.beginPath();
  if (!shape) pen.arc(x, y, radius, 0, 2 * Math.PI);
  else shape.forEach(([a, b], at) => (at ? pen.lineTo(x + a * radius, y + b * radius) : pen.moveTo(x + a * radius, y + b * radius)));
  pen.closePath();
}

function markerAt(index, x, y, radius, color) {
  const shape = SHAPES[index % SHAPES.length];
  return shape
    ? drawn("polygon", { class: "marker", fill: color, points: shape.map(([a, b]) => `${(x + a * radius).toFixed(2)},${(y + b * radius).toFixed(2)}`).join(" ") })
    : drawn("circle", { class: "marker", fill: color, cx: x, cy: y, r: radius });
}

const marker = (index) => drawn("svg", { width: 16, height: 14, class: "swatch", "aria-hidden": "true" },
  markerAt(index, 8, 7, 5, colorOf(index)));

// Cividis (Nuñez, Anderton and Renslow 2018), seventeen of its colors.
const CIVIDIS = [
  [0, 34, 78], [0, 46, 106], [26, 56, 111], [50, 67, 109], [67, 78, 108], [83, 90, 109], [97, 101, 111], [111, 112, 115],
  [125, 124, 120], [140, 136, 120], [155, 148, 118], [171, 160, 114], [188, 174, 108], [205, 187, 99], [222, 201, 88],
  [240, 216, 70], [254, 232, 56],
];

// The color at a share from 0 to 1, as [red, green, blue].
function cividisChannels(share) {
  const at = Math.max(0, Math.min(1, share)) * (CIVIDIS.length - 1);
  const index = Math.min(Math.floor(at), CIVIDIS.length - 2);
  return CIVIDIS[index].map((value, channel) => Math.round(value + (at - index) * (CIVIDIS[index + 1][channel] - value)));
}

const cividis = (share) => `rgb(${cividisChannels(share).join(",")})`;
