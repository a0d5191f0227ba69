// Thumbnails with the model's predictions, and what is painted over them.

function drawGallery(view) {
  const every = view.of_labels ? "every label of every image" : "every image";
  if (!view.items.length) return element("p", { class: "note" }, `The model is right about ${every}, with a probability of 90 % or more.`);
  const described = view.items.map((item) => (view.of_labels ? labelsOf(item) : classOf(item)));
  const canvases = view.items.map((item, index) => thumbnail(view.sheet, item.tile, 96, described[index].description));
  const list = element("ul", { class: "gallery" }, view.items.map((item, index) => element("li", { title: item.path },
    canvases[index],
    element("p", { class: "truth" }, described[index].truth),
    described[index].said.map(([right, text]) => element("p", { class: "said" }, verdictSign(right), text)),
    element("p", { class: "loss" }, `loss ${item.loss.toFixed(2)}`))));
  if (!view.overlays.length) return list;
  const bar = element("div", { class: "color-bar" }, "little", element("i", { style: `background:linear-gradient(to left,${looks.values.map((color) => `rgb(${color})`)})` }), "much");
  const legend = element("div", { class: "overlay" });
  const show = (index) => {
    const overlay = view.overlays[index - 1];
    view.items.forEach((item, at) => paintTile(canvases[at], overlay ? overlay.sheet : view.sheet, item.tile));
    legend.replaceChildren(...(overlay ? [element("p", { class: "note" }, overlay.note), bar] : []));
  };
  return element("div", {}, choice("What the images show", ["Image", ...view.overlays.map((overlay) => overlay.name)], 0, show), legend, list);
}

const verdictSign = (right) =>
  element("span", { class: right ? "right" : "wrong", "aria-label": right ? "right" : "wrong", role: "img" }, right ? "✓" : "✗");

// What a caption says of an image with one class.
function classOf(item) {
  return {
    description: `${item.label}, predicted as ${item.predicted}`, truth: item.label,
    said: [[item.label === item.predicted, `${item.predicted} ${percent(item.probability, 0)}`]],
  };
}

// What it says of an image with several labels: those that the model missed, and those that it gave wrongly.
function labelsOf({ label, mistakes }) {
  const truth = label || "no label";
  const lines = (labels, what) => labels.map(([name, probability]) => [false, `${what}: ${name} ${percent(probability, 0)}`]);
  const wrong = [...lines(mistakes.missed, "missed"), ...lines(mistakes.wrong, "wrong")];
  const said = wrong.length ? fewer(wrong) : [[true, "all labels"]];
  return { description: `${truth}: ${wrong.length ? wrong.map(([, text]) => text).join(", ") : "all labels right"}`, truth, said };
}

// Lines that a caption has room for; of more, how many there are.
const MOST_LINES = 4;
const fewer = (lines) =>
  (lines.length > MOST_LINES ? [...lines.slice(0, MOST_LINES - 1), [false, `${lines.length - MOST_LINES + 1} more`]] : lines);
