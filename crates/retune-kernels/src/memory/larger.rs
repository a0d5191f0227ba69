//! The sizes of blocks that serve requests for smaller ones.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Blocks that can be noted at once, about.
const PLACES: usize = 1 << PLACES_BITS;
const PLACES_BITS: u32 = 10;
/// Places that are tried for a block, side by side.
const TRIED: usize = 16;

/// Which blocks in use are larger than their layouts tell, and of what size. No thread waits for another.
pub(super) struct LargerBlocks {
    /// Addresses; 0 where a place is free.
    addresses: [AtomicUsize; PLACES],
    classes: [AtomicUsize; PLACES],
}

impl LargerBlocks {
    pub const fn new() -> Self {
        Self { addresses: [const { AtomicUsize::new(0) }; PLACES], classes: [const { AtomicUsize::new(0) }; PLACES] }
    }

    /// Notes a block that the caller alone has. Returns false where no place is free for it.
    pub fn insert(&self, address: usize, class: usize) -> bool {
        places(address).any(|place| {
            // What the place held before has been read by then.
            let is_free =
                self.addresses[place].compare_exchange(0, address, Ordering::Acquire, Ordering::Relaxed).is_ok();
            if is_free {
                self.classes[place].store(class, Ordering::Relaxed);
            }
            is_free
        })
    }

    /// Forgets a block that the caller alone has. Returns its class if it was noted.
    pub fn remove(&self, address: usize) -> Option<usize> {
        let place = places(address).find(|&place| self.addresses[place].load(Ordering::Relaxed) == address)?;
        let class = self.classes[place].load(Ordering::Relaxed);
        self.addresses[place].store(0, Ordering::Release);
        Some(class)
    }
}

/// Where a block may be noted.
fn places(address: usize) -> impl Iterator<Item = usize> {
    // The golden ratio spreads addresses, which are multiples of large powers of two.
    let hash = (address as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - PLACES_BITS);
    (0..TRIED).map(move |next| (hash as usize + next) % PLACES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_noted_until_they_are_freed() {
        let blocks = LargerBlocks::new();
        let address = |number: usize| number << 21;
        assert!((1..=PLACES / 4).all(|number| blocks.insert(address(number), number)));
        assert_eq!(blocks.remove(address(7)), Some(7));
        assert_eq!(blocks.remove(address(7)), None);
        assert!(blocks.insert(address(7), 8));
        assert_eq!(blocks.remove(address(7)), Some(8));
        let others = (1..=PLACES / 4).filter(|&number| number != 7);
        assert!(others.into_iter().all(|number| blocks.remove(address(number)) == Some(number)));
    }

    #[test]
    fn what_finds_no_place_is_not_noted() {
        let blocks = LargerBlocks::new();
        let noted: Vec<usize> = (1..=2 * PLACES).filter(|&number| blocks.insert(number << 13, number)).collect();
        assert!(noted.len() <= PLACES && noted.len() > PLACES / 2);
        assert!(noted.iter().all(|&number| blocks.remove(number << 13) == Some(number)));
        assert!((1..=2 * PLACES).all(|number| blocks.remove(number << 13).is_none()));
    }
}
