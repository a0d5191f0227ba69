// Thumbnails with what the model said of them.

const drawGallery = (view) => element("ul", { class: "gallery" }, view.items.map((item) => {
  const right = item.label === item.predicted;
  return element("li", { title: item.path },
    thumbnail(view.sheet, item.tile, 96, `${item.label}, taken for ${item.predicted}`),
    element("p", { class: "truth" }, item.label),
    element("p", { class: "said" }, element("span", { class: right ? "right" : "wrong", "aria-label": right ? "right" : "wrong", role: "img" }, right ? "✓" : "✗"),
      `${item.predicted} ${percent(item.probability, 0)}`),
    element("p", { class: "loss" }, `loss ${item.loss.toFixed(2)}`));
}));
