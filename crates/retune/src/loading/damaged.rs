//! Images that were decoded though their files are damaged.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use crate::sources::{DataNote, Dataset};

/// Which images of a dataset are damaged, as far as they were decoded.
#[derive(Debug, Default)]
pub(super) struct Damaged(Mutex<Found>);

#[derive(Debug, Default)]
struct Found {
    /// Positions in the dataset.
    images: BTreeSet<usize>,
    /// How many a user has heard of.
    told: usize,
}

impl Damaged {
    /// Notes that the image at this position is damaged.
    pub fn add(&self, index: usize) {
        self.found(|found| found.images.insert(index));
    }

    /// What to tell, if more images are damaged than were told of before.
    pub fn note(&self, dataset: &Dataset) -> Option<DataNote> {
        self.found(|found| {
            let first = *found.images.first().filter(|_| found.images.len() > found.told)?;
            found.told = found.images.len();
            Some(DataNote::Damaged { images: found.told, example: dataset.samples[first].name.to_string() })
        })
    }

    fn found<T>(&self, look: impl FnOnce(&mut Found) -> T) -> T {
        // A thread that panicked has added a position or none.
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
