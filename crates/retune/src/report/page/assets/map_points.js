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
    this.ratio = (right - left) / (top - bottom || 1);
    this.shown = new Uint8Array(this.count).fill(1);
    this.category = new Uint16Array(this.count);
    this.order = Uint32Array.from({ length: this.count }, (_, index) => index);
    this.buildGrid();
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

  // Draws the shown points with a sprite for each category.
  draw(pen, view, width, height, sprites) {
    for (let at = 0; at < this.count; at += 1) {
      const index = this.order[at];
      if (!this.shown[index]) continue;
      const sprite = sprites[this.category[index]];
      const half = sprite.width / 2;
      const [a, b] = [this.x[index] * view.scale + view.x - half, this.y[index] * view.scale + view.y - half];
      if (a > -sprite.width && b > -sprite.width && a < width && b < height) pen.drawImage(sprite, a | 0, b | 0);
    }
  }
}
