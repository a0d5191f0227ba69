//! The transforms of F(4×4, 3×3): a tile of 6×6 source pixels, a window of 3×3 weights, and 4×4
//! results meet as 36 numbers each (Lavin and Gray 2016, arXiv 1509.09308, section 4.3).

use std::mem::MaybeUninit;

use pulp::Simd;

/// Results along a side of a tile.
pub(super) const RESULTS: usize = 4;
/// Weights along a side of the window.
pub(super) const TAPS: usize = 3;
/// Source pixels along a side of a tile.
pub(super) const PIXELS: usize = RESULTS + TAPS - 1;
/// Products to a tile, one for each of its frequencies.
pub(super) const FREQUENCIES: usize = PIXELS * PIXELS;

/// The one-dimensional transforms on vectors of channels.
#[derive(Clone, Copy)]
pub(super) struct Transform<S: Simd>(pub S);

impl<S: Simd> Transform<S> {
    #[inline(always)]
    fn add(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.add_f32s(a, b)
    }

    #[inline(always)]
    fn subtract(self, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.sub_f32s(a, b)
    }

    #[inline(always)]
    fn times(self, factor: f32, a: S::f32s) -> S::f32s {
        self.0.mul_f32s(self.0.splat_f32s(factor), a)
    }

    /// `factor · a + b`.
    #[inline(always)]
    fn times_plus(self, factor: f32, a: S::f32s, b: S::f32s) -> S::f32s {
        self.0.mul_add_e_f32s(self.0.splat_f32s(factor), a, b)
    }

    /// `Bᵀ`, of a source.
    #[inline(always)]
    pub fn source(self, d: [S::f32s; PIXELS]) -> [S::f32s; PIXELS] {
        let (even, odd) = (self.times_plus(-4.0, d[2], d[4]), self.times_plus(-4.0, d[1], d[3]));
        let (wide_even, wide_odd) = (self.subtract(d[4], d[2]), self.subtract(d[3], d[1]));
        [
            self.times_plus(4.0, d[0], self.times_plus(-5.0, d[2], d[4])),
            self.add(even, odd),
            self.subtract(even, odd),
            self.times_plus(2.0, wide_odd, wide_even),
            self.times_plus(-2.0, wide_odd, wide_even),
            self.times_plus(4.0, d[1], self.times_plus(-5.0, d[3], d[5])),
        ]
    }

    /// `G`, of weights.
    #[inline(always)]
    pub fn weights(self, w: [S::f32s; TAPS]) -> [S::f32s; PIXELS] {
        let even = self.times(-1.0 / 6.0, self.add(w[0], w[2]));
        let odd = self.times(-1.0 / 6.0, w[1]);
        let wide_even = self.times_plus(1.0 / 24.0, w[0], self.times(1.0 / 6.0, w[2]));
        let wide_odd = self.times(1.0 / 12.0, w[1]);
        [
            self.times(0.25, w[0]),
            self.add(even, odd),
            self.subtract(even, odd),
            self.add(wide_even, wide_odd),
            self.subtract(wide_even, wide_odd),
            w[2],
        ]
    }

    /// `Aᵀ`, of products.
    #[inline(always)]
    pub fn results(self, m: [S::f32s; PIXELS]) -> [S::f32s; RESULTS] {
        let (even, odd) = (self.add(m[1], m[2]), self.subtract(m[1], m[2]));
        let (wide_even, wide_odd) = (self.add(m[3], m[4]), self.subtract(m[3], m[4]));
        [
            self.add(self.add(m[0], even), wide_even),
            self.times_plus(2.0, wide_odd, odd),
            self.times_plus(4.0, wide_even, even),
            self.add(self.times_plus(8.0, wide_odd, odd), m[5]),
        ]
    }

    /// `A`, of the results' gradients.
    #[inline(always)]
    pub fn result_gradients(self, y: [S::f32s; RESULTS]) -> [S::f32s; PIXELS] {
        let (even, odd) = (self.add(y[0], y[2]), self.add(y[1], y[3]));
        let wide_even = self.times_plus(4.0, y[2], y[0]);
        let wide_odd = self.times_plus(8.0, y[3], self.times(2.0, y[1]));
        [
            y[0],
            self.add(even, odd),
            self.subtract(even, odd),
            self.add(wide_even, wide_odd),
            self.subtract(wide_even, wide_odd),
            y[3],
        ]
    }

    /// `Gᵀ`, of the products' gradients.
    #[inline(always)]
    pub fn weight_gradients(self, m: [S::f32s; PIXELS]) -> [S::f32s; TAPS] {
        let (even, odd) = (self.add(m[1], m[2]), self.subtract(m[1], m[2]));
        let (wide_even, wide_odd) = (self.add(m[3], m[4]), self.subtract(m[3], m[4]));
        let small_even = self.times(-1.0 / 6.0, even);
        [
            self.times_plus(0.25, m[0], self.times_plus(1.0 / 24.0, wide_even, small_even)),
            self.times_plus(1.0 / 12.0, wide_odd, self.times(-1.0 / 6.0, odd)),
            self.add(self.times_plus(1.0 / 6.0, wide_even, small_even), m[5]),
        ]
    }
}

/// A transform along both directions of a square, from where its numbers are to where they go. The closures have to be
/// `#[inline(always)]`: one that is not inlined would be compiled for the narrowest vectors.
#[inline(always)]
pub(super) fn both<V: Copy, const FROM: usize, const TO: usize>(
    load: impl Fn(usize, usize) -> V,
    one: impl Fn([V; FROM]) -> [V; TO],
    mut store: impl FnMut(usize, usize, V),
) {
    // Not cleared first: that would take as long as the transform.
    let mut lines = [const { MaybeUninit::<[V; TO]>::uninit() }; FROM];
    for (number, line) in lines.iter_mut().enumerate() {
        let mut from = [load(number, 0); FROM];
        for (column, value) in from.iter_mut().enumerate().skip(1) {
            *value = load(number, column);
        }
        line.write(one(from));
    }
    // SAFETY: the loop above has written every line.
    let lines = lines.each_ref().map(
        #[inline(always)]
        |line| unsafe { line.assume_init_ref() },
    );
    for column in 0..TO {
        let mut from = [lines[0][column]; FROM];
        for (value, line) in from.iter_mut().zip(lines).skip(1) {
            *value = line[column];
        }
        for (line, value) in one(from).into_iter().enumerate() {
            store(line, column, value);
        }
    }
}
