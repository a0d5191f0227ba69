//! The tables that segments define for the scans after them.

use std::sync::Arc;

use crate::error::JpegError;
use crate::frame::Block;
use crate::huffman::HuffmanTable;

/// The position in rows of the n-th coefficient in zigzag order. Positions past the last, which only
/// damaged files reach, are the last one's.
pub(crate) const ZIGZAG: [u8; 128] = {
    let mut order = [63; 128];
    let (mut row, mut column) = (0_i8, 0_i8);
    let mut n = 0;
    while n < 64 {
        order[n] = (row * 8 + column) as u8;
        let up = (row + column) % 2 == 0;
        if up && column == 7 || !up && row == 7 {
            // At the right or lower edge the path turns along it.
            if up { row += 1 } else { column += 1 }
        } else if up {
            column += 1;
            if row > 0 {
                row -= 1;
            }
        } else {
            row += 1;
            if column > 0 {
                column -= 1;
            }
        }
        n += 1;
    }
    order
};

/// Quantization and entropy coding tables by slot, and the restart interval.
#[derive(Clone, Debug)]
pub(crate) struct Tables {
    quantization: [Option<Block>; 4],
    /// A definition that is wrong does no harm unless a scan uses it.
    dc: [Option<Result<Arc<HuffmanTable>, JpegError>>; 4],
    ac: [Option<Result<Arc<HuffmanTable>, JpegError>>; 4],
    pub conditioning: Conditioning,
    /// MCUs between restart markers; 0 for none.
    pub restart_interval: usize,
}

/// How the contexts of arithmetic coding depend on what was coded before (T.81, F.1.4.4).
#[derive(Clone, Debug)]
pub(crate) struct Conditioning {
    /// The lower and upper bound of small differences, as powers of two, for each DC table.
    pub dc: [(u8, u8); 16],
    /// The last "low" coefficient for each AC table.
    pub ac: [u8; 16],
}

impl Default for Tables {
    fn default() -> Self {
        Tables {
            quantization: [None; 4],
            dc: Default::default(),
            ac: Default::default(),
            conditioning: Conditioning { dc: [(0, 1); 16], ac: [5; 16] },
            restart_interval: 0,
        }
    }
}

impl Tables {
    pub fn quantization(&self, slot: usize) -> Result<Block, JpegError> {
        let table = self.quantization.get(slot).copied().flatten();
        table.ok_or(JpegError::Damaged("a quantization table is missing"))
    }

    /// The Huffman table of differences of DC coefficients in a slot.
    pub fn dc(&self, slot: usize) -> Result<Arc<HuffmanTable>, JpegError> {
        self.dc.get(slot).cloned().flatten().unwrap_or(Err(MISSING_TABLE))
    }

    /// The Huffman table of AC coefficients in a slot.
    pub fn ac(&self, slot: usize) -> Result<Arc<HuffmanTable>, JpegError> {
        self.ac.get(slot).cloned().flatten().unwrap_or(Err(MISSING_TABLE))
    }

    /// Fills the first two slots with the tables that motion JPEG leaves out.
    pub fn fill_standard(&mut self) {
        for (slot, definition) in [&DC_LUMINANCE, &DC_CHROMINANCE].into_iter().enumerate() {
            self.dc[slot].get_or_insert_with(|| HuffmanTable::new(definition, true).map(Arc::new));
        }
        for (slot, definition) in [&AC_LUMINANCE, &AC_CHROMINANCE].into_iter().enumerate() {
            self.ac[slot].get_or_insert_with(|| HuffmanTable::new(definition, false).map(Arc::new));
        }
    }

    /// Reads a DQT segment.
    pub fn define_quantization(&mut self, mut segment: &[u8]) -> Result<(), JpegError> {
        let damaged = JpegError::Damaged("a quantization table is not as the standard has it");
        while let [head, rest @ ..] = segment {
            let (wide, slot) = (head >> 4, usize::from(head & 15));
            let bytes = if wide == 0 { 64 } else { 128 };
            let Some((values, rest)) = rest.split_at_checked(bytes) else { return Err(damaged) };
            if slot > 3 {
                return Err(damaged);
            }
            let mut table = [0; 64];
            for (n, position) in ZIGZAG[..64].iter().enumerate() {
                let value = match wide {
                    0 => u16::from(values[n]),
                    _ => u16::from_be_bytes([values[2 * n], values[2 * n + 1]]),
                };
                // Products with coefficients are taken modulo 2¹⁶, as libjpeg-turbo does.
                table[usize::from(*position)] = value as i16;
            }
            self.quantization[slot] = Some(table);
            segment = rest;
        }
        Ok(())
    }

    /// Reads a DHT segment.
    pub fn define_huffman(&mut self, mut segment: &[u8]) -> Result<(), JpegError> {
        while let [head, rest @ ..] = segment {
            let (class, slot) = (head >> 4, usize::from(head & 15));
            let length = rest.get(..16).map(|counts| 16 + counts.iter().map(|n| usize::from(*n)).sum::<usize>());
            let Some((definition, rest)) = length.and_then(|length| rest.split_at_checked(length)) else {
                return Err(JpegError::Damaged("a Huffman table is cut short"));
            };
            if slot > 3 || class > 1 {
                return Err(JpegError::Damaged("a Huffman table has a slot that does not exist"));
            }
            let table = Some(HuffmanTable::new(definition, class == 0).map(Arc::new));
            if class == 0 {
                self.dc[slot] = table
            } else {
                self.ac[slot] = table
            }
            segment = rest;
        }
        Ok(())
    }

    /// Reads a DAC segment.
    pub fn define_conditioning(&mut self, segment: &[u8]) -> Result<(), JpegError> {
        let damaged = JpegError::Damaged("the conditioning of arithmetic coding is not as the standard has it");
        let (pairs, rest) = segment.as_chunks::<2>();
        if !rest.is_empty() {
            return Err(damaged);
        }
        for &[head, value] in pairs {
            let slot = usize::from(head & 15);
            match head >> 4 {
                0 if value & 15 <= value >> 4 => self.conditioning.dc[slot] = (value & 15, value >> 4),
                1 => self.conditioning.ac[slot] = value,
                _ => return Err(damaged),
            }
        }
        Ok(())
    }
}

const MISSING_TABLE: JpegError = JpegError::Damaged("a Huffman table is missing");

// The tables of T.81, Annex K.3: how many codes there are of each length, then what they stand for.
const DC_LUMINANCE: [u8; 28] = [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const DC_CHROMINANCE: [u8; 28] = [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const AC_LUMINANCE: [u8; 178] = [
    0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125, 1, 2, 3, 0, 4, 17, 5, 18, 33, 49, 65, 6, 19, 81, 97, 7, 34, 113,
    20, 50, 129, 145, 161, 8, 35, 66, 177, 193, 21, 82, 209, 240, 36, 51, 98, 114, 130, 9, 10, 22, 23, 24, 25, 26, 37,
    38, 39, 40, 41, 42, 52, 53, 54, 55, 56, 57, 58, 67, 68, 69, 70, 71, 72, 73, 74, 83, 84, 85, 86, 87, 88, 89, 90, 99,
    100, 101, 102, 103, 104, 105, 106, 115, 116, 117, 118, 119, 120, 121, 122, 131, 132, 133, 134, 135, 136, 137, 138,
    146, 147, 148, 149, 150, 151, 152, 153, 154, 162, 163, 164, 165, 166, 167, 168, 169, 170, 178, 179, 180, 181, 182,
    183, 184, 185, 186, 194, 195, 196, 197, 198, 199, 200, 201, 202, 210, 211, 212, 213, 214, 215, 216, 217, 218, 225,
    226, 227, 228, 229, 230, 231, 232, 233, 234, 241, 242, 243, 244, 245, 246, 247, 248, 249, 250,
];
const AC_CHROMINANCE: [u8; 178] = [
    0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119, 0, 1, 2, 3, 17, 4, 5, 33, 49, 6, 18, 65, 81, 7, 97, 113, 19, 34,
    50, 129, 8, 20, 66, 145, 161, 177, 193, 9, 35, 51, 82, 240, 21, 98, 114, 209, 10, 22, 36, 52, 225, 37, 241, 23, 24,
    25, 26, 38, 39, 40, 41, 42, 53, 54, 55, 56, 57, 58, 67, 68, 69, 70, 71, 72, 73, 74, 83, 84, 85, 86, 87, 88, 89, 90,
    99, 100, 101, 102, 103, 104, 105, 106, 115, 116, 117, 118, 119, 120, 121, 122, 130, 131, 132, 133, 134, 135, 136,
    137, 138, 146, 147, 148, 149, 150, 151, 152, 153, 154, 162, 163, 164, 165, 166, 167, 168, 169, 170, 178, 179, 180,
    181, 182, 183, 184, 185, 186, 194, 195, 196, 197, 198, 199, 200, 201, 202, 210, 211, 212, 213, 214, 215, 216, 217,
    218, 226, 227, 228, 229, 230, 231, 232, 233, 234, 242, 243, 244, 245, 246, 247, 248, 249, 250,
];
