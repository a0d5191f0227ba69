// Thumbnails with the model's predictions.

const drawGallery = (view) => !view.items.length ? element("p", { class: "note" }, "The model is right about every image, with a probability of 90 % or more.") : element("ul", { class: "gallery" }, view.items.map((item) => {
  const right = item.label === item.predicted;
  return element("li", { title: item.path },
    thumbnail(view.sheet, item.tile, 96, `${item.label}, predicted as ${item.predicted}`),
    element("p", { class: "truth" }, item.label),
    element("p", { class: "said" }, element("span", { class: right ? "right" : "wrong", "aria-label": right ? "right" : "wrong", role: "img" }, right ? "✓" : "✗"),
      `${item.predicted} ${percent(item.probability, 0)}`),
    element("p", { class: "loss" }, `loss ${item.loss.toFixed(2)}`));
}));
