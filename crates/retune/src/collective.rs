//! Processes that work on one run together, and what they tell each other.
//!
//! All of them make the same calls in the same order. Sums are added in the order of the processes, so that they are the
//! same on all of them, and at every repetition, to the bit.

#[cfg(feature = "mpi")]
pub mod mpi;
#[cfg(test)]
pub(crate) mod threads;

use std::fmt;
use std::ops::{Deref, Range};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Makes one row of several, value by value: of pieces of the rows, it makes the same piece of the result.
pub type Combine<'a> = &'a dyn Fn(&[&[f64]]) -> Vec<f64>;

/// What processes that work together ask of each other.
pub trait Collective: Send + Sync {
    /// The number of this process, from 0. The process 0 owns the run's directory and the terminal.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn size(&self) -> usize;

    /// Adds to `sums` the values of all processes, one process after the other. `sums` must be the same on all of them
    /// before, and are so after.
    fn add(&self, sums: &mut [f32], values: &[f32]);

    /// Begins the same sum and returns, so that this process can compute meanwhile. All processes begin their sums in the same
    /// order; other calls may come in between.
    fn begin_add(&self, mut sums: Vec<f32>, values: Vec<f32>) -> PendingSum {
        self.add(&mut sums, &values);
        PendingSum::known(sums)
    }

    /// The same in double precision.
    fn add_f64(&self, sums: &mut [f64], values: &[f64]);

    /// What `combine` makes of rows of `length` values: those of process 0, then those of process 1, and so on. Each process
    /// gives its `own`, and all know how many each gives.
    fn combine(&self, own: &[Vec<f64>], rows: &[usize], length: usize, combine: Combine) -> Vec<f64>;

    /// The values of every process, which may differ in number.
    fn gather(&self, values: &[f32]) -> Vec<Vec<f32>>;

    /// Replaces the bytes of all processes by those of process 0.
    fn broadcast(&self, bytes: &mut Vec<u8>);

    /// Whether it is so on any process.
    fn any(&self, here: bool) -> bool;

    /// Waits until all processes are here.
    fn barrier(&self);

    /// Ends all processes at once with this exit status.
    fn abort(&self, status: u8) -> !;

    /// Seconds that this process has spent in these calls so far, waiting for others included.
    fn seconds(&self) -> f64 {
        0.0
    }
}

/// Sums that may not be known yet.
pub struct PendingSum(Box<dyn FnOnce() -> Vec<f32> + Send>);

impl PendingSum {
    /// Sums that `wait` waits for and returns.
    pub fn new(wait: impl FnOnce() -> Vec<f32> + Send + 'static) -> Self {
        Self(Box::new(wait))
    }

    /// Sums that are known already.
    pub fn known(sums: Vec<f32>) -> Self {
        Self::new(|| sums)
    }

    /// Waits for the sums.
    pub fn wait(self) -> Vec<f32> {
        self.0()
    }
}

impl Default for PendingSum {
    /// The sums of nothing.
    fn default() -> Self {
        Self::known(Vec::new())
    }
}

/// A single process.
struct Alone;

impl Collective for Alone {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        1
    }

    fn add(&self, sums: &mut [f32], values: &[f32]) {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }

    fn add_f64(&self, sums: &mut [f64], values: &[f64]) {
        sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }

    fn combine(&self, own: &[Vec<f64>], _: &[usize], _: usize, combine: Combine) -> Vec<f64> {
        combine(&own.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    fn gather(&self, values: &[f32]) -> Vec<Vec<f32>> {
        vec![values.to_vec()]
    }

    fn broadcast(&self, _: &mut Vec<u8>) {}

    fn any(&self, here: bool) -> bool {
        here
    }

    fn barrier(&self) {}

    fn abort(&self, status: u8) -> ! {
        std::process::exit(i32::from(status))
    }
}

/// The processes that work on a run: this one alone, unless others were joined. Cheap to clone.
#[derive(Clone)]
pub struct Processes(Arc<dyn Collective>);

impl Processes {
    /// These processes.
    pub fn new(collective: impl Collective + 'static) -> Self {
        Self(Arc::new(collective))
    }

    /// Whether there are others.
    pub fn are_several(&self) -> bool {
        self.size() > 1
    }

    /// Whether this is the process that owns the run's directory and the terminal.
    pub fn is_root(&self) -> bool {
        self.rank() == 0
    }

    /// What process 0 has; the others give nothing.
    ///
    /// # Errors
    /// A value that has no form as JSON.
    pub fn of_root<T: Serialize + DeserializeOwned>(&self, value: Option<T>) -> Result<T, serde_json::Error> {
        let mut bytes = match (&value, self.is_root()) {
            (Some(value), true) => serde_json::to_vec(value)?,
            _ => Vec::new(),
        };
        self.broadcast(&mut bytes);
        match value.filter(|_| self.is_root()) {
            Some(value) => Ok(value),
            None => serde_json::from_slice(&bytes),
        }
    }

    /// Whether a key is the same on all processes.
    pub fn agree_on(&self, key: u64) -> bool {
        let mut bytes = key.to_le_bytes().to_vec();
        self.broadcast(&mut bytes);
        !self.any(bytes != key.to_le_bytes())
    }

    /// Seconds as process 0 counts them.
    pub fn seconds_of_root(&self, seconds: f64) -> f64 {
        let mut bytes = seconds.to_le_bytes().to_vec();
        self.broadcast(&mut bytes);
        bytes.try_into().map_or(seconds, f64::from_le_bytes)
    }
}

impl Default for Processes {
    fn default() -> Self {
        Self::new(Alone)
    }
}

impl Deref for Processes {
    type Target = dyn Collective;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for Processes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "process {} of {}", self.rank() + 1, self.size())
    }
}

impl PartialEq for Processes {
    fn eq(&self, other: &Self) -> bool {
        (self.rank(), self.size()) == (other.rank(), other.size())
    }
}

/// Which images of an update this process computes: each batch is cut into parts, and the processes take turns with them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turns {
    /// Images that are cut into parts by themselves: all of an update, unless it has several batches that are each shared.
    pub batch: usize,
    /// Images in a part.
    pub part: usize,
    pub rank: usize,
    pub size: usize,
}

impl Turns {
    /// Whether the image at this position of the update is one of this process.
    pub fn include(self, position: usize) -> bool {
        position % self.batch.max(1) / self.part.max(1) % self.size.max(1) == self.rank
    }
}

/// The parts of these images, each of `part` but for the last; one part where there is no image.
pub(crate) fn parts(images: Range<usize>, part: usize) -> Vec<Range<usize>> {
    let part = part.clamp(1, images.len().max(1));
    let starts = (images.start..images.end.max(images.start + 1)).step_by(part);
    starts.map(|start| start..images.end.min(start + part)).collect()
}

#[cfg(test)]
mod tests {
    use super::threads::on_threads;
    use super::*;

    #[test]
    fn parts_cover_all_images_and_turns_assign_each_once() {
        assert_eq!(parts(0..10, 4), [0..4, 4..8, 8..10]);
        assert_eq!(parts(8..14, 4), [8..12, 12..14]);
        assert_eq!((parts(0..3, 100).len(), parts(0..0, 4)[0].len()), (1, 0));
        let takers = |batch: usize, position: usize| -> Vec<usize> {
            let turns = |rank| Turns { batch, part: 3, rank, size: 4 };
            (0..4).filter(|&rank| turns(rank).include(position)).collect()
        };
        for position in 0..20 {
            assert_eq!(takers(20, position), [position / 3 % 4]);
            // Batches of ten, cut into parts of 3, 3, 3, and 1.
            assert_eq!(takers(10, position), [position % 10 / 3]);
        }
    }

    /// 1 is lost beside 2²⁴ in single precision, so another order gives another sum.
    #[test]
    fn sums_are_added_in_the_order_of_the_processes() {
        let large = 16_777_216.0_f32;
        let values = [1.0, 1.0, large];
        let sums = on_threads(3, |processes| {
            let mut sums = vec![-0.0, -0.0];
            processes.add(&mut sums, &[values[processes.rank()], values[2 - processes.rank()]]);
            sums
        });
        assert_eq!(sums, vec![vec![large + 2.0, large]; 3]);
        let gathered = on_threads(3, |processes| processes.gather(&vec![1.5; processes.rank()]));
        assert_eq!(gathered, vec![vec![vec![], vec![1.5], vec![1.5, 1.5]]; 3]);
        let last_minus_first = |processes: &Processes| {
            // Process 0 has no row, process 1 has one, and process 2 two.
            let own = vec![vec![processes.rank() as f64, 1.0]; processes.rank()];
            let combine = |rows: &[&[f64]]| rows[2].iter().zip(rows[0]).map(|(last, first)| last - first).collect();
            processes.combine(&own, &[0, 1, 2], 2, &combine)
        };
        assert_eq!(on_threads(3, last_minus_first), vec![vec![1.0, 0.0]; 3]);
        assert_eq!(on_threads(2, |processes| processes.any(processes.rank() == 1)), [true, true]);
        let of_root = |processes: &Processes| processes.of_root(processes.is_root().then(|| "a".to_owned())).unwrap();
        assert_eq!(on_threads(2, of_root), ["a", "a"]);
        assert_eq!(on_threads(2, |processes| processes.agree_on(processes.rank() as u64)), [false, false]);
        assert_eq!(on_threads(2, |processes| processes.agree_on(7)), [true, true]);
    }
}
