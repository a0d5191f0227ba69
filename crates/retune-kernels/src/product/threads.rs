//! Whether a product is divided among threads.

use rayon::prelude::*;

/// Who works on a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// All threads, each on a part.
    All,
    /// The calling one, where others have products of their own.
    This,
}

impl Threads {
    pub fn count(self) -> usize {
        match self {
            Self::All => rayon::current_num_threads(),
            Self::This => 1,
        }
    }

    pub fn for_each(self, tasks: usize, work: impl Fn(usize) + Send + Sync) {
        match self {
            Self::All => (0..tasks).into_par_iter().for_each(work),
            Self::This => (0..tasks).for_each(work),
        }
    }

    /// The results of the tasks, in their order.
    pub fn map<T: Send>(self, tasks: usize, work: impl Fn(usize) -> T + Send + Sync) -> Vec<T> {
        match self {
            Self::All => (0..tasks).into_par_iter().map(work).collect(),
            Self::This => (0..tasks).map(work).collect(),
        }
    }
}
