//! Slices that several tasks write, each its own part.

use std::marker::PhantomData;
use std::ops::Range;

/// The part of `of` things that falls to one of `count` tasks.
pub(crate) fn share(index: usize, count: usize, of: usize) -> Range<usize> {
    index * of / count..(index + 1) * of / count
}

/// A new vector of `length` values, all of them written by `fill`, of which nothing is cleared first.
///
/// # Safety
/// `fill` must write every element and read none before it has written it.
pub(crate) unsafe fn filled(length: usize, fill: impl FnOnce(&SharedSlice)) -> Vec<f32> {
    let mut values: Vec<f32> = Vec::with_capacity(length);
    let slice = SharedSlice { start: values.as_mut_ptr(), length, lifetime: PhantomData };
    fill(&slice);
    // SAFETY: `length` values fit in, and `fill` has written them all by the caller's promise.
    unsafe { values.set_len(length) };
    values
}

/// A mutable slice handed to several tasks.
pub(crate) struct SharedSlice<'a> {
    start: *mut f32,
    length: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: the pointer stands for an exclusively borrowed slice of plain values; whoever takes parts
// of it promises (see `part`) that parts in use at the same time do not overlap.
unsafe impl Send for SharedSlice<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedSlice<'_> {}

impl<'a> SharedSlice<'a> {
    pub fn new(slice: &'a mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), length: slice.len(), lifetime: PhantomData }
    }

    pub fn len(&self) -> usize {
        self.length
    }

    /// Where the part from `start` on lies, for those that write some of its elements.
    ///
    /// # Panics
    /// If it goes past the end.
    #[inline(always)]
    pub fn place(&self, start: usize, length: usize) -> *mut f32 {
        assert!(start <= self.length && length <= self.length - start, "a part inside the slice");
        self.start.wrapping_add(start)
    }

    /// The part from `start` on.
    ///
    /// # Safety
    /// No part that is in use at the same time may overlap it.
    ///
    /// # Panics
    /// If it goes past the end.
    #[inline(always)]
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part(&self, start: usize, length: usize) -> &mut [f32] {
        assert!(start <= self.length && length <= self.length - start, "a part inside the slice");
        // SAFETY: inside the borrowed slice by the assertion; not shared by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(start), length) }
    }
}
