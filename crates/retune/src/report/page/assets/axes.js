// Scales, and a frame with ticks and names around a drawing.

// Round numbers that span a range, about `count` of them.
function roundTicks(low, high, count) {
  const span = high - low || 1;
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough - 1e-12);
  const ticks = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + step * 1e-9; index += 1) ticks.push(index * step);
  return { ticks, step };
}

// From values to pixels; `log` for a logarithmic axis.
function scaleOf(values, pixels, { log = false, margin = 0.04, least = null, most = null, count = 5, asPercent = false, integers = false }) {
  const usable = values.filter((value) => Number.isFinite(value) && (!log || value > 0));
  let low = usable.reduce((a, b) => Math.min(a, b), Infinity);
  let high = usable.reduce((a, b) => Math.max(a, b), -Infinity);
  if (!usable.length) [low, high] = log ? [0.1, 1] : [0, 1];
  const forward = log ? Math.log10 : (value) => value;
  const backward = log ? (value) => 10 ** value : (value) => value;
  let [from, to] = [forward(low), forward(high)];
  const pad = to > from ? (to - from) * margin : log ? 0.5 : Math.abs(from) * 0.1 || 0.5;
  [from, to] = [from - pad, to + pad];
  if (least !== null) from = Math.max(from, forward(least));
  if (most !== null) to = Math.min(to, forward(most));
  const [start, end] = pixels;
  const place = (value) => start + ((forward(value) - from) / (to - from)) * (end - start);
  const inverse = (pixel) => backward(from + ((pixel - start) / (end - start)) * (to - from));
  let ticks;
  if (log) {
    const span = Math.max(1, Math.ceil((to - from) / count));
    ticks = [];
    for (let exponent = Math.ceil(from - 1e-9); exponent <= to + 1e-9; exponent += span)
      ticks.push({ value: 10 ** exponent, text: `10${superscript(exponent)}` });
    if (ticks.length < 2) {
      ticks = [1, 2, 5].flatMap((factor) => [Math.floor(from), Math.ceil(to)].map((power) => factor * 10 ** power))
        .filter((value) => value >= 10 ** from && value <= 10 ** to).sort((a, b) => a - b)
        .map((value) => ({ value, text: number(value) }));
    }
  } else {
    let { ticks: values, step } = roundTicks(from, to, count);
    if (integers && step < 1) ({ ticks: values, step } = { ticks: values.filter(Number.isInteger), step: 1 });
    ticks = values.map((value) => ({ value, text: tickText(value, step, asPercent) }));
  }
  return { place, inverse, ticks, inside: (value) => { const at = forward(value); return at >= from - 1e-9 && at <= to + 1e-9; } };
}

// A frame in an `svg` that fills a width; the caller draws into `inner` with `x.place` and `y.place`.
function frame({ width, height, x, y, label }) {
  const size = { left: 58, right: 22, top: 12, bottom: 46 };
  const [right, bottom] = [width - size.right, height - size.bottom];
  const yScale = scaleOf(y.values, [bottom, size.top], { count: 5, ...y });
  // Room for the longest tick and, beside it, the axis's name.
  size.left = 34 + 7.4 * yScale.ticks.reduce((most, { text }) => Math.max(most, text.length), 2);
  const xScale = scaleOf(x.values, [size.left, right], { count: Math.max(3, Math.floor(width / 90)), ...x });
  const clip = `clip-${frame.next = (frame.next || 0) + 1}`;
  const inner = drawn("g", { "clip-path": `url(#${clip})` });
  const svg = drawn("svg", { width, height, viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    drawn("clipPath", { id: clip }, drawn("rect", { x: size.left - 6, y: size.top - 6, width: right - size.left + 12, height: bottom - size.top + 12 })),
    yScale.ticks.map(({ value, text }) => [
      drawn("line", { class: "grid", x1: size.left, x2: right, y1: yScale.place(value), y2: yScale.place(value) }),
      drawn("text", { class: "tick", x: size.left - 8, y: yScale.place(value), "text-anchor": "end", "dominant-baseline": "middle" }, text),
    ]),
    xScale.ticks.map(({ value, text }) => [
      drawn("line", { class: "grid", x1: xScale.place(value), x2: xScale.place(value), y1: size.top, y2: bottom }),
      drawn("text", { class: "tick", x: xScale.place(value), y: bottom + 17, "text-anchor": "middle" }, text),
    ]),
    drawn("text", { class: "axis", x: (size.left + right) / 2, y: height - 6, "text-anchor": "middle" }, x.label),
    drawn("text", { class: "axis", transform: `translate(13 ${(size.top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, y.label),
    inner);
  return { svg, inner, x: xScale, y: yScale, left: size.left, right, top: size.top, bottom };
}
