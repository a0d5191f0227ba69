// The points of a map: where they are on the screen, which one is near, and their drawing.

class MapPoints {
  constructor(x, y) {
    this.count = x.length;
    const bounds = (values) => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
    const [[left, right], [bottom, top]] = [bounds(x), bounds(y)];
    const reach = Math.max(right - left, top - bottom) || 1;
    // Both directions have one scale; up is up.
    this.x = Float32Array.from(x, (value) => (value - (left + right) / 2) / reach);
    this.y = Float32Array.from(y, (value) => ((top + bottom) / 2 - value) / reach);
    this.bounds = [-(right - left) / (2 * reach), (right - left) / (2 * reach), -(top - bottom) / (2 * reach), (top - bottom) / (2 * reach)];
    this.findCore();
    this.shown = new Uint8Array(this.count).fill(1);
    this.category = new Uint16Array(this.count);
    this.order = Uint32Array.from({ length: this.count }, (_, index) => index);
    this.buildGrid();
  }

  // Where all points are but a few that lie far from the others: a view that shows those would show little else.
  findCore() {
    const inner = (values, [low, high]) => {
      const sorted = Float32Array.from(values).sort();
      const at = (share) => sorted[Math.min(sorted.length - 1, Math.round(share * (sorted.length - 1)))];
      const [first, last] = [at(0.02), at(0.98)];
      const reach = 0.35 * (last - first);
      return [Math.max(low, first - reach), Math.min(high, last + reach)];
    };
    const [left, right, top, bottom] = this.bounds;
    const [core, all] = [[...inner(this.x, [left, right]), ...inner(this.y, [top, bottom])], this.bounds];
    const area = ([a, b, c, d]) => (b - a) * (d - c);
    const outside = this.x.reduce((count, x, at) => count + (x < core[0] || x > core[1] || this.y[at] < core[2] || this.y[at] > core[3]), 0);
    // Where little would be gained, everything is shown.
    const rules = this.count >= 30 && outside > 0 && area(core) < 0.6 * area(all);
    [this.core, this.far] = rules ? [core, outside] : [all, 0];
  }

  // Points by cells of a square grid, as a counting sort leaves them.
  buildGrid() {
    this.side = Math.max(1, Math.round(Math.sqrt(this.count / 4)));
    const cell = (index) => this.cellOf(this.x[index]) + this.side * this.cellOf(this.y[index]);
    this.starts = new Uint32Array(this.side ** 2 + 1);
    for (let index = 0; index < this.count; index += 1) this.starts[cell(index) + 1] += 1;
    for (let at = 0; at < this.side ** 2; at += 1) this.starts[at + 1] += this.starts[at];
    const next = this.starts.slice();
    this.members = new Uint32Array(this.count);
    for (let index = 0; index < this.count; index += 1) this.members[next[cell(index)]++] = index;
  }

  cellOf(value) {
    return Math.max(0, Math.min(this.side - 1, Math.floor((value + 0.5) * this.side)));
  }

  // The shown point nearest to a place, no further than `reach`; -1 if there is none.
  nearest(x, y, reach) {
    let [best, distance] = [-1, reach ** 2];
    for (let row = this.cellOf(y - reach); row <= this.cellOf(y + reach); row += 1) {
      for (let column = this.cellOf(x - reach); column <= this.cellOf(x + reach); column += 1) {
        const cell = row * this.side + column;
        for (let at = this.starts[cell]; at < this.starts[cell + 1]; at += 1) {
          const index = this.members[at];
          const away = (this.x[index] - x) ** 2 + (this.y[index] - y) ** 2;
          if (this.shown[index] && away <= distance) [best, distance] = [index, away];
        }
      }
    }
    return best;
  }

  // The shown point nearest in a direction: within 45 degrees of it, and the further aside the worse.
  towards(from, dx, dy) {
    let [best, cost] = [-1, Infinity];
    for (let index = 0; index < this.count; index += 1) {
      if (!this.shown[index] || index === from) continue;
      const [ahead, aside] = [(this.x[index] - this.x[from]) * dx + (this.y[index] - this.y[from]) * dy,
        Math.abs((this.x[index] - this.x[from]) * dy - (this.y[index] - this.y[from]) * dx)];
      if (ahead <= 0 || aside > ahead) continue;
      if (ahead + 2 * aside < cost) [best, cost] = [index, ahead + 2 * aside];
    }
    return best;
  }

  // Gives every point a category; points of one category are drawn one after the other.
  categorise(categories) {
    this.category.set(categories);
    const starts = new Uint32Array(65537);
    for (const category of this.category) starts[category + 1] += 1;
    for (let at = 0; at < 65536; at += 1) starts[at + 1] += starts[at];
    for (let index = 0; index < this.count; index += 1) this.order[starts[this.category[index]]++] = index;
  }

  // Draws the shown points with a stamp for each category. Pixels are written straight into memory: a browser without a
  // graphics card draws ten thousand small pictures much more slowly.
  draw(pen, view, width, height, stamps) {
    if (!this.image || this.image.width !== width || this.image.height !== height) {
      this.image = pen.createImageData(width, height);
      this.pixels = new Uint32Array(this.image.data.buffer);
    }
    const { pixels, x, y, shown, category, order } = this;
    pixels.fill(0);
    for (let at = 0; at < this.count; at += 1) {
      const index = order[at];
      if (!shown[index]) continue;
      const stamp = stamps[category[index]];
      const left = Math.round(x[index] * view.scale + view.x) - stamp.half;
      const top = Math.round(y[index] * view.scale + view.y) - stamp.half;
      if (left < 0 || top < 0 || left + stamp.side > width || top + stamp.side > height) continue;
      const start = top * width + left;
      const { columns, rows, colors } = stamp;
      for (let each = 0; each < colors.length; each += 1) {
        const place = start + rows[each] * width + columns[each];
        const color = colors[each];
        pixels[place] = color >>> 24 === 255 || pixels[place] === 0 ? color : mixed(color, pixels[place]);
      }
    }
    pen.putImageData(this.image, 0, 0);
  }
}

// One color over another that is opaque, each 0xAABBGGRR.
function mixed(over, under) {
  const share = (over >>> 24) / 255;
  const channel = (shift) => ((((over >>> shift) & 255) * share + ((under >>> shift) & 255) * (1 - share)) & 255) << shift;
  return (channel(0) | channel(8) | channel(16) | (Math.max(over >>> 24, under >>> 24) << 24)) >>> 0;
}

// The pixels of a drawing of `side` by `side` pixels that are not empty.
function stampOf(pen, side) {
  const source = new Uint32Array(pen.getImageData(0, 0, side, side).data.buffer);
  const filled = [...source.keys()].filter((at) => source[at] >>> 24 > 12);
  return {
    side, half: side >> 1,
    columns: Uint16Array.from(filled, (at) => at % side), rows: Uint16Array.from(filled, (at) => Math.floor(at / side)),
    colors: Uint32Array.from(filled, (at) => source[at]),
  };
}
