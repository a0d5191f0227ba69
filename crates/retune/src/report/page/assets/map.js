// Images as points in a plane: zoom, pan, hover, and classes to switch off.

const ZOOM = { least: 0.7, most: 60 };
// Entries of a legend; the smallest of more share one, and are found by their names.
const MOST_ENTRIES = 60;
// Of more entries than this, one is found sooner by typing.
const FEW_ENTRIES = 12;

function drawMap(view) {
  const points = new MapPoints(view.x, view.y);
  const canvas = element("canvas", { tabindex: "0", role: "application", "aria-label":
    `Map of ${whole(points.count)} images; arrow keys go from image to image, plus and minus zoom, zero shows all` });
  const stage = element("div", { class: "stage" }, canvas);
  const side = element("div", { class: "map-side" });
  const status = element("p", { class: "status", "aria-live": "polite" });
  const has = (list) => list.length === points.count;
  const labels = view.label_sets;
  const same = (one, other) => one.length === other.length && one.every((label, at) => label === other[at]);
  const right = (index) => (labels ? same(labels.has[index], labels.predicted[index]) : view.label[index] === view.predicted[index]);
  let chosenLabel = view.colored_label ?? 0;
  // In the order of the legend: has the label and is predicted to, has it, is predicted to, neither.
  const ofLabel = (index) => (labels.has[index].includes(chosenLabel) ? 0 : 2) + (labels.predicted[index].includes(chosenLabel) ? 0 : 1);
  // The group of a point in each coloring; what groups look like, the data says.
  const groupOf = {
    Class: (index) => (view.label[index] < 0 ? view.classes.length : view.label[index]), Set: (index) => view.set[index],
    Prediction: (index) => view.predicted[index], Correctness: (index) => (!labels && view.label[index] < 0 ? 2 : right(index) ? 0 : 1),
    Label: ofLabel,
  };
  const modes = view.colorings.map((coloring) => ({ ...coloring, of: groupOf[coloring.name] }));
  if (!modes.length) modes.push({ name: "Image", entries: ["image"], looks: [{ name: "image", groups: [0], count: points.count, shape: 0, series: 0, order: 0 }], of: () => 0 });
  modes.forEach((mode) => { mode.hidden = new Set(); mode.query = ""; });
  const matches = (each, entry) => !each.query || each.entries[entry].toLowerCase().includes(each.query);

  let mode = modes.find((mode) => mode.name === view.colored_by) ?? modes[0];
  let [width, height, pixels] = [0, 0, 1];
  const camera = { scale: 1, x: 0, y: 0 };
  let [fitted, pending, hovered, stamps, categories] = [1, false, -1, [], []];

  const pen = canvas.getContext("2d", { willReadFrequently: true });
  const draw = () => {
    pending = false;
    points.draw(pen, { scale: camera.scale * pixels, x: camera.x * pixels, y: camera.y * pixels }, canvas.width, canvas.height, stamps);
    if (hovered < 0 || !points.shown[hovered]) return;
    const [a, b] = place(hovered);
    pen.setTransform(pixels, 0, 0, pixels, 0, 0);
    pen.lineWidth = 2;
    pen.strokeStyle = getComputedStyle(canvas).color;
    pen.beginPath();
    pen.arc(a, b, radius() + 5, 0, 2 * Math.PI);
    pen.stroke();
  };
  const redraw = () => { if (!pending) { pending = true; requestAnimationFrame(draw); } };
  const place = (index) => [points.x[index] * camera.scale + camera.x, points.y[index] * camera.scale + camera.y];
  const radius = () => (points.count > 4000 ? 2.6 : points.count > 1200 ? 3.2 : 4.4) * Math.min(2, (camera.scale / fitted) ** 0.3);

  const countEntries = ({ entries, of }) => {
    const counts = new Array(entries.length).fill(0);
    for (let point = 0; point < points.count; point += 1) counts[of(point)] += 1;
    return counts;
  };

  // What is drawn, the first below the next: the looks of the data. What is found by its name gets looks of its own from
  // among many that share one.
  const listed = () => {
    const counted = mode.name === "Label" ? countEntries(mode) : null;
    const look = ({ name, groups, count, shape, series }, at) => ({ members: groups, name, count: counted ? counted[groups[0]] : count, mark: shape, color: () => (series === null ? looks.others : colorOf(series)), at });
    const order = (one, other) => mode.looks[one.at].order - mode.looks[other.at].order;
    if (!mode.query) return mode.looks.map(look).sort(order);
    const counts = countEntries(mode);
    const present = mode.entries.map((_, entry) => entry).filter((entry) => counts[entry]);
    const category = (members, name, mark, color) => ({ members, name, mark, color, count: members.reduce((sum, entry) => sum + counts[entry], 0) });
    const found = present.filter((entry) => matches(mode, entry));
    const largest = [...found].sort((a, b) => counts[b] - counts[a] || a - b);
    const own = largest.slice(0, found.length > MOST_ENTRIES ? MOST_ENTRIES - 1 : MOST_ENTRIES).sort((a, b) => a - b);
    const others = largest.slice(own.length);
    const entries = own.map((entry, at) => category([entry], mode.entries[entry], at, () => colorOf(at)));
    const rest = others.length ? [category(others, `${whole(others.length)} others`, 0, () => looks.others)] : [];
    // What a search leaves out is not shown; it has a category all the same.
    const out = present.filter((entry) => !matches(mode, entry));
    // Points of the first category lie under those of the next.
    return [...(out.length ? [{ ...category(out, "", 0, () => looks.others), left: true }] : []), ...rest.map((others) => ({ ...others, last: true })), ...entries];
  };

  // A picture of each category's marker, drawn once for a zoom.
  const makeStamps = () => {
    const reach = radius() * pixels;
    const edge = getComputedStyle(canvas).getPropertyValue("--surface");
    const side = 2 * Math.ceil(reach * 1.5 + 2);
    const sheet = document.createElement("canvas");
    sheet.width = sheet.height = side;
    const brush = sheet.getContext("2d", { willReadFrequently: true });
    stamps = categories.map(({ mark, color }) => {
      brush.clearRect(0, 0, side, side);
      traceMarker(brush, mark, side / 2, side / 2, reach);
      brush.fillStyle = color();
      brush.fill();
      brush.lineWidth = 0.7 * pixels;
      brush.strokeStyle = edge;
      brush.stroke();
      return stampOf(brush, side);
    });
  };
  // Shows all points or, first, those that are not far from nearly all others.
  const fit = (whole = true) => {
    const [left, right, top, bottom] = whole ? points.bounds : points.core;
    const scale = 0.92 * Math.min(width / Math.max(right - left, 1e-3), height / Math.max(bottom - top, 1e-3));
    fitted = whole || !fitted ? scale : fitted;
    Object.assign(camera, { scale, x: width / 2 - scale * (left + right) / 2, y: height / 2 - scale * (top + bottom) / 2 });
    makeStamps();
    redraw();
  };
  const zoom = (factor, x = width / 2, y = height / 2) => {
    const scale = Math.max(ZOOM.least * fitted, Math.min(ZOOM.most * fitted, camera.scale * factor));
    const by = scale / camera.scale;
    Object.assign(camera, { scale, x: x + (camera.x - x) * by, y: y + (camera.y - y) * by });
    makeStamps();
    redraw();
  };
  const pan = (dx, dy) => { camera.x += dx; camera.y += dy; redraw(); };

  // The labels of an image, and what the model says wrongly of them.
  const labelLines = (index) => {
    const [has, predicted] = [labels.has[index], labels.predicted[index]];
    const names = (list, without) => list.filter((label) => !without.includes(label)).map((label) => view.classes[label]).join(", ");
    const [missed, wrong] = [names(has, predicted), names(predicted, has)];
    const line = (sign, text) => element("p", {}, element("span", { class: sign === "✓" ? "right" : "wrong" }, `${sign} `), text);
    return [element("p", { class: "head" }, names(has, []) || "no label"), missed || wrong ? null : line("✓", "all labels"),
      missed ? line("✗", `missed: ${missed}`) : null, wrong ? line("✗", `wrong: ${wrong}`) : null];
  };

  const hover = (index, x, y) => {
    if (index !== hovered) redraw();
    hovered = index;
    canvas.dataset.hovered = index;
    if (index < 0) return tooltip.hide();
    const label = has(view.label) && view.label[index] >= 0 ? view.classes[view.label[index]] : null;
    const tile = view.tile.length ? view.tile[index] : index;
    const picture = view.sheet === null || tile < 0 ? null : thumbnail(view.sheet, tile, 96, view.path[index] || "image");
    tooltip.show(x, y, element("div", { class: "card" }, picture, element("div", {},
      labels ? labelLines(index) : null,
      label === null ? null : element("p", { class: "head" }, label),
      has(view.predicted) ? element("p", {}, element("span", { class: label === null ? "" : right(index) ? "right" : "wrong" }, label === null ? "" : right(index) ? "✓ " : "✗ "),
        `${view.classes[view.predicted[index]]}${has(view.probability) ? ` ${percent(view.probability[index], 0)}` : ""}`) : null,
      has(view.set) ? element("p", { class: "count" }, view.sets[view.set[index]]) : null,
      has(view.path) ? element("p", { class: "path" }, view.path[index]) : null)));
  };
  const hoverAt = (event) => {
    const box = canvas.getBoundingClientRect();
    const [a, b] = [event.clientX - box.left, event.clientY - box.top];
    hover(points.nearest((a - camera.x) / camera.scale, (b - camera.y) / camera.scale, 12 / camera.scale), event.clientX, event.clientY);
  };

  const refresh = () => {
    let shown = 0;
    for (let index = 0; index < points.count; index += 1) {
      points.shown[index] = modes.every((each) => (!each.hidden.size && !each.query) || (!each.hidden.has(each.of(index)) && matches(each, each.of(index))));
      shown += points.shown[index];
    }
    canvas.dataset.shown = shown;
    const far = points.far ? `; ${whole(points.far)} far from the others (⤢ shows them)` : "";
    status.textContent = `${shown === points.count ? "" : `${whole(shown)} of `}${whole(points.count)} images${far}`;
    all.disabled = shown === points.count;
    redraw();
  };
  const all = element("button", { type: "button", class: "plain", onclick: () => { modes.forEach((each) => { each.hidden.clear(); each.query = ""; }); choose(modes.indexOf(mode)); } }, "Show all");
  const entries = element("div");
  const search = element("input", { type: "search", placeholder: "Find by name", "aria-label": "Show only those whose name has these letters", oninput: () => {
    mode.query = search.value.trim().toLowerCase();
    list();
  } });
  const labelChoice = labels ? element("select", { "aria-label": "Label", onchange: (event) => {
    chosenLabel = Number(event.target.value);
    labelOnPaper.textContent = `Label: ${view.classes[chosenLabel]}`;
    list();
  } }, view.classes.map((name, at) => element("option", { value: at, selected: at === chosenLabel }, name))) : null;
  const labelOnPaper = element("p", { class: "on-paper" }, labels ? `Label: ${view.classes[chosenLabel]}` : "");
  const labelPicker = labels ? element("label", { class: "picker" }, "Label ", labelChoice) : null;
  const choose = (index) => {
    mode = modes[index];
    if (labelPicker) labelPicker.hidden = labelOnPaper.hidden = mode.name !== "Label";
    search.hidden = mode.entries.length <= FEW_ENTRIES;
    search.value = mode.query;
    list();
  };
  const list = () => {
    categories = listed();
    const categoryOf = new Uint16Array(mode.entries.length);
    categories.forEach(({ members }, category) => members.forEach((entry) => { categoryOf[entry] = category; }));
    points.categorise(Uint16Array.from({ length: points.count }, (_, point) => categoryOf[mode.of(point)]));
    const listing = mode.query ? [...categories.filter(({ left, last }) => !left && !last), ...categories.filter(({ last }) => last)] : [...categories].sort((one, other) => one.at - other.at);
    const buttons = legend(listing.map(({ name, count, mark, color }) => ({
      name, count, swatch: drawn("svg", { width: 16, height: 14, class: "swatch", "aria-hidden": "true" }, markerAt(mark, 8, 7, 5, color())),
    })), (at, visible) => {
      for (const entry of listing[at].members) if (visible) mode.hidden.delete(entry); else mode.hidden.add(entry);
      refresh();
    }, (at) => {
      const others = listing.filter((_, other) => other !== at).flatMap(({ members }) => members);
      const alone = others.every((entry) => mode.hidden.has(entry)) && !listing[at].members.some((entry) => mode.hidden.has(entry));
      mode.hidden.clear();
      if (!alone) others.forEach((entry) => mode.hidden.add(entry));
      press();
      refresh();
    });
    const press = () => [...buttons.children].forEach((entry, at) =>
      entry.firstChild.setAttribute("aria-pressed", !listing[at].members.every((member) => mode.hidden.has(member))));
    press();
    entries.replaceChildren(buttons);
    makeStamps();
    refresh();
  };

  // One pointer drags, two pinch; a pointer that only passes by hovers.
  const held = new Map();
  canvas.addEventListener("pointerdown", (event) => { held.set(event.pointerId, [event.clientX, event.clientY]); canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener("pointermove", (event) => {
    const before = held.get(event.pointerId);
    if (!before) return hoverAt(event);
    const now = [event.clientX, event.clientY];
    if (held.size === 2) {
      const other = [...held].find(([id]) => id !== event.pointerId)[1];
      const distance = ([a, b]) => Math.hypot(a - other[0], b - other[1]) || 1;
      const box = canvas.getBoundingClientRect();
      zoom(distance(now) / distance(before), (now[0] + other[0]) / 2 - box.left, (now[1] + other[1]) / 2 - box.top);
    } else {
      pan(now[0] - before[0], now[1] - before[1]);
      hover(-1);
    }
    held.set(event.pointerId, now);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => { held.delete(event.pointerId); if (end === "pointerup") hoverAt(event); });
  // A finger leaves when it is lifted; what it tapped stays shown.
  canvas.addEventListener("pointerleave", (event) => { if (!held.size && event.pointerType !== "touch") hover(-1); });
  canvas.addEventListener("blur", () => hover(-1));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = canvas.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0016)), event.clientX - box.left, event.clientY - box.top);
    hoverAt(event);
  }, { passive: false });
  canvas.addEventListener("dblclick", () => fit());
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0] }[event.key];
    if (step && event.shiftKey) pan(-60 * step[0], -60 * step[1]);
    else if (step) {
      const start = points.nearest((width / 2 - camera.x) / camera.scale, (height / 2 - camera.y) / camera.scale, 2);
      const next = hovered < 0 ? start : points.towards(hovered, ...step);
      if (next >= 0) {
        const [a, b] = place(next);
        pan(Math.min(0, width - 30 - a) + Math.max(0, 30 - a), Math.min(0, height - 30 - b) + Math.max(0, 30 - b));
        const box = canvas.getBoundingClientRect();
        const [x, y] = place(next);
        hover(next, box.left + x, box.top + y);
      }
    } else if (event.key === "+" || event.key === "=") zoom(1.4);
    else if (event.key === "-") zoom(1 / 1.4);
    else if (event.key === "0") fit();
    else if (event.key === "Escape") hover(-1);
    else return;
    event.preventDefault();
  });

  whenResized(stage, (available) => {
    const before = width;
    [width, height] = [available, Math.round(Math.max(320, Math.min(600, available * 0.72)))];
    pixels = Math.min(devicePixelRatio || 1, 2);
    canvas.width = Math.round(width * pixels);
    canvas.height = Math.round(height * pixels);
    if (before) { camera.x += (width - before) / 2; makeStamps(); redraw(); } else { fit(); fit(false); }
  });
  whenRecolored(() => choose(modes.indexOf(mode)));
  canvas.dataset.points = points.count;
  // For tests, and for those who look at a page with their browser's tools.
  canvas.map = { place, zoom, pan, fit, draw };

  const tool = (text, label, act) => element("button", { type: "button", "aria-label": label, title: label, onclick: act }, text);
  stage.append(element("div", { class: "tools" }, tool("+", "Zoom in", () => zoom(1.5)), tool("−", "Zoom out", () => zoom(1 / 1.5)), tool("⤢", "Show everything", () => fit())));
  side.append(element("h3", {}, "Color by"), choice("Color by", modes.map(({ name }) => name), modes.indexOf(mode), choose), ...(labelPicker ? [labelPicker, labelOnPaper] : []), search, entries, element("div", { class: "row" }, status, all));
  return element("figure", { class: "map" }, stage, side, element("figcaption", {}, view.method));
}
