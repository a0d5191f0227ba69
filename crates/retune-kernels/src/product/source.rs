//! The source of a product in either precision.

use std::borrow::Cow;

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::bfloat16::{PairFactors, PairPanels, RoundedSource, Unit};
use super::{Destination, Epilogue, Gather, MatrixLayout, Panels, Scale, Threads, product};
#[cfg(target_arch = "x86_64")]
use super::{Output, Task};
use crate::precision::{Precision, rounded};
use crate::shared::SharedSlice;

/// Values that one task rounds.
const CHUNK: usize = 1 << 15;

/// Weights as they lie in memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weights<'a> {
    pub matrix: &'a [f32],
    pub layout: MatrixLayout,
    pub scale: Scale<'a>,
}

/// Where a product reads its rows, in the precision in which it multiplies them.
pub(crate) enum Source<'a> {
    /// As they are.
    Float32(&'a [f32]),
    /// Rounded to bfloat16, for a machine without its instructions.
    Rounded(Vec<f32>),
    /// Rounded to bfloat16.
    #[cfg(target_arch = "x86_64")]
    Bfloat16(RoundedSource),
}

impl<'a> Source<'a> {
    pub fn new(precision: Precision, values: &'a [f32]) -> Self {
        match precision {
            Precision::Float32 => Self::Float32(values),
            Precision::Bfloat16 => {
                #[cfg(target_arch = "x86_64")]
                if let Some(unit) = Unit::available() {
                    return Self::Bfloat16(RoundedSource::new(unit, values));
                }
                Self::Rounded(round_all(values))
            }
        }
    }

    /// `destination[row] = epilogue(Σ_tap source[gather(row, tap)] · weights[tap])` for every row, on
    /// all threads.
    pub fn product(
        &self,
        gather: &Gather,
        weights: Weights,
        epilogue: Epilogue,
        destination: &SharedSlice,
        place: Destination,
    ) {
        let Weights { matrix, layout, scale } = weights;
        let (source, panels) = match self {
            Self::Float32(source) => (*source, Panels::pack(matrix, layout, scale, Threads::All)),
            Self::Rounded(source) => {
                let mut panels = Panels::pack(matrix, layout, scale, Threads::All);
                panels.values_mut().iter_mut().for_each(|value| *value = rounded(*value));
                (source.as_slice(), panels)
            }
            #[cfg(target_arch = "x86_64")]
            Self::Bfloat16(source) => {
                let unit = source.unit();
                let panels = PairPanels::pack(unit, matrix, layout, scale);
                assert!(
                    gather.largest_offset() + panels.depth() <= source.len(),
                    "every source row is inside the source"
                );
                let zeros = vec![0; panels.depth() + 1];
                let factors = PairFactors { source, panels: &panels, zeros: &zeros };
                let output = Output { gather, epilogue, destination, place, columns: panels.columns() };
                return output.divide(panels.depth(), panels.count(), Threads::All, |rows, panels| {
                    unit.run(Task { output, factors, rows, panels });
                });
            }
        };
        product(gather, source, &panels, epilogue, destination, place, Threads::All);
    }
}

/// The values of a weight gradient's side, rounded where the machine does not do so itself.
pub(super) fn rounded_if(needed: bool, values: &[f32]) -> Cow<'_, [f32]> {
    if needed { round_all(values).into() } else { values.into() }
}

fn round_all(values: &[f32]) -> Vec<f32> {
    values.par_chunks(CHUNK).flat_map_iter(|chunk| chunk.iter().map(|value| rounded(*value))).collect()
}
