//! Blocks straight from the operating system, in pages as large as it has.
//!
//! Kernels walk over matrices across their rows, each of which may lie in a page of its own. A processor remembers the places
//! of about a hundred pages in its fastest memory; a matrix of some megabytes has a thousand of 4 KiB, and two of 2 MiB.

#[cfg(target_os = "linux")]
pub(super) use self::linux::{new, release};
#[cfg(not(target_os = "linux"))]
pub(super) use self::other::{new, release};

#[cfg(target_os = "linux")]
mod linux {
    use std::ops::Range;
    use std::ptr;
    use std::sync::{Mutex, PoisonError};

    /// Bytes of a huge page. A block as large has pages of its own; smaller ones lie side by side.
    pub(super) const HUGE: usize = 2 << 20;
    /// Bytes that are mapped at once for small blocks. What nobody writes to takes no room.
    const CHUNK: usize = 32 * HUGE;

    /// Addresses of the last chunk that belong to no block yet.
    static LEFT: Mutex<Range<usize>> = Mutex::new(0..0);

    /// A cleared block; null where there is no room. Its size is a multiple of 8 KiB.
    pub(in super::super) fn new(size: usize) -> *mut u8 {
        if size >= HUGE {
            return map(size);
        }
        // Nothing is allocated under the lock, so this allocator does not wait for itself.
        let mut left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() < size {
            let chunk = map(CHUNK);
            if chunk.is_null() {
                return chunk;
            }
            let start = chunk.expose_provenance();
            *left = start..start + CHUNK;
        }
        let block = left.start;
        left.start += size;
        ptr::with_exposed_provenance_mut(block)
    }

    /// Gives the memory of a block back. Returns whether its address remains, for another block of its size: what is in it then
    /// is undefined.
    ///
    /// # Safety
    /// [`new`] must have made it with this size, and nobody may use it any more.
    pub(in super::super) unsafe fn release(block: *mut u8, size: usize) -> bool {
        let is_small = size < HUGE;
        // SAFETY: by the contract. What cannot be given back takes room and does no other harm.
        unsafe {
            match is_small {
                true => libc::madvise(block.cast(), size, libc::MADV_DONTNEED),
                false => libc::munmap(block.cast(), size),
            };
        }
        is_small
    }

    /// Cleared memory that begins at a huge page; null where there is no room. Linux takes huge pages where it may and has them.
    fn map(size: usize) -> *mut u8 {
        // SAFETY: a new mapping touches no memory that anybody has.
        let start = unsafe {
            let (access, kind) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            libc::mmap(ptr::null_mut(), size + HUGE, access, kind, -1, 0)
        };
        if start == libc::MAP_FAILED {
            return ptr::null_mut();
        }
        let before = start.align_offset(HUGE);
        let block = start.wrapping_byte_add(before);
        // SAFETY: both ends belong to the new mapping and not to the block; advice changes no content. If they cannot be
        // unmapped or the system does not know the advice, the block is as good.
        unsafe {
            if before > 0 {
                libc::munmap(start, before);
            }
            libc::munmap(block.wrapping_byte_add(size), HUGE - before);
            libc::madvise(block, size, libc::MADV_HUGEPAGE);
        }
        block.cast()
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use std::alloc::{GlobalAlloc, Layout, System};

    /// An alignment of a cache line suits every block.
    fn layout(size: usize) -> Layout {
        Layout::from_size_align(size, 64).expect("classes have sizes below a quarter of isize::MAX")
    }

    /// A cleared block; null where there is no room.
    pub(in super::super) fn new(size: usize) -> *mut u8 {
        // SAFETY: a class's size is never zero.
        unsafe { System.alloc_zeroed(layout(size)) }
    }

    /// Gives a block back. Returns whether its address remains, which it does not.
    ///
    /// # Safety
    /// [`new`] must have made it with this size, and nobody may use it any more.
    pub(in super::super) unsafe fn release(block: *mut u8, size: usize) -> bool {
        // SAFETY: by the contract.
        unsafe { System.dealloc(block, layout(size)) };
        false
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::linux::{HUGE, new, release};

    #[test]
    fn a_block_is_cleared_and_its_own() {
        let mut blocks: Vec<_> = (1..200).map(|size| (size * 65536, new(size * 65536))).collect();
        for (number, &(size, block)) in blocks.iter().enumerate() {
            assert!(!block.is_null() && (size < HUGE || block.addr().is_multiple_of(HUGE)));
            // SAFETY: the block has that many cleared bytes.
            let bytes = unsafe { std::slice::from_raw_parts_mut(block, size) };
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(number as u8);
        }
        while let Some((size, block)) = blocks.pop() {
            // SAFETY: as above; the block is given back once.
            unsafe {
                let bytes = std::slice::from_raw_parts(block, size);
                assert!(bytes.iter().all(|byte| *byte == blocks.len() as u8));
                assert_eq!(release(block, size), size < HUGE);
            }
        }
    }

    #[test]
    fn a_block_larger_than_the_machine_is_null() {
        assert!(new(1 << 60).is_null());
    }
}
