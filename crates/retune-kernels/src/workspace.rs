//! Room for intermediate values, used again and again.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, PoisonError};

/// Values from which a block is large: a mebibyte. Threads share large blocks; each has small ones of its own, which it asks for
/// all the time.
const LARGE: usize = 1 << 18;
/// A use takes a block of at most so many times its length. If small uses took large blocks, large uses would make more of them.
const MOST_TIMES: usize = 2;
/// Most free small blocks that a thread keeps, and most free large ones. Winograd's algorithm has the weights of a layer in up to
/// 32 blocks at once. What is not kept is cleared when it is asked for anew.
const KEPT_SMALL: usize = 16;
const KEPT_LARGE: usize = 64;

thread_local! {
    static SMALL: RefCell<Free> = const { RefCell::new(Free::keeping(KEPT_SMALL)) };
}

static LARGE_BLOCKS: Mutex<Free> = Mutex::new(Free::keeping(KEPT_LARGE));

/// Free blocks.
struct Free {
    /// The one that was used last is at the end.
    blocks: Vec<Vec<f32>>,
    most: usize,
}

impl Free {
    const fn keeping(most: usize) -> Self {
        Self { blocks: Vec::new(), most }
    }

    /// The smallest that is large enough, and not much larger.
    fn take(&mut self, length: usize) -> Option<Vec<f32>> {
        let fits = |values: &Vec<f32>| (length..=MOST_TIMES * length).contains(&values.len());
        let fitting = self.blocks.iter().enumerate().filter(|(_, values)| fits(values));
        let smallest = fitting.min_by_key(|(_, values)| values.len()).map(|(place, _)| place)?;
        Some(self.blocks.remove(smallest))
    }

    /// Keeps a block. Returns the one that nothing has used for longest, if there are too many.
    fn keep(&mut self, values: Vec<f32>) -> Option<Vec<f32>> {
        self.blocks.push(values);
        (self.blocks.len() > self.most).then(|| self.blocks.remove(0))
    }
}

/// Values that hold whatever an earlier use has left in them. The room is kept when it is dropped, so that a step neither
/// asks for memory nor clears it.
pub(crate) struct Workspace {
    values: Vec<f32>,
    length: usize,
}

impl Workspace {
    pub fn new(length: usize) -> Self {
        let kept = match length < LARGE {
            true => SMALL.with_borrow_mut(|free| free.take(length)),
            false => LARGE_BLOCKS.lock().unwrap_or_else(PoisonError::into_inner).take(length),
        };
        Self { values: kept.unwrap_or_else(|| vec![0.0; length]), length }
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        // What is left out is freed after the list is free again. A thread that is ending keeps nothing.
        let _left_out = match values.len() < LARGE {
            true => SMALL.try_with(|free| free.borrow_mut().keep(values)).ok().flatten(),
            false => LARGE_BLOCKS.lock().unwrap_or_else(PoisonError::into_inner).keep(values),
        };
    }
}

impl Deref for Workspace {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.values[..self.length]
    }
}

impl DerefMut for Workspace {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.values[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::{Free, LARGE, Workspace};

    #[test]
    fn room_is_used_again_and_has_the_length_that_was_asked_for() {
        let mut first = Workspace::new(100);
        first.fill(1.0);
        let place = first.as_ptr();
        drop(first);
        let second = Workspace::new(60);
        assert_eq!((second.as_ptr(), second.len(), second[59]), (place, 60, 1.0));
        assert_eq!(Workspace::new(1000).len(), 1000);
        assert_eq!(Workspace::new(LARGE).len(), LARGE);
    }

    #[test]
    fn a_small_use_leaves_large_blocks_alone() {
        let mut free = Free::keeping(3);
        for length in [100, 49, 1000] {
            assert!(free.keep(vec![0.0; length]).is_none());
        }
        assert_eq!(free.take(50).unwrap().len(), 100);
        assert!(free.take(50).is_none());
        assert_eq!(free.take(40).unwrap().len(), 49);
    }

    #[test]
    fn what_nothing_uses_is_not_kept_forever() {
        let mut free = Free::keeping(3);
        assert!((1..=3).all(|length| free.keep(vec![0.0; length]).is_none()));
        let used = free.take(1).unwrap();
        assert!(free.keep(used).is_none());
        assert_eq!(free.keep(vec![0.0; 1000]).unwrap().len(), 2);
    }
}
