//! Huffman tables, made for looking up several bits at once.

use crate::bits::BitReader;
use crate::error::JpegError;

/// Codes up to this length are found by one lookup.
const LOOKED_UP: u32 = 9;

/// One entry of the table that the next bits index.
///
/// Bits 0 to 7: how many bits to go on by, or 0 where the code is longer than the lookup. Bits 8 to 15:
/// the symbol. Where the bits after the code are within the lookup too, bit 7 is set, bits 0 to 6 count
/// them in, and bits 16 to 31 are the coefficient that they give.
pub(crate) type Entry = u32;

/// Set in an [`Entry`] that has the coefficient itself.
pub(crate) const COMPLETE: Entry = 1 << 7;

#[derive(Debug)]
pub(crate) struct HuffmanTable {
    lookup: [Entry; 1 << LOOKED_UP],
    /// For each length, the first 16 bits that belong to a longer code.
    limits: [u32; 17],
    /// For each length, what to add to a code of that length to get the position of its symbol.
    offsets: [i32; 17],
    symbols: [u8; 256],
}

impl HuffmanTable {
    /// From a definition: 16 counts of codes by length, and the symbols. In tables for `dc` a symbol is
    /// the number of bits of a difference, of which there are at most 15.
    pub fn new(definition: &[u8], dc: bool) -> Result<Self, JpegError> {
        let damaged = JpegError::Damaged("a Huffman table is not as the standard has it");
        let Some((counts, listed)) = definition.split_at_checked(16) else { return Err(damaged) };
        if listed.len() > 256 || dc && listed.iter().any(|bits| *bits > 15) {
            return Err(damaged);
        }
        let mut table =
            HuffmanTable { lookup: [0; 1 << LOOKED_UP], limits: [0; 17], offsets: [0; 17], symbols: [0; 256] };
        table.symbols[..listed.len()].copy_from_slice(listed);
        let (mut code, mut position) = (0_u32, 0);
        for length in 1..=16_u32 {
            let count = u32::from(counts[length as usize - 1]);
            table.offsets[length as usize] = position as i32 - code as i32;
            for _ in 0..count {
                if length <= LOOKED_UP && code < 1 << length {
                    table.fill(code, length, listed[position], dc);
                }
                code += 1;
                position += 1;
            }
            // The code of ones alone is reserved, and libjpeg refuses it; it does no harm.
            if code > 1 << length {
                return Err(damaged);
            }
            table.limits[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Ok(table)
    }

    /// Enters a code at every index that begins with it.
    fn fill(&mut self, code: u32, length: u32, symbol: u8, dc: bool) {
        let spare = LOOKED_UP - length;
        let bits = if dc { u32::from(symbol) } else { u32::from(symbol & 15) };
        for rest in 0..1 << spare {
            let entry = if bits <= spare && (bits > 0 || dc) {
                let value = extend(rest >> (spare - bits), bits);
                (length + bits) | COMPLETE | u32::from(symbol) << 8 | (value as u32) << 16
            } else {
                length | u32::from(symbol) << 8
            };
            self.lookup[(code << spare | rest) as usize] = entry;
        }
    }

    /// The entry for the next bits, which are still to be consumed.
    #[inline(always)]
    pub fn entry(&self, reader: &BitReader) -> Entry {
        self.lookup[reader.peek(LOOKED_UP) as usize]
    }

    /// Reads one symbol; the reader holds 17 bits at least.
    #[inline(always)]
    pub fn symbol(&self, reader: &mut BitReader) -> u8 {
        self.symbol_of(self.entry(reader), reader)
    }

    /// Reads the symbol of an entry, but not the bits after it. A code that is in no table counts as symbol 0.
    #[inline(always)]
    pub fn symbol_of(&self, entry: Entry, reader: &mut BitReader) -> u8 {
        let symbol = (entry >> 8) as u8;
        let length = entry & 0x7F;
        if length == 0 {
            let (symbol, length) = self.long_code(reader.peek(16) as u32);
            if length > 16 {
                reader.note_bad_code();
            }
            reader.consume(length);
            return symbol;
        }
        let counted = if entry & COMPLETE != 0 { u32::from(symbol & 15) } else { 0 };
        reader.consume(length - counted);
        symbol
    }

    /// The symbol and length of a code that is too long for the lookup, of the 16 bits that come next. Where there
    /// is no such code, libjpeg takes 17 bits, as it looks for a code of that length last.
    #[cold]
    #[inline(never)]
    fn long_code(&self, next: u32) -> (u8, u32) {
        let Some(length) = (LOOKED_UP + 1..=16).find(|length| next < self.limits[*length as usize]) else {
            return (0, 17);
        };
        let position = (next >> (16 - length)) as i32 + self.offsets[length as usize];
        (self.symbols[position as usize & 255], length)
    }
}

/// The number that `bits` bits after a code stand for (T.81, F.2.2.1).
#[inline(always)]
pub(crate) fn extend(value: u32, bits: u32) -> i32 {
    let value = value as i32;
    if bits > 0 && value < 1 << (bits - 1) { value - (1 << bits) + 1 } else { value }
}
