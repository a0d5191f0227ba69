// Thumbnails with the model's predictions, and what is painted over them.

function drawGallery(view) {
  if (!view.items.length) return element("p", { class: "note" }, "The model is right about every image, with a probability of 90 % or more.");
  const canvases = view.items.map((item) => thumbnail(view.sheet, item.tile, 96, `${item.label}, predicted as ${item.predicted}`));
  const list = element("ul", { class: "gallery" }, view.items.map((item, index) => {
    const right = item.label === item.predicted;
    return element("li", { title: item.path },
      canvases[index],
      element("p", { class: "truth" }, item.label),
      element("p", { class: "said" }, element("span", { class: right ? "right" : "wrong", "aria-label": right ? "right" : "wrong", role: "img" }, right ? "✓" : "✗"),
        `${item.predicted} ${percent(item.probability, 0)}`),
      element("p", { class: "loss" }, `loss ${item.loss.toFixed(2)}`));
  }));
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
