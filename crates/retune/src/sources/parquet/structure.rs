//! A look at the structures of a Parquet file before its reader sees them.
//!
//! They are written in Thrift's compact protocol (<https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md>),
//! which tells how long each value is, so that unknown ones can be passed over. The reader passes over an element that
//! is true or false without taking a byte, as often as a list says: billions of times, in lists within lists. No
//! structure of the format has a list of these, so a file with one is refused.

/// Structures within structures, of which the format has fewer than ten.
const DEEPEST: usize = 32;

/// The fields of a page's header that say how long what follows is.
const COMPRESSED_SIZE: u64 = 3;

/// Whether the bytes begin with a structure in which every value is whole.
pub(super) fn is_sound(bytes: &[u8]) -> bool {
    Walk { left: bytes }.structure(DEEPEST, &mut |_, _| ()).is_some()
}

/// The length of a page's header and of the page behind it, in bytes; `None` where the header is damaged or not whole.
pub(super) fn page_lengths(bytes: &[u8]) -> Option<(usize, u64)> {
    let mut walk = Walk { left: bytes };
    let mut page = None;
    walk.structure(DEEPEST, &mut |id, value| {
        if id == COMPRESSED_SIZE {
            // Numbers are written with their sign in the lowest bit.
            page = value.filter(|value| value & 1 == 0).map(|value| value >> 1);
        }
    })?;
    Some((bytes.len() - walk.left.len(), page?))
}

struct Walk<'a> {
    left: &'a [u8],
}

impl Walk<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.left.split_first()?;
        self.left = rest;
        Some(first)
    }

    fn skip(&mut self, count: u64) -> Option<()> {
        self.left = self.left.get(usize::try_from(count).ok()?..)?;
        Some(())
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    /// Walks over the fields of a structure up to its end; `field` is told the number of each and, of integers, the
    /// value.
    fn structure(&mut self, depth: usize, field: &mut dyn FnMut(u64, Option<u64>)) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        let mut id = 0u64;
        loop {
            let head = self.byte()?;
            if head == 0 {
                return Some(());
            }
            id = match head >> 4 {
                0 => self.number()? >> 1,
                step => id.checked_add(u64::from(step))?,
            };
            match head & 0xf {
                // A field that is true or false is so by its type.
                1 | 2 => {}
                4..=6 => field(id, Some(self.number()?)),
                kind => self.value(kind, depth)?,
            }
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Option<()> {
        match kind {
            3 => self.skip(1),
            4..=6 => self.number().map(|_| ()),
            7 => self.skip(8),
            8 => {
                let length = self.number()?;
                self.skip(length)
            }
            9 | 10 => {
                let head = self.byte()?;
                let length = match head >> 4 {
                    15 => self.number()?,
                    length => u64::from(length),
                };
                self.elements(length, &[head & 0xf], depth)
            }
            11 => match self.number()? {
                0 => Some(()),
                length => {
                    let kinds = self.byte()?;
                    self.elements(length, &[kinds >> 4, kinds & 0xf], depth)
                }
            },
            12 => self.structure(depth, &mut |_, _| ()),
            13 => self.skip(16),
            _ => None,
        }
    }

    /// Each element takes a byte at least, so that the bytes bound how many are passed.
    fn elements(&mut self, count: u64, kinds: &[u8], depth: usize) -> Option<()> {
        let depth = depth.checked_sub(1)?;
        (0..count).try_for_each(|_| kinds.iter().try_for_each(|&kind| self.value(kind, depth)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two integers, a text, a list of two structures and one that is true, as the protocol's specification writes them.
    const SOUND: [u8; 17] = [0x15, 0x04, 0x25, 0x80, 0x02, 0x18, 2, b'a', b'b', 0x19, 0x2c, 0x15, 0x02, 0, 0, 0x11, 0];

    #[test]
    fn whole_structures_are_sound_and_cut_ones_are_not() {
        assert!(is_sound(&SOUND));
        assert!((0..SOUND.len()).all(|length| !is_sound(&SOUND[..length])));
        // The number 3 is the second field, numbered one and two further than zero.
        assert_eq!(page_lengths(&SOUND), Some((SOUND.len(), 128)));
        assert_eq!(page_lengths(&[0x15, 0x04, 0]), None);
    }

    #[test]
    fn lists_that_take_no_bytes_are_refused() {
        // A list of 2³¹ - 1 elements that are true.
        assert!(!is_sound(&[0x19, 0xf1, 0xff, 0xff, 0xff, 0xff, 0x07, 0]));
        let nested: Vec<u8> = std::iter::once(0x1c).chain(std::iter::repeat_n(0x1c, 1000)).collect();
        assert!(!is_sound(&nested));
    }
}
