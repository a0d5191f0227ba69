//! Stochastic gradient descent of the layout (McInnes et al. 2018, section 3.2 and algorithm 5; `umap-learn`'s
//! `optimize_layout_euclidean`): along an edge as often as its weight says, and away from images drawn at random.
//!
//! In a part of an epoch every image moves among the places that the others had at its beginning, where the reference
//! implementation moves one image after another. So images can be moved by several threads and, within one, side by side
//! in vector registers, and neither changes the result.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use retune_kernels::dispatch;

use super::graph::Graph;

/// Images drawn for each step along an edge.
pub(super) const DRAWS: usize = 5;
/// Parts of an epoch.
const PARTS: usize = 8;
/// Images that are moved side by side.
const LANES: usize = 16;
/// Images that one thread moves at a time.
const BLOCK: usize = 512;
/// The largest movement along an axis, in units of the learning rate.
pub(super) const LARGEST: f64 = 4.0;
/// Added to squared distances, so that images on the same place do not fly apart.
pub(super) const NEAREST: f64 = 0.001;

type Place = [f32; 2];

/// The curve `1 / (1 + a d²ᵇ)` and the number of passes over the graph.
#[derive(Clone, Copy)]
pub(super) struct Descent {
    pub a: f32,
    pub b: f32,
    pub epochs: usize,
    pub seed: u64,
}

impl Descent {
    /// Moves the places of the images.
    pub fn run(self, layout: &mut [Place], graph: &Graph) {
        let strongest = graph.iter().flatten().map(|&(_, weight)| weight).fold(0.0, f32::max);
        let mut blocks: Vec<Block> = graph.chunks(BLOCK).map(|graph| Block::new(graph, strongest)).collect();
        let mut before = layout.to_vec();
        for step in 0..self.epochs * PARTS {
            let (epoch, part) = (step / PARTS, step % PARTS);
            before.copy_from_slice(layout);
            layout.par_chunks_mut(BLOCK).zip(&mut blocks).enumerate().for_each(|(number, (places, block))| {
                if part == 0 {
                    block.find_due(epoch as f32);
                }
                let first = number * BLOCK;
                let key =
                    retune_random::hash(&[self.seed, epoch as u64, first as u64].map(u64::to_le_bytes).concat()) as u32;
                let rate = 1.0 - epoch as f32 / self.epochs as f32;
                let due = block.due_in(part);
                dispatch(Part { descent: self, rate, key, first, places, before: &before, block, due });
            });
        }
    }
}

/// The edges of some images that follow one another: every image's first, then every one's second, and so on, so that
/// edges in a row mostly start at different images.
struct Block {
    /// The image that an edge starts at, counted within the block, and the one that it leads to.
    ends: Vec<(u32, u32)>,
    /// Epochs between two steps along an edge.
    intervals: Vec<f32>,
    /// When an edge is next followed.
    next: Vec<f32>,
    /// The edges to follow in this epoch; the rest of it is of no meaning.
    due: Vec<u32>,
    due_count: usize,
}

impl Block {
    fn new(graph: &[Vec<(usize, f32)>], strongest: f32) -> Self {
        let most = graph.iter().map(Vec::len).max().unwrap_or(0);
        let of_rank =
            |rank: usize| graph.iter().enumerate().filter_map(move |(from, edges)| Some((from, *edges.get(rank)?)));
        let (ends, intervals): (Vec<(u32, u32)>, Vec<f32>) = (0..most)
            .flat_map(of_rank)
            .filter(|(_, (_, weight))| *weight > 0.0)
            .map(|(from, (to, weight))| ((from as u32, to as u32), strongest / weight))
            .unzip();
        Self { next: intervals.clone(), due: vec![0; ends.len()], due_count: 0, ends, intervals }
    }

    /// The edges to follow in a part of the epoch.
    fn due_in(&self, part: usize) -> &[u32] {
        &self.due[self.due_count * part / PARTS..self.due_count * (part + 1) / PARTS]
    }

    /// Finds the edges that an epoch follows; without branches, which would be mispredicted as often as not.
    fn find_due(&mut self, now: f32) {
        self.due_count = 0;
        for (edge, (next, interval)) in self.next.iter_mut().zip(&self.intervals).enumerate() {
            let is_due = *next <= now;
            self.due[self.due_count] = edge as u32;
            self.due_count += usize::from(is_due);
            *next += if is_due { *interval } else { 0.0 };
        }
    }
}

/// A part of an epoch of a block's images.
struct Part<'a> {
    descent: Descent,
    rate: f32,
    /// What the epoch's draws of the block start from.
    key: u32,
    /// The number of the block's first image among all.
    first: usize,
    places: &'a mut [Place],
    /// All images' places at the beginning of the part.
    before: &'a [Place],
    block: &'a Block,
    /// The edges to follow.
    due: &'a [u32],
}

impl WithSimd for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self { descent, rate, key, first: first_image, places, before, block, due: mut rest } = self;
        while let Some(&first) = rest.first() {
            // Each lane moves another image: the next ones that start at ever later images.
            let mut lanes = Lanes { from: [0; LANES], to: [0; LANES], edge: [first; LANES], count: 0 };
            for &edge in rest.iter().take(LANES) {
                let (from, to) = block.ends[edge as usize];
                if lanes.count > 0 && from as usize <= lanes.from[lanes.count - 1] {
                    break;
                }
                (lanes.from[lanes.count], lanes.to[lanes.count]) = (from as usize, to as usize);
                lanes.edge[lanes.count] = edge;
                lanes.count += 1;
            }
            follow(descent, rate, key, first_image, &lanes, places, before);
            rest = &rest[lanes.count..];
        }
    }
}

/// Edges from different images that are followed side by side; lanes from `count` on are idle.
struct Lanes {
    from: [usize; LANES],
    to: [usize; LANES],
    edge: [u32; LANES],
    count: usize,
}

// Loops over lanes, not closures: those that are not inlined would be compiled for the narrowest vectors.
#[inline(always)]
fn follow(
    descent: Descent,
    rate: f32,
    key: u32,
    first_image: usize,
    lanes: &Lanes,
    places: &mut [Place],
    before: &[Place],
) {
    let (mut x, mut y) = ([0.0f32; LANES], [0.0f32; LANES]);
    let (mut other_x, mut other_y) = ([0.0f32; LANES], [0.0f32; LANES]);
    for lane in 0..LANES {
        [x[lane], y[lane]] = places[lanes.from[lane]];
        [other_x[lane], other_y[lane]] = before[lanes.to[lane]];
    }
    // The graph has each edge both ways, and either moves both ends: one end of the two is moved here, twice.
    attract(descent, rate, &mut x, &mut y, &other_x, &other_y);
    for number in 0..DRAWS as u32 {
        let mut draws = [0u32; LANES];
        for (drawn, &edge) in draws.iter_mut().zip(&lanes.edge) {
            let place = edge.wrapping_mul(DRAWS as u32).wrapping_add(number);
            *drawn = draw(key.wrapping_add(place), before.len() as u32);
        }
        for lane in 0..LANES {
            let drawn = draws[lane] as usize;
            // An image is not moved away from itself.
            let is_itself = drawn == first_image + lanes.from[lane];
            [other_x[lane], other_y[lane]] = if is_itself { [x[lane], y[lane]] } else { before[drawn] };
        }
        repel(descent, rate, &mut x, &mut y, &other_x, &other_y);
    }
    for lane in 0..LANES {
        [other_x[lane], other_y[lane]] = before[lanes.to[lane]];
    }
    attract(descent, rate, &mut x, &mut y, &other_x, &other_y);
    for lane in 0..lanes.count {
        places[lanes.from[lane]] = [x[lane], y[lane]];
    }
}

type Axis = [f32; LANES];

#[inline(always)]
fn attract(descent: Descent, rate: f32, x: &mut Axis, y: &mut Axis, other_x: &Axis, other_y: &Axis) {
    for lane in 0..LANES {
        let (dx, dy) = (x[lane] - other_x[lane], y[lane] - other_y[lane]);
        // At the same place there is no direction: the smallest normal number divides 0 to 0.
        let square = (dx * dx + dy * dy).max(f32::MIN_POSITIVE);
        let power = power(square, descent.b);
        let factor = -2.0 * descent.a * descent.b * power / (square * (1.0 + descent.a * power));
        x[lane] += limited(factor * dx) * rate;
        y[lane] += limited(factor * dy) * rate;
    }
}

#[inline(always)]
fn repel(descent: Descent, rate: f32, x: &mut Axis, y: &mut Axis, other_x: &Axis, other_y: &Axis) {
    for lane in 0..LANES {
        let (dx, dy) = (x[lane] - other_x[lane], y[lane] - other_y[lane]);
        let square = dx * dx + dy * dy + NEAREST as f32;
        let power = power(square, descent.b);
        let factor = 2.0 * descent.b / (square * (1.0 + descent.a * power));
        x[lane] += limited(factor * dx) * rate;
        y[lane] += limited(factor * dy) * rate;
    }
}

#[inline(always)]
fn limited(step: f32) -> f32 {
    step.clamp(-LARGEST as f32, LARGEST as f32)
}

/// An image at random: a number's bits mixed (the finalizer of Appleby's MurmurHash3), then stretched over the images.
#[inline(always)]
fn draw(number: u32, images: u32) -> u32 {
    let mut bits = number;
    bits = (bits ^ (bits >> 16)).wrapping_mul(0x85EB_CA6B);
    bits = (bits ^ (bits >> 13)).wrapping_mul(0xC2B2_AE35);
    bits ^= bits >> 16;
    ((u64::from(bits) * u64::from(images)) >> 32) as u32
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
        (0..10_000).for_each(|number| counts[draw(5 + number, 10) as usize] += 1);
        // Of a binomial distribution with mean 1,000 and deviation 30.
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }
}
