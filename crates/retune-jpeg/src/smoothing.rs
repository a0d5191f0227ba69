//! What libjpeg guesses where a progressive image lacks scans: AC coefficients of low frequency, from the DC
//! coefficients around ("block smoothing", after T.81, K.8, with a window of 5 × 5 blocks).

use crate::frame::{Block, Frame};
use crate::progressive::{Progress, UNKNOWN};

/// The guessed coefficients, by row and column, in zigzag order.
const POSITIONS: [usize; 10] = [0, 1, 8, 16, 9, 2, 3, 10, 17, 24];

/// How the DC coefficients around a block weigh in a coefficient, in rows of a 5 × 5 window; the sum is in units of
/// 1/256.
type Weights = [[i32; 5]; 5];

/// Weights where no AC coefficient is known at all, by zigzag order.
#[rustfmt::skip]
const ALONE: [Weights; 10] = [
    [[-2, -6, -8, -6, -2], [-6, 6, 42, 6, -6], [-8, 42, 152, 42, -8], [-6, 6, 42, 6, -6], [-2, -6, -8, -6, -2]],
    [[-1, -1, 0, 1, 1], [-3, 13, 0, -13, 3], [-3, 38, 0, -38, 3], [-3, 13, 0, -13, 3], [-1, -1, 0, 1, 1]],
    [[-1, -3, -3, -3, -1], [-1, 13, 38, 13, -1], [0; 5], [1, -13, -38, -13, 1], [1, 3, 3, 3, 1]],
    [[0, 0, 1, 0, 0], [0, 2, 7, 2, 0], [0, -5, -14, -5, 0], [0, 2, 7, 2, 0], [0, 0, 1, 0, 0]],
    [[-1, 0, 0, 0, 1], [0, 9, 0, -9, 0], [0; 5], [0, -9, 0, 9, 0], [1, 0, 0, 0, -1]],
    [[0; 5], [0, 2, -5, 2, 0], [1, 7, -14, 7, 1], [0, 2, -5, 2, 0], [0; 5]],
    [[0; 5], [0, 1, 0, -1, 0], [0, 2, 0, -2, 0], [0, 1, 0, -1, 0], [0; 5]],
    [[0; 5], [0, 1, -3, 1, 0], [0; 5], [0, -1, 3, -1, 0], [0; 5]],
    [[0; 5], [0, 1, 0, -1, 0], [0, -3, 0, 3, 0], [0, 1, 0, -1, 0], [0; 5]],
    [[0; 5], [0, 1, 2, 1, 0], [0; 5], [0, -1, -2, -1, 0], [0; 5]],
];

/// Weights of the coefficients 1 to 5 where some AC coefficients are known.
#[rustfmt::skip]
const BESIDE_OTHERS: [Weights; 5] = [
    [[0; 5], [0; 5], [-7, 50, 0, -50, 7], [0; 5], [0; 5]],
    [[0, 0, -7, 0, 0], [0, 0, 50, 0, 0], [0; 5], [0, 0, -50, 0, 0], [0, 0, 7, 0, 0]],
    [[0, 0, -1, 0, 0], [0, 0, 13, 0, 0], [0, 0, -24, 0, 0], [0, 0, 13, 0, 0], [0, 0, -1, 0, 0]],
    [[0, -1, 0, 1, 0], [-1, 10, 0, -10, 1], [0; 5], [1, -10, 0, 10, -1], [0, 1, 0, -1, 0]],
    [[0; 5], [0; 5], [-1, 13, -24, 13, -1], [0; 5], [0; 5]],
];

/// What is known of the first ten coefficients of each component: by how many bits they are shifted, or [`UNKNOWN`].
pub(crate) struct Smoothing {
    known: Vec<[i32; 10]>,
    /// The same before the last scan, for strips that this scan did not reach.
    before: Vec<[i32; 10]>,
    last_strip: usize,
}

impl Smoothing {
    /// `None` where nothing is missing, and where so much is that libjpeg does not guess. `last_strip` is the last row
    /// of MCUs that the last scan reached.
    pub fn new(frame: &Frame, progress: &Progress, last_strip: usize) -> Option<Self> {
        if !frame.coding.progressive {
            return None;
        }
        let scaled = frame.components.iter().all(|component| {
            component.quantization.is_some_and(|table| POSITIONS.iter().all(|position| table[*position] != 0))
        });
        let first_ten = |shifts: &[i32; 64]| std::array::from_fn(|k| shifts[k]);
        let known: Vec<[i32; 10]> = progress.components.iter().map(|one| first_ten(&one.shifts)).collect();
        let dc = known.iter().all(|shifts| shifts[0] != UNKNOWN);
        let useful = known.iter().any(|shifts| shifts[1..].iter().any(|shift| *shift != 0));
        let before = progress.components.iter().map(|one| if progress.scans > 1 { one.before } else { [UNKNOWN; 10] });
        (scaled && dc && useful).then(|| Smoothing { known, before: before.collect(), last_strip })
    }

    /// The coefficients with guesses in place of what is missing.
    pub fn apply(&self, frame: &Frame, coefficients: &[Vec<Block>]) -> Vec<Vec<Block>> {
        let mut smoothed = coefficients.to_vec();
        for (n, component) in frame.components.iter().enumerate() {
            let scale = component.quantization.unwrap_or([1; 64]);
            let (stride, blocks) = (component.padded_wide, &coefficients[n]);
            for strip in 0..frame.mcus_high {
                let last = strip + 1 == frame.mcus_high;
                let rows = if last { component.blocks_high - strip * component.vertical } else { component.vertical };
                let known = if strip > self.last_strip { &self.before[n] } else { &self.known[n] };
                for y in 0..rows {
                    let row = strip * component.vertical + y;
                    let around = rows_around(row, strip * rows + y, rows * frame.mcus_high);
                    for x in 0..component.blocks_wide {
                        let columns: [usize; 5] =
                            std::array::from_fn(|n| (x + n).saturating_sub(2).min(component.blocks_wide - 1));
                        let dc = around.map(|row| columns.map(|column| i32::from(blocks[row * stride + column][0])));
                        guess(&mut smoothed[n][row * stride + x], &dc, &scale, known);
                    }
                }
            }
        }
        smoothed
    }
}

/// The two rows of blocks above and below a row, or the nearest that there are. libjpeg counts rows by `index` of
/// `count`, which in the last strip may be fewer than the image has, and then leaves out more.
fn rows_around(row: usize, index: usize, count: usize) -> [usize; 5] {
    let above = if index > 0 { row - 1 } else { row };
    let twice_above = if index > 1 { row - 2 } else { above };
    let below = if index + 1 < count { row + 1 } else { row };
    let twice_below = if index + 2 < count { row + 2 } else { below };
    [twice_above, above, row, below, twice_below]
}

/// Fills in coefficients of one block that are 0 and not known to be so.
fn guess(block: &mut Block, dc: &Weights, scale: &Block, known: &[i32; 10]) {
    let alone = known[1..] == [UNKNOWN; 9];
    let quantization = |position: usize| i64::from(scale[position] as u16);
    let estimate = |weights: &Weights, position: usize| {
        let products = weights.iter().flatten().zip(dc.iter().flatten()).map(|(weight, dc)| weight * dc);
        let value = quantization(0) * i64::from(products.sum::<i32>());
        let step = quantization(position);
        let magnitude = ((step << 7) + value.abs()) / (step << 8);
        (magnitude as i32, value < 0)
    };
    let count = if alone { 10 } else { 6 };
    for k in 1..count {
        let position = POSITIONS[k];
        if known[k] == 0 || block[position] != 0 {
            continue;
        }
        let weights = if alone { &ALONE[k] } else { &BESIDE_OTHERS[k - 1] };
        let (mut magnitude, negative) = estimate(weights, position);
        // A coefficient of which the upper bits are known to be 0 has none of them.
        if known[k] > 0 {
            magnitude = magnitude.min((1 << known[k]) - 1);
        }
        block[position] = if negative { -magnitude } else { magnitude } as i16;
    }
    if alone {
        let (magnitude, negative) = estimate(&ALONE[0], 0);
        block[0] = if negative { -magnitude } else { magnitude } as i16;
    }
}
