//! The rows of a set in parts, and sums over all rows that are the same whoever holds which part.
//!
//! Sums over the parts are added pairwise: the first half of the parts and the second, each of which is such a sum again. This
//! tree depends on the sizes alone. Threads take parts, and processes hold some in a row; a process adds up the subtrees that
//! lie within its parts, and the trunk is added up from the subtrees of all.

use std::ops::Range;

use super::{FeatureMatrix, ProbeError};

/// Parts at most; more would give no machine of today more to do in parallel.
const MAX_PARTS: usize = 64;
/// Rows of a part are a multiple of this, so that the kernels have whole blocks.
const ROW_MULTIPLE: usize = 8;
/// Bytes that sums of parts may take which are computed side by side, as far as four of them leave it.
const SIDE_BY_SIDE_BYTES: usize = 64 * 1024 * 1024;

/// How rows are cut into parts. It depends on the sizes alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Division {
    rows: usize,
    part_rows: usize,
}

impl Division {
    pub fn of(rows: usize, columns: usize) -> Self {
        // Each part costs as much as a few dozen rows, and more where its sums do not fit a cache.
        let fewest = (columns / 8).clamp(32, 128);
        Self { rows, part_rows: rows.div_ceil(MAX_PARTS).max(fewest).next_multiple_of(ROW_MULTIPLE) }
    }

    /// The number of parts.
    pub fn parts(self) -> usize {
        self.rows.div_ceil(self.part_rows)
    }

    /// The rows of consecutive parts.
    pub fn rows_of(self, parts: Range<usize>) -> Range<usize> {
        (parts.start * self.part_rows).min(self.rows)..(parts.end * self.part_rows).min(self.rows)
    }

    /// The parts that one of `size` processes holds.
    pub fn held_by(self, rank: usize, size: usize) -> Range<usize> {
        self.parts() * rank / size..self.parts() * (rank + 1) / size
    }
}

impl FeatureMatrix<'_> {
    /// A sum over all rows of `length` numbers, to which `add_rows` adds what it finds in some of the rows. It is the same on
    /// all holders.
    ///
    /// # Errors
    /// Those of `add_rows`, which the other holders do not learn.
    pub(super) fn sum<F>(&self, length: usize, add_rows: F) -> Result<Vec<f64>, ProbeError>
    where
        F: Fn(Range<usize>, &mut [f64]) -> Result<(), ProbeError> + Sync,
    {
        let side_by_side = (SIDE_BY_SIDE_BYTES / (length * size_of::<f64>()).max(1)).clamp(4, MAX_PARTS);
        self.sum_side_by_side(side_by_side, length, add_rows)
    }

    /// The same, of at most so many parts at once.
    pub(super) fn sum_side_by_side<F>(
        &self,
        side_by_side: usize,
        length: usize,
        add_rows: F,
    ) -> Result<Vec<f64>, ProbeError>
    where
        F: Fn(Range<usize>, &mut [f64]) -> Result<(), ProbeError> + Sync,
    {
        let division = self.division();
        let of_part = |part: usize| {
            let mut sums = vec![0.0; length];
            add_rows(division.rows_of(part..part + 1), &mut sums)?;
            Ok(sums)
        };
        let tree = 0..division.parts();
        let Some(holders) = self.holders() else { return sum_of_parts(tree, side_by_side, &of_part) };

        let of_holder = |rank: usize| subtrees(tree.clone(), &division.held_by(rank, holders.size()));
        let all: Vec<Vec<Range<usize>>> = (0..holders.size()).map(of_holder).collect();
        let own = all[holders.rank()].iter().map(|parts| sum_of_parts(parts.clone(), side_by_side, &of_part));
        let own = own.collect::<Result<Vec<_>, _>>()?;
        let counts: Vec<usize> = all.iter().map(Vec::len).collect();
        let all = all.concat();
        Ok(holders.combine(&own, &counts, length, &|sums| {
            let mut subtrees = all.iter().zip(sums.iter().copied());
            sum_of_subtrees(tree.clone(), &mut subtrees)
        }))
    }
}

fn halves(parts: Range<usize>) -> [Range<usize>; 2] {
    let middle = parts.start + parts.len() / 2;
    [parts.start..middle, middle..parts.end]
}

fn add(sums: &mut [f64], others: &[f64]) {
    sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
}

/// The sum over at least one part.
fn sum_of_parts<F>(parts: Range<usize>, side_by_side: usize, of_part: &F) -> Result<Vec<f64>, ProbeError>
where
    F: Fn(usize) -> Result<Vec<f64>, ProbeError> + Sync,
{
    if parts.len() == 1 {
        return of_part(parts.start);
    }
    let [left, right] = halves(parts);
    let (left, right) = match side_by_side {
        0 | 1 => (sum_of_parts(left, 1, of_part), sum_of_parts(right, 1, of_part)),
        several => rayon::join(
            || sum_of_parts(left, several / 2, of_part),
            || sum_of_parts(right, several - several / 2, of_part),
        ),
    };
    let mut sums = left?;
    add(&mut sums, &right?);
    Ok(sums)
}

/// The largest subtrees of a tree that lie within `held`, in order.
fn subtrees(tree: Range<usize>, held: &Range<usize>) -> Vec<Range<usize>> {
    if held.start <= tree.start && tree.end <= held.end {
        return vec![tree];
    }
    if tree.end <= held.start || held.end <= tree.start {
        return Vec::new();
    }
    halves(tree).into_iter().flat_map(|half| subtrees(half, held)).collect()
}

/// The sum over a tree from the sums over its subtrees, which come in order.
fn sum_of_subtrees<'a>(
    tree: Range<usize>,
    subtrees: &mut (impl Iterator<Item = (&'a Range<usize>, &'a [f64])> + Clone),
) -> Vec<f64> {
    let mut rest = subtrees.clone();
    if let Some((_, sums)) = rest.next().filter(|(parts, _)| **parts == tree) {
        *subtrees = rest;
        return sums.to_vec();
    }
    let [left, right] = halves(tree);
    let mut sums = sum_of_subtrees(left, subtrees);
    add(&mut sums, &sum_of_subtrees(right, subtrees));
    sums
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collective::threads::on_threads;

    #[test]
    fn parts_cover_every_row_once_and_each_has_one_holder() {
        for (rows, columns) in [(1, 1), (33, 8), (777, 3), (1209, 512), (10_000, 512), (1_281_167, 2048)] {
            let division = Division::of(rows, columns);
            assert!((1..=MAX_PARTS).contains(&division.parts()));
            let parts = (0..division.parts()).map(|part| division.rows_of(part..part + 1));
            assert!(parts.clone().all(|rows| !rows.is_empty()));
            assert!(parts.flatten().eq(0..rows));
            for size in 1..=5 {
                assert!((0..size).flat_map(|rank| division.held_by(rank, size)).eq(0..division.parts()));
            }
        }
    }

    /// By hand: of five parts, halves are two and three, and the three are one and two.
    #[test]
    fn subtrees_are_the_largest_that_a_holder_has_whole() {
        let of = |held: Range<usize>| -> Vec<(usize, usize)> {
            subtrees(0..5, &held).into_iter().map(|parts| (parts.start, parts.end)).collect()
        };
        assert_eq!(of(0..5), [(0, 5)]);
        assert_eq!(of(0..2), [(0, 2)]);
        assert_eq!(of(0..3), [(0, 2), (2, 3)]);
        assert_eq!(of(1..5), [(1, 2), (2, 5)]);
        assert_eq!(of(3..5), [(3, 5)]);
        assert!(of(2..2).is_empty());
    }

    /// Numbers of very different sizes, so that another order gives another sum.
    #[test]
    fn sums_have_the_same_bits_by_any_number_of_holders() {
        let (rows, columns) = (1000, 3);
        let values: Vec<f32> = (0..rows * columns).map(|i| ((i * 37 % 101) as f32 - 50.0).powi(7)).collect();
        let sum = |features: FeatureMatrix| {
            features.sum(columns, |rows, sums| {
                for row in values[rows.start * columns..rows.end * columns].chunks_exact(columns) {
                    sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value) / 3.0);
                }
                Ok(())
            })
        };
        let alone = sum(FeatureMatrix::new(&values, columns).unwrap()).unwrap();
        for size in 1..=5 {
            for of_holder in
                on_threads(size, |processes| sum(FeatureMatrix::held(&values, columns, processes)).unwrap())
            {
                assert_eq!(of_holder, alone, "{size}");
            }
        }
        let in_order = values.chunks_exact(columns).fold([0.0; 3], |mut sums, row| {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value) / 3.0);
            sums
        });
        assert!(alone != in_order, "these numbers must tell orders apart");
    }
}
