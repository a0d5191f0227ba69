//! The source of a product in either precision.

use std::borrow::Cow;
use std::cell::OnceCell;

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::amx;
#[cfg(target_arch = "x86_64")]
use super::bfloat16::{PairFactors, PairPanels, RoundedSource, Unit};
use super::{Destination, Epilogue, Gather, MatrixLayout, Output, Panels, Scale, Threads, product};
#[cfg(target_arch = "x86_64")]
use super::{ROWS_OF_32_REGISTERS, Task, rows_of_task};
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

/// Where a product reads its rows, and the precision in which it multiplies them.
pub(crate) struct Source<'a> {
    precision: Precision,
    values: &'a [f32],
    /// Rounded to bfloat16, once a product needs it.
    rounded: OnceCell<Rounded>,
}

/// A source that is rounded to bfloat16.
enum Rounded {
    /// For a machine without its instructions.
    Singles(Vec<f32>),
    #[cfg(target_arch = "x86_64")]
    Pairs(RoundedSource),
}

impl<'a> Source<'a> {
    pub fn new(precision: Precision, values: &'a [f32]) -> Self {
        Self { precision, values, rounded: OnceCell::new() }
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
        assert!(gather.largest_offset() + layout.depth <= self.values.len(), "every source row is inside the source");
        let output = Output { gather, epilogue, destination, place, columns: layout.columns };
        #[cfg(target_arch = "x86_64")]
        if let Some(unit) = amx::Unit::available().filter(|_| amx::suits_rows(self.precision, gather, layout)) {
            return amx::row_products(unit, self.precision, self.values, weights, output);
        }
        let panels = || Panels::pack(matrix, layout, scale, Threads::All);
        match self.precision {
            Precision::Float32 => product(self.values, &panels(), output, Threads::All),
            Precision::Bfloat16 => match self.rounded.get_or_init(|| Rounded::new(self.values)) {
                Rounded::Singles(source) => {
                    let mut panels = panels();
                    panels.values_mut().iter_mut().for_each(|value| *value = rounded(*value));
                    product(source, &panels, output, Threads::All);
                }
                #[cfg(target_arch = "x86_64")]
                Rounded::Pairs(source) => product_of_pairs(source, weights, output),
            },
        }
    }
}

impl Rounded {
    fn new(values: &[f32]) -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(unit) = Unit::available() {
            return Self::Pairs(RoundedSource::new(unit, values));
        }
        Self::Singles(round_all(values))
    }
}

/// The product where the machine multiplies pairs of bfloat16.
#[cfg(target_arch = "x86_64")]
fn product_of_pairs(source: &RoundedSource, weights: Weights, output: Output) {
    let Weights { matrix, layout, scale } = weights;
    let unit = source.unit();
    let panels = PairPanels::pack(unit, matrix, layout, scale);
    let zeros = vec![0; panels.depth() + 1];
    let factors = PairFactors { source, panels: &panels, zeros: &zeros };
    let division = (ROWS_OF_32_REGISTERS, rows_of_task(panels.depth()));
    output.divide(division, panels.count(), Threads::All, |rows, panels| {
        unit.run(Task { output, factors, rows, panels });
    });
}

/// The values of a weight gradient's side, rounded where the machine does not do so itself.
pub(super) fn rounded_if(needed: bool, values: &[f32]) -> Cow<'_, [f32]> {
    if needed { round_all(values).into() } else { values.into() }
}

fn round_all(values: &[f32]) -> Vec<f32> {
    values.par_chunks(CHUNK).flat_map_iter(|chunk| chunk.iter().map(|value| rounded(*value))).collect()
}
