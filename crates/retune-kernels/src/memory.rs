//! An allocator that lays large blocks in large pages, and keeps them for the next step.
//!
//! A training step asks for the same large blocks again and again. The system's allocator gives
//! blocks of this size back to the operating system, which clears every page of them when they are
//! asked for anew; for a wide, shallow layer that takes longer than its arithmetic.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

mod pages;

/// Smaller blocks are left to the system's allocator.
const SMALLEST: usize = 1 << 16;
/// Sizes between one power of two and the next; a block is at most an eighth larger than asked for.
const STEPS: usize = 8;
const CLASSES: usize = (usize::BITS as usize - 16) * STEPS;
/// Bytes that may be held beyond what was ever in use at once.
const SLACK: usize = 64 << 20;
/// Blocks asked for between one look at what was missed and the next: about a step of a small network. A step asks for blocks
/// of many sizes, though not for all of them at once; where the slack does not hold them all, step after step gives back what
/// the next one misses. If every window misses something, more is held: making blocks anew costs up to a sixth of a step. What
/// only a change from training to evaluation misses is not worth the room.
const WINDOW: usize = 512;
/// A block is missed if one of its size was given back in the last so many windows.
const RECENT: usize = 16 * WINDOW;
/// The part of what is in use that a window misses at least, in so many windows one after the other, before a quarter of what is
/// in use is held beside it.
const MISSED_PART: usize = 32;
const WINDOWS_IN_A_ROW: usize = 4;
/// How often a list is tried that another thread holds. It holds it for a few instructions; every try given up makes one
/// more block, and a program that runs for hours would fill all the slack with them.
const TRIES: usize = 1000;

/// The system's allocator for small blocks; large ones come from the operating system, in huge pages where it has them, and
/// are kept for reuse when they are freed. Together with those in use they are little more than what was ever in use at once,
/// and at most half as much again.
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: retune_kernels::memory::KeepLargeBlocks = retune_kernels::memory::KeepLargeBlocks::new();
/// let block = vec![1.0f32; 1 << 20];
/// let address = block.as_ptr();
/// drop(block);
/// assert_eq!(vec![0.0f32; 1 << 20].as_ptr(), address);
/// ```
pub struct KeepLargeBlocks {
    /// The free blocks of each size.
    free: [Mutex<Free>; CLASSES],
    free_bytes: AtomicUsize,
    used_bytes: AtomicUsize,
    most_used_bytes: AtomicUsize,
    /// Blocks asked for so far.
    asked: AtomicUsize,
    /// How many had been asked for when a block of each size was last given back; 0 for never.
    given_back: [AtomicUsize; CLASSES],
    /// Bytes missed in this window that had been given back shortly before.
    missed_bytes: AtomicUsize,
    /// Windows up to this one that all missed much.
    missing_windows: AtomicUsize,
    /// Bytes held beyond the slack.
    more_bytes: AtomicUsize,
}

/// Addresses of free blocks.
struct Free {
    kept: Vec<usize>,
    /// Without memory, which was given back to the system.
    empty: Vec<usize>,
}

impl KeepLargeBlocks {
    /// An allocator that keeps nothing yet.
    #[allow(clippy::new_without_default, reason = "a static needs a constant function")]
    pub const fn new() -> Self {
        Self {
            free: [const { Mutex::new(Free { kept: Vec::new(), empty: Vec::new() }) }; CLASSES],
            free_bytes: AtomicUsize::new(0),
            used_bytes: AtomicUsize::new(0),
            most_used_bytes: AtomicUsize::new(0),
            asked: AtomicUsize::new(0),
            given_back: [const { AtomicUsize::new(0) }; CLASSES],
            missed_bytes: AtomicUsize::new(0),
            missing_windows: AtomicUsize::new(0),
            more_bytes: AtomicUsize::new(0),
        }
    }

    /// A kept block, if there is one of the size.
    fn take(&self, class: Class) -> Option<*mut u8> {
        let used = self.used_bytes.fetch_add(class.size, Ordering::Relaxed) + class.size;
        let most_used = self.most_used_bytes.fetch_max(used, Ordering::Relaxed).max(used);
        let asked = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
        if asked.is_multiple_of(WINDOW) {
            self.end_window(most_used);
        }
        // A lock that is held for long (or poisoned) means one more block from the system.
        let address = locked(&self.free[class.index]).and_then(|mut free| free.kept.pop());
        match address {
            Some(address) => {
                self.free_bytes.fetch_sub(class.size, Ordering::Relaxed);
                Some(ptr::with_exposed_provenance_mut(address))
            }
            None => {
                let given_back = self.given_back[class.index].load(Ordering::Relaxed);
                if given_back > 0 && asked.wrapping_sub(given_back) < RECENT {
                    self.missed_bytes.fetch_add(class.size, Ordering::Relaxed);
                }
                let more = self.more_bytes.load(Ordering::Relaxed).min(most_used / 2);
                self.release_down_to(most_used + more + SLACK - used);
                None
            }
        }
    }

    /// Holds more if window after window has missed much.
    fn end_window(&self, most_used: usize) {
        let misses = self.missed_bytes.swap(0, Ordering::Relaxed) > most_used / MISSED_PART;
        let in_a_row = if misses { self.missing_windows.load(Ordering::Relaxed) + 1 } else { 0 };
        let holds_more = in_a_row == WINDOWS_IN_A_ROW;
        self.missing_windows.store(if holds_more { 0 } else { in_a_row }, Ordering::Relaxed);
        if holds_more {
            self.more_bytes.fetch_add(most_used / 4, Ordering::Relaxed);
        }
    }

    /// Gives kept blocks back to the system until no more than `limit` bytes are kept.
    fn release_down_to(&self, limit: usize) {
        // The largest first: few blocks make much room.
        for (index, free) in self.free.iter().enumerate().rev() {
            while self.free_bytes.load(Ordering::Relaxed) > limit {
                let Some(address) = free.try_lock().ok().and_then(|mut free| free.kept.pop()) else { break };
                let class = Class::at(index);
                self.free_bytes.fetch_sub(class.size, Ordering::Relaxed);
                self.given_back[index].store(self.asked.load(Ordering::Relaxed), Ordering::Relaxed);
                // SAFETY: a kept block is one of its class, and is in no list now.
                unsafe { self.release(class, ptr::with_exposed_provenance_mut(address)) };
            }
        }
    }

    /// A block that was not kept, and whether it is cleared; null where there is no room.
    fn make(&self, class: Class) -> (*mut u8, bool) {
        match locked(&self.free[class.index]).and_then(|mut free| free.empty.pop()) {
            Some(address) => (ptr::with_exposed_provenance_mut(address), false),
            None => (pages::new(class.size), true),
        }
    }

    /// Gives the memory of a block back to the system.
    ///
    /// # Safety
    /// The block must be one of the class, and nobody may use it any more.
    unsafe fn release(&self, class: Class, block: *mut u8) {
        // SAFETY: by the contract.
        let remains = unsafe { pages::release(block, class.size) };
        // Without the lock the address is lost, of which there are many.
        if let (true, Some(mut free)) = (remains, locked(&self.free[class.index])) {
            free.empty.push(block.expose_provenance());
        }
    }

    /// Keeps a block; false if it should go back to the system.
    fn keep(&self, class: Class, block: *mut u8) -> bool {
        self.used_bytes.fetch_sub(class.size, Ordering::Relaxed);
        let Some(mut free) = locked(&self.free[class.index]) else { return false };
        free.kept.push(block.expose_provenance());
        self.free_bytes.fetch_add(class.size, Ordering::Relaxed);
        true
    }
}

/// A list, unless another thread holds it for long. Never waits: what a list does under its lock may need memory too.
fn locked(list: &Mutex<Free>) -> Option<MutexGuard<'_, Free>> {
    for _ in 0..TRIES {
        match list.try_lock() {
            Ok(free) => return Some(free),
            Err(TryLockError::WouldBlock) => std::hint::spin_loop(),
            Err(TryLockError::Poisoned(_)) => return None,
        }
    }
    None
}

/// A size of blocks.
#[derive(Clone, Copy)]
struct Class {
    index: usize,
    size: usize,
}

impl Class {
    /// The class of a layout; nothing for small, oddly aligned and absurdly large ones.
    fn of(layout: Layout) -> Option<Self> {
        let size = layout.size();
        if size < SMALLEST || size > isize::MAX as usize / 4 || layout.align() > 64 {
            return None;
        }
        let power = size.ilog2() as usize;
        let step = (1usize << power) / STEPS;
        let steps = (size - (1 << power)).div_ceil(step);
        Some(Self { index: (power - 16) * STEPS + steps, size: (1 << power) + steps * step })
    }

    /// The class with a number.
    fn at(index: usize) -> Self {
        let power = 1usize << (16 + index / STEPS);
        Self { index, size: power + index % STEPS * (power / STEPS) }
    }
}

// SAFETY: blocks of a class come from the system with the class's size, which is at least that of the layout asked for and is
// found again from that layout when the block is freed; they are aligned like pages. A free block is in exactly one list, so it
// is handed out once.
unsafe impl GlobalAlloc for KeepLargeBlocks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match Class::of(layout) {
            // SAFETY: the caller's promise is passed on.
            None => unsafe { System.alloc(layout) },
            Some(class) => self.take(class).unwrap_or_else(|| self.make(class).0),
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = Class::of(layout) else {
            // SAFETY: the caller's promise is passed on.
            return unsafe { System.alloc_zeroed(layout) };
        };
        let (block, is_cleared) = self.take(class).map_or_else(|| self.make(class), |block| (block, false));
        if !is_cleared {
            // SAFETY: the block holds at least as many bytes as the layout.
            unsafe { block.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        match Class::of(layout) {
            // SAFETY: small blocks come straight from the system.
            None => unsafe { System.dealloc(block, layout) },
            Some(class) => {
                if !self.keep(class, block) {
                    // SAFETY: the layout is in its class; the caller has no further use for it.
                    unsafe { self.release(class, block) };
                }
            }
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Ok(new_layout) = Layout::from_size_align(new_size, layout.align()) else { return ptr::null_mut() };
        match (Class::of(layout), Class::of(new_layout)) {
            // SAFETY: the caller's promise is passed on.
            (None, None) => unsafe { System.realloc(block, layout, new_size) },
            (Some(old), Some(new)) if old.index == new.index => block,
            _ => {
                // SAFETY: `new_layout` is the layout that the caller asks for; the old block holds
                // `layout.size()` bytes and is not used afterwards.
                unsafe {
                    let moved = self.alloc(new_layout);
                    if !moved.is_null() {
                        ptr::copy_nonoverlapping(block, moved, layout.size().min(new_size));
                        self.dealloc(block, layout);
                    }
                    moved
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(megabytes: usize) -> Layout {
        Layout::from_size_align(megabytes << 20, 64).unwrap()
    }

    /// Asks for blocks one after the other, as a step does, and gives each back before the next. Nothing is written, so that
    /// they take no room.
    fn step(allocator: &KeepLargeBlocks, sizes: &[usize]) {
        for &size in sizes {
            // SAFETY: the block is freed at once with the layout that it was allocated with.
            unsafe { allocator.dealloc(allocator.alloc(layout(size)), layout(size)) };
        }
    }

    fn held(allocator: &KeepLargeBlocks) -> usize {
        allocator.free_bytes.load(Ordering::Relaxed) >> 20
    }

    #[test]
    fn blocks_that_step_after_step_misses_are_kept() {
        let allocator = KeepLargeBlocks::new();
        // SAFETY: freed below with the same layout.
        let in_use = unsafe { allocator.alloc(layout(256)) };
        let sizes = [40, 48, 56];
        // Beyond the 312 MB that were in use at once there are 64 for all that waits.
        step(&allocator, &sizes);
        assert_eq!(held(&allocator), 40 + 56);
        (0..2 * WINDOWS_IN_A_ROW * WINDOW).for_each(|_| step(&allocator, &sizes));
        assert_eq!(held(&allocator), 40 + 48 + 56);
        // SAFETY: as allocated above.
        unsafe { allocator.dealloc(in_use, layout(256)) };
    }

    #[test]
    fn blocks_that_are_missed_now_and_then_are_not() {
        let allocator = KeepLargeBlocks::new();
        // SAFETY: freed below with the same layout.
        let in_use = unsafe { allocator.alloc(layout(256)) };
        for _ in 0..50 {
            // An epoch and its end.
            step(&allocator, &[1; 2 * WINDOW]);
            step(&allocator, &[40, 48, 56]);
        }
        assert_eq!(allocator.more_bytes.load(Ordering::Relaxed), 0);
        // SAFETY: as allocated above.
        unsafe { allocator.dealloc(in_use, layout(256)) };
    }
}
