//! Stochastic gradient descent of the layout (McInnes et al. 2018, section 3.2 and algorithm 5; `umap-learn`'s
//! `optimize_layout_euclidean`): along an edge as often as its weight says, and away from images drawn at random.
//!
//! One step follows another, so that threads cannot change the result. The draws of one step are taken from where it
//! finds its image, not one after the other, and are computed side by side in vector registers.

use pulp::{Arch, Simd, WithSimd};

use super::graph::Graph;

/// Images drawn for each step along an edge.
const DRAWS: f32 = 5.0;
/// Draws that are computed side by side.
const LANES: usize = 8;
/// The largest movement along an axis, in units of the learning rate.
const LARGEST: f32 = 4.0;
/// Added to squared distances, so that images on the same place do not fly apart.
const NEAREST: f32 = 0.001;

/// The curve `1 / (1 + a d²ᵇ)` and the number of passes over the graph.
#[derive(Clone, Copy)]
pub(super) struct Descent {
    pub a: f32,
    pub b: f32,
    pub epochs: usize,
    pub seed: u64,
}

/// An edge, and when it is next followed.
struct Edge {
    from: u32,
    to: u32,
    /// Epochs between two steps.
    interval: f32,
    next: f32,
    next_draw: f32,
}

impl Descent {
    /// Moves the places of the images.
    pub fn run(self, layout: &mut [[f32; 2]], graph: &Graph) {
        let strongest = graph.iter().flatten().map(|&(_, weight)| weight).fold(0.0, f32::max);
        // Every image's first edge, then every one's second: a step need not wait for the one before it, which moves
        // another image.
        let most = graph.iter().map(Vec::len).max().unwrap_or(0);
        let of_rank =
            |rank: usize| graph.iter().enumerate().filter_map(move |(from, edges)| Some((from, *edges.get(rank)?)));
        let edges = (0..most).flat_map(of_rank).filter(|(_, (_, weight))| *weight > 0.0).map(|(from, (to, weight))| {
            let interval = strongest / weight;
            Edge { from: from as u32, to: to as u32, interval, next: interval, next_draw: interval / DRAWS }
        });
        Arch::new().dispatch(Steps { descent: self, layout, edges: edges.collect() });
    }
}

struct Steps<'a> {
    descent: Descent,
    layout: &'a mut [[f32; 2]],
    edges: Vec<Edge>,
}

impl WithSimd for Steps<'_> {
    type Output = ();

    // Loops over lanes, not closures: those that are not inlined would be compiled for the narrowest vectors.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { descent, layout, mut edges } = self;
        let mut drawn = 0;
        for epoch in 0..descent.epochs {
            let now = epoch as f32;
            let rate = 1.0 - now / descent.epochs as f32;
            for edge in &mut edges {
                if edge.next > now {
                    continue;
                }
                edge.next += edge.interval;
                let (from, to) = (edge.from as usize, edge.to as usize);
                attract(descent, layout, from, to, rate);
                let interval = edge.interval / DRAWS;
                let count = ((now - edge.next_draw) / interval).floor().max(0.0);
                edge.next_draw += count * interval;
                let mut left = count as usize;
                while left > 0 {
                    repel(descent, layout, from, left.min(LANES), drawn, rate);
                    drawn += LANES as u64;
                    left -= left.min(LANES);
                }
            }
        }
    }
}

#[inline(always)]
fn attract(descent: Descent, layout: &mut [[f32; 2]], from: usize, to: usize, rate: f32) {
    let ([x, y], [other_x, other_y]) = (layout[from], layout[to]);
    let (dx, dy) = (x - other_x, y - other_y);
    let square = dx * dx + dy * dy;
    if square <= 0.0 {
        return;
    }
    let power = power(square, descent.b);
    let factor = -2.0 * descent.a * descent.b * power / (square * (1.0 + descent.a * power));
    let step = [limited(factor * dx) * rate, limited(factor * dy) * rate];
    layout[from] = [x + step[0], y + step[1]];
    layout[to] = [other_x - step[0], other_y - step[1]];
}

/// Moves an image away from `count` others.
#[inline(always)]
fn repel(descent: Descent, layout: &mut [[f32; 2]], from: usize, count: usize, drawn: u64, rate: f32) {
    let [x, y] = layout[from];
    let (mut dx, mut dy, mut weights) = ([0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
    for lane in 0..LANES {
        let other = draw(descent.seed, drawn + lane as u64, layout.len());
        let [other_x, other_y] = layout[other];
        (dx[lane], dy[lane]) = (x - other_x, y - other_y);
        weights[lane] = if lane < count && other != from { 1.0 } else { 0.0 };
    }
    let (mut step_x, mut step_y) = ([0.0f32; LANES], [0.0f32; LANES]);
    for lane in 0..LANES {
        let square = dx[lane] * dx[lane] + dy[lane] * dy[lane];
        let power = power(square + NEAREST, descent.b);
        let factor = weights[lane] * 2.0 * descent.b / ((square + NEAREST) * (1.0 + descent.a * power));
        step_x[lane] = limited(factor * dx[lane]);
        step_y[lane] = limited(factor * dy[lane]);
    }
    let (mut sum_x, mut sum_y) = (0.0, 0.0);
    for lane in 0..LANES {
        sum_x += step_x[lane];
        sum_y += step_y[lane];
    }
    layout[from] = [x + rate * sum_x, y + rate * sum_y];
}

#[inline(always)]
fn limited(step: f32) -> f32 {
    step.clamp(-LARGEST, LARGEST)
}

/// An image at random: a number's bits mixed (Steele, Lea & Flood 2014, *Fast splittable pseudorandom number
/// generators*), of which the upper half is stretched over the images.
#[inline(always)]
fn draw(seed: u64, number: u64, images: usize) -> usize {
    let mut bits = number.wrapping_add(seed).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (((bits >> 32) * images as u64) >> 32) as usize
}

/// `xᵇ` for positive, finite `x`, to a few units of the last digit: the exponent's bits and a series of the logarithm of
/// the rest, and the way back.
#[inline(always)]
fn power(x: f32, b: f32) -> f32 {
    const UNITS: f32 = 12_582_912.0;
    let bits = x.to_bits();
    let exponent = (bits >> 23) as i32 - 127;
    let part = f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000);
    let above = part > std::f32::consts::SQRT_2;
    let (part, exponent) = (if above { 0.5 * part } else { part }, exponent + i32::from(above));
    // ln(part) = 2 artanh((part − 1) / (part + 1)), where the quotient is below 0.172.
    let t = (part - 1.0) / (part + 1.0);
    let t2 = t * t;
    let series = 1.0 + t2 * (1.0 / 3.0 + t2 * (1.0 / 5.0 + t2 * (1.0 / 7.0)));
    let binary = exponent as f32 + 2.0 * std::f32::consts::LOG2_E * t * series;
    let scaled = (b * binary).clamp(-126.0, 126.0);
    // A number so large that its last digit is a unit: the sum is rounded, and its last bits are the whole number. (A
    // conversion by `as` saturates, which the compiler does lane by lane.)
    let sum = scaled + UNITS;
    let whole = sum - UNITS;
    let rest = (scaled - whole) * std::f32::consts::LN_2;
    // The exponential's series, for a rest of at most 0.347.
    let tail = 1.0 / 120.0 + rest * (1.0 / 720.0);
    let series = 1.0 + rest * (1.0 + rest * (0.5 + rest * (1.0 / 6.0 + rest * (1.0 / 24.0 + rest * tail))));
    f32::from_bits(sum.to_bits().wrapping_add(127) << 23) * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_those_of_the_standard_library() {
        for step in 0..4000 {
            let x = 10f32.powf(-6.0 + step as f32 * 0.003);
            for b in [0.79, 0.895, 1.0, 1.33, 1.9] {
                let (found, expected) = (f64::from(power(x, b)), f64::from(x).powf(f64::from(b)));
                // The series leave out 1e-7; the exponent, up to 38, is rounded to 24 bits.
                assert!((found / expected - 1.0).abs() < 4e-6, "{x} to the {b}: {found} {expected}");
            }
        }
    }

    #[test]
    fn draws_cover_all_images_evenly() {
        let mut counts = [0; 10];
        (0..10_000).for_each(|number| counts[draw(5, number, 10)] += 1);
        // Of a binomial distribution with mean 1,000 and deviation 30.
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
