// Tiles cut from the page's sheets.

const sheets = [];

function loadSheets(list) {
  for (const { source, side, columns } of list) {
    const image = new Image();
    const ready = new Promise((done) => { image.onload = done; });
    image.src = source;
    sheets.push({ image, side, columns, ready });
  }
}

function paintTile(canvas, sheet, tile) {
  const { image, side, columns, ready } = sheets[sheet];
  Object.assign(canvas.dataset, { sheet, tile });
  const paint = () => {
    if (canvas.dataset.tile !== String(tile) || canvas.dataset.sheet !== String(sheet)) return;
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = side >= 48;
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.drawImage(image, (tile % columns) * side, Math.floor(tile / columns) * side, side, side,
      0, 0, canvas.width, canvas.height);
  };
  if (image.complete && image.naturalWidth) paint(); else ready.then(paint);
}

// A thumbnail of `size` pixels of the page on either side.
function thumbnail(sheet, tile, size, description) {
  const pixels = Math.round(size * Math.min(devicePixelRatio || 1, 2));
  const canvas = element("canvas", {
    class: "thumbnail", role: "img", "aria-label": description, width: pixels, height: pixels,
    style: `width:${size}px;height:${size}px`,
  });
  paintTile(canvas, sheet, tile);
  return canvas;
}
