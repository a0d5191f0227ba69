//! An allocator that lays large blocks in large pages, and keeps them for the next step.
//!
//! A training step asks for the same large blocks again and again. The system's allocator gives
//! blocks of this size back to the operating system, which clears every page of them when they are
//! asked for anew; for a wide, shallow layer that takes longer than its arithmetic.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, TryLockError};

use self::larger::LargerBlocks;

mod larger;
mod pages;

/// Smaller blocks are left to the system's allocator.
const SMALLEST: usize = 1 << 16;
/// Sizes between one power of two and the next: the least that suits a request is at most an eighth larger.
const STEPS: usize = 8;
const CLASSES: usize = (usize::BITS as usize - 16) * STEPS;
/// A request may take a kept block of one of so many next sizes, which is less than twice as large. A step asks for blocks of many
/// sizes, though not for all of them at once: first for activations of each layer, and then for their gradients.
const LARGER_SIZES: usize = 6;
/// Bytes that may be held beyond what was ever asked for at once, and a part of the latter that may be, if it is more. What a step
/// gives back to the operating system, the next one has to ask for and clear, which costs up to a sixth of it.
const SLACK: usize = 64 << 20;
const SLACK_PART: usize = 3;
/// How often a list is tried that another thread holds. It holds it for a few instructions; every try given up may make
/// one more block, and a program that runs for hours would fill all the slack with them.
const TRIES: usize = 1000;

/// The system's allocator for small blocks; large ones come from the operating system, in huge pages where it has them, and
/// are kept for reuse when they are freed. Together with those in use, they take at most a third more than was ever asked for at
/// once (64 MiB more if a third is less), unless blocks in use that are larger than their requests take more by themselves.
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
    /// Sizes of the blocks in use.
    used_bytes: AtomicUsize,
    /// The sizes that would have been enough.
    asked_bytes: AtomicUsize,
    most_asked_bytes: AtomicUsize,
    /// Those in use that are of a larger size than their layouts tell.
    larger: LargerBlocks,
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
            asked_bytes: AtomicUsize::new(0),
            most_asked_bytes: AtomicUsize::new(0),
            larger: LargerBlocks::new(),
        }
    }

    /// A block of the size or a larger one, and whether it is cleared; null where there is no room.
    fn get(&self, class: Class) -> (*mut u8, bool) {
        let kept = self.take(class, locked(&self.free[class.index])).or_else(|| self.take_larger(class));
        let (block, is_cleared) = kept.map_or_else(|| self.make_in_bounds(class), |block| (block, false));
        if !block.is_null() {
            let asked = self.asked_bytes.fetch_add(class.size, Ordering::Relaxed) + class.size;
            // Most requests leave the maximum as it is, and need not write it.
            if asked > self.most_asked_bytes.load(Ordering::Relaxed) {
                self.most_asked_bytes.fetch_max(asked, Ordering::Relaxed);
            }
        }
        (block, is_cleared)
    }

    /// A kept block of the size. A list that is held for long (or poisoned) means one more block from the system.
    fn take(&self, class: Class, free: Option<MutexGuard<'_, Free>>) -> Option<*mut u8> {
        let address = free?.kept.pop()?;
        self.free_bytes.fetch_sub(class.size, Ordering::Relaxed);
        self.used_bytes.fetch_add(class.size, Ordering::Relaxed);
        Some(ptr::with_exposed_provenance_mut(address))
    }

    /// A kept block of one of the next sizes.
    fn take_larger(&self, class: Class) -> Option<*mut u8> {
        let last = CLASSES.min(class.index + 1 + LARGER_SIZES);
        let mut next = (class.index + 1..last).map(Class::at);
        let (class, block) =
            next.find_map(|class| Some((class, self.take(class, self.free[class.index].try_lock().ok())?)))?;
        if self.larger.insert(block.addr(), class.index) {
            return Some(block);
        }
        // SAFETY: the block is one of its class, and nobody has it.
        unsafe { self.give_back(class, block) };
        None
    }

    /// A block from the system, in the place of kept ones if there are too many; null where there is no room even without any.
    fn make_in_bounds(&self, class: Class) -> (*mut u8, bool) {
        let asked = self.asked_bytes.load(Ordering::Relaxed).saturating_add(class.size);
        let most_asked = self.most_asked_bytes.load(Ordering::Relaxed).max(asked);
        let used = self.used_bytes.load(Ordering::Relaxed).saturating_add(class.size);
        let bound = most_asked.saturating_add(SLACK.max(most_asked / SLACK_PART));
        self.release_down_to(bound.saturating_sub(used));
        let (mut block, mut is_cleared) = self.make(class);
        if block.is_null() {
            self.release_down_to(0);
            (block, is_cleared) = self.make(class);
        }
        if !block.is_null() {
            self.used_bytes.fetch_add(class.size, Ordering::Relaxed);
        }
        (block, is_cleared)
    }

    /// Gives kept blocks back to the system until no more than `limit` bytes are kept.
    fn release_down_to(&self, limit: usize) {
        // The largest first: few blocks make much room.
        for (index, free) in self.free.iter().enumerate().rev() {
            while self.free_bytes.load(Ordering::Relaxed) > limit {
                let Some(address) = free.try_lock().ok().and_then(|mut free| free.kept.pop()) else { break };
                let class = Class::at(index);
                self.free_bytes.fetch_sub(class.size, Ordering::Relaxed);
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

    /// Keeps a block that is no longer in use, or gives it back to the system.
    ///
    /// # Safety
    /// The block must be one of the class, and nobody may use it any more.
    unsafe fn give_back(&self, class: Class, block: *mut u8) {
        self.used_bytes.fetch_sub(class.size, Ordering::Relaxed);
        match locked(&self.free[class.index]) {
            Some(mut free) => {
                free.kept.push(block.expose_provenance());
                self.free_bytes.fetch_add(class.size, Ordering::Relaxed);
            }
            // SAFETY: by the contract.
            None => unsafe { self.release(class, block) },
        }
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

// SAFETY: blocks of a class come from the system with the class's size, which is at least that of the layout asked for. When the
// block is freed, its class is found again from that layout, or noted if it is larger. Blocks are aligned like pages. A free block
// is in exactly one list, so it is handed out once.
unsafe impl GlobalAlloc for KeepLargeBlocks {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match Class::of(layout) {
            // SAFETY: the caller's promise is passed on.
            None => unsafe { System.alloc(layout) },
            Some(class) => self.get(class).0,
        }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let Some(class) = Class::of(layout) else {
            // SAFETY: the caller's promise is passed on.
            return unsafe { System.alloc_zeroed(layout) };
        };
        let (block, is_cleared) = self.get(class);
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
                self.asked_bytes.fetch_sub(class.size, Ordering::Relaxed);
                let class = self.larger.remove(block.addr()).map_or(class, Class::at);
                // SAFETY: the block is of the class of its layout, unless a larger one is noted; the caller has no further use for
                // it.
                unsafe { self.give_back(class, block) };
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

    /// Nothing is written to most blocks here, so that they take no room.
    fn layout(megabytes: usize) -> Layout {
        Layout::from_size_align(megabytes << 20, 64).unwrap()
    }

    /// Asks for blocks one after the other, and gives each back before the next. Returns their addresses.
    fn step(allocator: &KeepLargeBlocks, megabytes: &[usize]) -> Vec<usize> {
        let used = |&size: &usize| {
            // SAFETY: the block is freed at once with the layout that it was allocated with.
            unsafe {
                let block = allocator.alloc(layout(size));
                allocator.dealloc(block, layout(size));
                block.addr()
            }
        };
        megabytes.iter().map(used).collect()
    }

    fn held(allocator: &KeepLargeBlocks) -> usize {
        allocator.free_bytes.load(Ordering::Relaxed) >> 20
    }

    #[test]
    fn a_kept_block_serves_a_smaller_request() {
        let allocator = KeepLargeBlocks::new();
        let first = step(&allocator, &[56])[0];
        // 32 MB take it, and it waits with its own size again.
        assert_eq!(step(&allocator, &[48, 32, 56]), [first; 3]);
        assert_eq!(held(&allocator), 56);
        assert_ne!(step(&allocator, &[28])[0], first);
        assert_eq!(held(&allocator), 28 + 56);
    }

    #[test]
    fn what_waits_is_bounded() {
        let allocator = KeepLargeBlocks::new();
        // SAFETY: freed below with the same layout.
        let in_use = unsafe { allocator.alloc(layout(256)) };
        // None serves another. At most 384 MB are asked for at once, so a third, 128, may be held beyond them.
        for _ in 0..3 {
            step(&allocator, &[8, 16, 32, 64, 128]);
            let all = 256 + held(&allocator);
            assert!((384 + 64..=384 + 128).contains(&all), "{all}");
        }
        // SAFETY: as allocated above.
        unsafe { allocator.dealloc(in_use, layout(256)) };
        assert_eq!(allocator.used_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn larger_blocks_in_use_raise_no_bound() {
        let allocator = KeepLargeBlocks::new();
        // Each takes the block before it, which is larger than it needs.
        step(&allocator, &[56, 48, 40, 32]);
        assert_eq!(allocator.most_asked_bytes.load(Ordering::Relaxed), 56 << 20);
        assert_eq!(allocator.asked_bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_refused_is_forgotten() {
        let allocator = KeepLargeBlocks::new();
        step(&allocator, &[56]);
        // SAFETY: null is not freed.
        let refused = unsafe { allocator.alloc(Layout::from_size_align(1 << 60, 64).unwrap()) };
        assert!(refused.is_null());
        // What was kept might have been what was missing.
        assert_eq!(held(&allocator), 0);
        assert_eq!(allocator.used_bytes.load(Ordering::Relaxed), 0);
        assert_eq!(allocator.most_asked_bytes.load(Ordering::Relaxed), 56 << 20);
    }

    /// A block that holds a mark at both ends.
    struct Marked {
        block: *mut u8,
        layout: Layout,
        mark: u8,
    }

    // SAFETY: whoever has it is the only one who has the block.
    unsafe impl Send for Marked {}

    impl Marked {
        fn new(allocator: &KeepLargeBlocks, size: usize, mark: u8) -> Self {
            let layout = Layout::from_size_align(size, 64).unwrap();
            // SAFETY: the block is as large as its layout.
            let block = unsafe { allocator.alloc(layout) };
            let marked = Self { block, layout, mark };
            marked.write();
            marked
        }

        fn write(&self) {
            // SAFETY: the block is as large as its layout, and nobody else has it.
            unsafe {
                self.block.write(self.mark);
                self.block.add(self.layout.size() - 1).write(self.mark);
            }
        }

        /// Moves it to a block of another size.
        fn resize(&mut self, allocator: &KeepLargeBlocks, size: usize) {
            // SAFETY: the block has this layout, and the size is not zero. Its start stays.
            unsafe {
                self.block = allocator.realloc(self.block, self.layout, size);
                assert_eq!(self.block.read(), self.mark);
            }
            self.layout = Layout::from_size_align(size, 64).unwrap();
            self.write();
        }

        fn free(self, allocator: &KeepLargeBlocks) {
            // SAFETY: as above; the block is freed once.
            unsafe {
                assert!(self.block.read() == self.mark && self.block.add(self.layout.size() - 1).read() == self.mark);
                allocator.dealloc(self.block, self.layout);
            }
        }
    }

    /// Threads free what others have asked for. Some blocks are so large that the bound is met and memory goes back to the system.
    #[test]
    fn no_two_have_one_block() {
        const THREADS: u64 = 4;
        const TURNS: usize = 5_000;
        let allocator = KeepLargeBlocks::new();
        let exchanged: Mutex<Vec<Marked>> = Mutex::new(Vec::new());
        let work = |thread: u64| {
            let mut state = thread + 1;
            let mut random = |bound: usize| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as usize % bound
            };
            for turn in 0..TURNS {
                let largest = if turn % 8 == 0 { 256 * SMALLEST } else { 8 * SMALLEST };
                let mut marked = Marked::new(&allocator, SMALLEST + random(largest), random(256) as u8);
                if turn % 4 == 0 {
                    marked.resize(&allocator, SMALLEST + random(largest));
                }
                let other = {
                    let mut exchanged = exchanged.lock().unwrap();
                    exchanged.push(marked);
                    let count = exchanged.len();
                    (count > 24).then(|| exchanged.swap_remove(random(count)))
                };
                if let Some(other) = other {
                    other.free(&allocator);
                }
            }
        };
        std::thread::scope(|scope| {
            (0..THREADS).for_each(|thread| {
                let work = &work;
                scope.spawn(move || work(thread));
            });
        });
        exchanged.into_inner().unwrap().into_iter().for_each(|marked| marked.free(&allocator));
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        assert_eq!((count(&allocator.used_bytes), count(&allocator.asked_bytes)), (0, 0));
        let kept = allocator.free.iter().enumerate();
        let kept: usize = kept.map(|(index, free)| free.lock().unwrap().kept.len() * Class::at(index).size).sum();
        assert_eq!(count(&allocator.free_bytes), kept);
    }
}
