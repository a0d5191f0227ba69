//! Room for intermediate values, used again and again.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Most free blocks that a thread keeps: more than a kernel uses at once. With fewer, every use would grow one and clear it.
const KEPT: usize = 16;

thread_local! {
    static FREE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Values that hold whatever an earlier use has left in them. The room goes back to the thread when
/// it is dropped, so that a step neither asks for memory nor clears it.
pub(crate) struct Workspace {
    values: Vec<f32>,
    length: usize,
}

impl Workspace {
    pub fn new(length: usize) -> Self {
        // The smallest that is large enough, else the largest, which then grows.
        let kept = FREE.with_borrow_mut(|free| {
            let fits = free.iter().position(|values| values.len() >= length);
            fits.map(|index| free.remove(index)).or_else(|| free.pop())
        });
        let mut values = kept.unwrap_or_default();
        if values.len() < length {
            values.resize(length, 0.0);
        }
        Self { values, length }
    }
}

impl Drop for Workspace {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.values);
        // A thread that is ending keeps nothing.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            let at = free.partition_point(|other| other.len() < values.len());
            free.insert(at, values);
            if free.len() > KEPT {
                free.remove(0);
            }
        });
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
    use super::Workspace;

    #[test]
    fn room_is_used_again_and_has_the_length_that_was_asked_for() {
        let mut first = Workspace::new(100);
        first.fill(1.0);
        let place = first.as_ptr();
        drop(first);
        let second = Workspace::new(60);
        assert_eq!((second.as_ptr(), second.len(), second[59]), (place, 60, 1.0));
        assert_eq!(Workspace::new(1000).len(), 1000);
    }
}
