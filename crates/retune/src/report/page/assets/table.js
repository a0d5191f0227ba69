// Rows that sort by a click on a heading.

// Letters from which on the text of a cell is prose, and those that always stay in one piece.
const LONG_CELL = 48;
const PIECE = 18;
// Columns from which on a table has small letters on paper.
const MANY_COLUMNS = 10;

// The text of a cell: where it has to, it breaks before a parenthesis, as in "94.9 % (74.3–99.2)".
const cellText = (text) => (text.length > LONG_CELL ? [prose(text)] : text.split(/ (?=\()/).flatMap((piece, index) =>
  [index ? " " : "", element("span", { class: piece.length > PIECE ? "loose" : "piece" }, prose(piece))]));

function drawTable(view) {
  const body = element("tbody");
  const bar = ([low, high], value) => element("span", { class: "interval", "aria-hidden": "true" },
    element("i", { style: `left:${100 * low}%;width:${Math.max(100 * (high - low), 0.5)}%` }),
    element("b", { style: `left:${100 * value}%` }));
  const cellOf = (cell, index) => {
    const { number: isNumber } = view.columns[index];
    const mark = { best: ["●", "best"], tied: ["○", "not significantly worse than the best"] }[cell.mark];
    return element(index === 0 ? "th" : "td", { class: [isNumber && "number", cell.text.length > LONG_CELL && "long", cell.mark].filter(Boolean).join(" ") || null, scope: index === 0 ? "row" : null },
      mark ? element("span", { class: "mark", title: mark[1], "aria-label": mark[1], role: "img" }, mark[0]) : null,
      cellText(cell.text), cell.interval ? bar(cell.interval, cell.value) : null);
  };
  const rows = view.rows.map((cells) => ({ cells, row: element("tr", {}, cells.map(cellOf)) }));
  const key = (cell) => (cell.value === null ? cell.text : cell.value);
  const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b
    : typeof a === "number" ? -1 : typeof b === "number" ? 1 : String(a).localeCompare(String(b)));
  const heads = view.columns.map(({ heading, number: isNumber }, index) => {
    const head = element("th", { scope: "col", class: isNumber ? "number" : null });
    const sort = () => {
      // Numbers first from the largest, names first from the beginning of the alphabet.
      const before = head.getAttribute("aria-sort");
      const ascending = before ? before === "descending" : !isNumber;
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const sorted = [...rows].sort((one, other) =>
        (ascending ? 1 : -1) * compare(key(one.cells[index]), key(other.cells[index])));
      body.replaceChildren(...sorted.map(({ row }) => row));
    };
    head.append(view.rows.length > 1
      ? element("button", { type: "button", onclick: sort, title: `Sort by ${heading}` }, heading) : heading);
    return head;
  });
  body.append(...rows.map(({ row }) => row));
  const scroll = element("div", { class: "scroll", tabindex: "0", role: "group", "aria-label": "Table" },
    element("table", { class: view.columns.length >= MANY_COLUMNS ? "many" : null }, element("thead", {}, element("tr", {}, heads)), body));
  const hint = element("p", { class: "hint", hidden: true }, "Scroll sideways for more columns →");
  const measure = () => {
    const more = scroll.scrollWidth > scroll.clientWidth + 1;
    scroll.classList.toggle("more", more && scroll.scrollLeft + scroll.clientWidth < scroll.scrollWidth - 1);
    scroll.classList.toggle("wide", more);
    hint.hidden = !more;
  };
  whenResized(scroll, measure);
  scroll.addEventListener("scroll", measure, { passive: true });
  return element("div", {}, hint, element("div", { class: "fade" }, scroll),
    view.caption ? element("p", { class: "caption" }, prose(view.caption)) : null);
}

const drawText = (view) => {
  const copy = element("button", { type: "button", class: "copy", onclick: async () => {
    try {
      await navigator.clipboard.writeText(view.text.replace(/[\u2068\u2069]/g, ""));
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      copy.textContent = "Selected";
    }
    setTimeout(() => { copy.textContent = "Copy"; }, 1500);
  } }, "Copy");
  const words = view.text.trimEnd();
  // A command breaks between its words alone, so that no option is taken apart at a hyphen.
  const text = element("pre", { tabindex: "0" }, view.words ? words.split(" ").flatMap((word, index) => [index ? " " : "", element("span", {}, document.createTextNode(word))]) : words);
  return element("div", { class: view.words ? "text words" : "text" }, copy, text);
};
