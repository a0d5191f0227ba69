//! Arithmetic coding, sequential and progressive (T.81, Annex D, F.1.4 and G.1.3).

use crate::bits::data_byte;
use crate::frame::Block;
use crate::scan::{BlockDecoder, Scan};
use crate::segments::Segments;
use crate::tables::{Conditioning, Tables, ZIGZAG};

/// Contexts of one DC and of one AC table.
const DC_CONTEXTS: usize = 64;
const AC_CONTEXTS: usize = 256;

/// The state of a context that stays at even odds, after those of the standard.
const EVEN: u8 = 113;

/// For each state: the probability of the less probable symbol, the states after it and after the more
/// probable one, and whether the two change places (T.81, Table D.3).
#[rustfmt::skip]
const STATES: [(u32, u8, u8, u8); 114] = [
    (0x5a1d, 1, 1, 1), (0x2586, 14, 2, 0), (0x1114, 16, 3, 0), (0x080b, 18, 4, 0), (0x03d8, 20, 5, 0),
    (0x01da, 23, 6, 0), (0x00e5, 25, 7, 0), (0x006f, 28, 8, 0), (0x0036, 30, 9, 0), (0x001a, 33, 10, 0),
    (0x000d, 35, 11, 0), (0x0006, 9, 12, 0), (0x0003, 10, 13, 0), (0x0001, 12, 13, 0), (0x5a7f, 15, 15, 1),
    (0x3f25, 36, 16, 0), (0x2cf2, 38, 17, 0), (0x207c, 39, 18, 0), (0x17b9, 40, 19, 0), (0x1182, 42, 20, 0),
    (0x0cef, 43, 21, 0), (0x09a1, 45, 22, 0), (0x072f, 46, 23, 0), (0x055c, 48, 24, 0), (0x0406, 49, 25, 0),
    (0x0303, 51, 26, 0), (0x0240, 52, 27, 0), (0x01b1, 54, 28, 0), (0x0144, 56, 29, 0), (0x00f5, 57, 30, 0),
    (0x00b7, 59, 31, 0), (0x008a, 60, 32, 0), (0x0068, 62, 33, 0), (0x004e, 63, 34, 0), (0x003b, 32, 35, 0),
    (0x002c, 33, 9, 0), (0x5ae1, 37, 37, 1), (0x484c, 64, 38, 0), (0x3a0d, 65, 39, 0), (0x2ef1, 67, 40, 0),
    (0x261f, 68, 41, 0), (0x1f33, 69, 42, 0), (0x19a8, 70, 43, 0), (0x1518, 72, 44, 0), (0x1177, 73, 45, 0),
    (0x0e74, 74, 46, 0), (0x0bfb, 75, 47, 0), (0x09f8, 77, 48, 0), (0x0861, 78, 49, 0), (0x0706, 79, 50, 0),
    (0x05cd, 48, 51, 0), (0x04de, 50, 52, 0), (0x040f, 50, 53, 0), (0x0363, 51, 54, 0), (0x02d4, 52, 55, 0),
    (0x025c, 53, 56, 0), (0x01f8, 54, 57, 0), (0x01a4, 55, 58, 0), (0x0160, 56, 59, 0), (0x0125, 57, 60, 0),
    (0x00f6, 58, 61, 0), (0x00cb, 59, 62, 0), (0x00ab, 61, 63, 0), (0x008f, 61, 32, 0), (0x5b12, 65, 65, 1),
    (0x4d04, 80, 66, 0), (0x412c, 81, 67, 0), (0x37d8, 82, 68, 0), (0x2fe8, 83, 69, 0), (0x293c, 84, 70, 0),
    (0x2379, 86, 71, 0), (0x1edf, 87, 72, 0), (0x1aa9, 87, 73, 0), (0x174e, 72, 74, 0), (0x1424, 72, 75, 0),
    (0x119c, 74, 76, 0), (0x0f6b, 74, 77, 0), (0x0d51, 75, 78, 0), (0x0bb6, 77, 79, 0), (0x0a40, 77, 48, 0),
    (0x5832, 80, 81, 1), (0x4d1c, 88, 82, 0), (0x438e, 89, 83, 0), (0x3bdd, 90, 84, 0), (0x34ee, 91, 85, 0),
    (0x2eae, 92, 86, 0), (0x299a, 93, 87, 0), (0x2516, 86, 71, 0), (0x5570, 88, 89, 1), (0x4ca9, 95, 90, 0),
    (0x44d9, 96, 91, 0), (0x3e22, 97, 92, 0), (0x3824, 99, 93, 0), (0x32b4, 99, 94, 0), (0x2e17, 93, 86, 0),
    (0x56a8, 95, 96, 1), (0x4f46, 101, 97, 0), (0x47e5, 102, 98, 0), (0x41cf, 103, 99, 0), (0x3c3d, 104, 100, 0),
    (0x375e, 99, 93, 0), (0x5231, 105, 102, 0), (0x4c0f, 106, 103, 0), (0x4639, 107, 104, 0), (0x415e, 103, 99, 0),
    (0x5627, 105, 106, 1), (0x50e7, 108, 107, 0), (0x4b85, 109, 103, 0), (0x5597, 110, 109, 0), (0x504f, 111, 107, 0),
    (0x5a10, 110, 111, 1), (0x5522, 112, 109, 0), (0x59eb, 112, 111, 1), (0x5a1d, 113, 113, 0),
];

/// Decodes one scan.
pub(crate) struct Arithmetic<'a> {
    coder: Coder<'a>,
    conditioning: Conditioning,
    /// Where the contexts of each component's tables are.
    slots: Vec<(usize, usize)>,
    dc: Box<[[u8; DC_CONTEXTS]; 16]>,
    ac: Box<[[u8; AC_CONTEXTS]; 16]>,
    /// For each component the DC coefficient before, and the contexts that its difference chose.
    predictions: [i32; 4],
    chosen: [usize; 4],
    progressive: bool,
    first: usize,
    last: usize,
    shift: u32,
    refines: bool,
    /// Whether something was impossible, so that nothing is decoded until the next restart.
    broken: bool,
    damages: usize,
}

/// The coded data says something impossible.
struct Impossible;

impl<'a> Arithmetic<'a> {
    pub fn new(progressive: bool, scan: &Scan, tables: &Tables, segments: &Segments<'a>) -> Self {
        Arithmetic {
            coder: Coder::new(segments.bytes, segments.position),
            conditioning: tables.conditioning.clone(),
            slots: scan.slots.clone(),
            dc: Box::new([[0; DC_CONTEXTS]; 16]),
            ac: Box::new([[0; AC_CONTEXTS]; 16]),
            predictions: [0; 4],
            chosen: [0; 4],
            progressive,
            first: scan.first,
            last: scan.last,
            shift: scan.shift,
            refines: scan.before > 0,
            broken: false,
            damages: 0,
        }
    }

    /// The next DC coefficient of a component.
    fn dc(&mut self, n: usize) -> Result<i32, Impossible> {
        let slot = self.slots[n].0;
        let contexts = &mut self.dc[slot];
        let start = self.chosen[n];
        if !self.coder.decide(&mut contexts[start]) {
            self.chosen[n] = 0;
            return Ok(self.predictions[n]);
        }
        let negative = self.coder.decide(&mut contexts[start + 1]);
        let mut context = start + 2 + usize::from(negative);
        let mut magnitude = u32::from(self.coder.decide(&mut contexts[context]));
        if magnitude != 0 {
            context = 20;
            while self.coder.decide(&mut contexts[context]) {
                magnitude <<= 1;
                if magnitude == 0x8000 {
                    return Err(Impossible);
                }
                context += 1;
            }
        }
        let (lower, upper) = self.conditioning.dc[slot];
        self.chosen[n] = match magnitude {
            small if small < (1 << lower) >> 1 => 0,
            large if large > (1 << upper) >> 1 => 12,
            _ => 4,
        };
        if self.chosen[n] > 0 && negative {
            self.chosen[n] += 4;
        }
        let value = self.coder.magnitude(magnitude, &mut contexts[context + 14]);
        self.predictions[n] = self.predictions[n].wrapping_add(if negative { -value } else { value });
        Ok(self.predictions[n])
    }

    /// The AC coefficients of a block, those of the scan.
    fn ac(&mut self, n: usize, block: &mut Block) -> Result<(), Impossible> {
        let slot = self.slots[n].1;
        let contexts = &mut self.ac[slot];
        let mut k = self.first.max(1);
        while k <= self.last {
            let mut context = 3 * (k - 1);
            if self.coder.decide(&mut contexts[context]) {
                break;
            }
            while !self.coder.decide(&mut contexts[context + 1]) {
                context += 3;
                k += 1;
                if k > self.last {
                    return Err(Impossible);
                }
            }
            let negative = self.coder.decide(&mut { EVEN });
            context += 2;
            let mut magnitude = u32::from(self.coder.decide(&mut contexts[context]));
            if magnitude != 0 && self.coder.decide(&mut contexts[context]) {
                magnitude = 2;
                context = if k <= usize::from(self.conditioning.ac[slot]) { 189 } else { 217 };
                while self.coder.decide(&mut contexts[context]) {
                    magnitude <<= 1;
                    if magnitude == 0x8000 {
                        return Err(Impossible);
                    }
                    context += 1;
                }
            }
            let value = self.coder.magnitude(magnitude, &mut contexts[context + 14]);
            let value = if negative { -value } else { value };
            block[usize::from(ZIGZAG[k])] = (value << self.shift) as i16;
            k += 1;
        }
        Ok(())
    }

    fn ac_refine(&mut self, block: &mut Block) -> Result<(), Impossible> {
        let contexts = &mut self.ac[self.slots[0].1];
        let bit = 1_i16 << self.shift;
        // No block ends before the last coefficient that is known.
        let known = (1..=self.last).rev().find(|k| block[usize::from(ZIGZAG[*k])] != 0).unwrap_or(0);
        let mut k = self.first;
        while k <= self.last {
            let mut context = 3 * (k - 1);
            if k > known && self.coder.decide(&mut contexts[context]) {
                break;
            }
            loop {
                let coefficient = &mut block[usize::from(ZIGZAG[k])];
                if *coefficient != 0 {
                    if self.coder.decide(&mut contexts[context + 2]) {
                        *coefficient = coefficient.wrapping_add(if *coefficient < 0 { -bit } else { bit });
                    }
                    break;
                }
                if self.coder.decide(&mut contexts[context + 1]) {
                    *coefficient = if self.coder.decide(&mut { EVEN }) { -bit } else { bit };
                    break;
                }
                context += 3;
                k += 1;
                if k > self.last {
                    return Err(Impossible);
                }
            }
            k += 1;
        }
        Ok(())
    }
}

impl Arithmetic<'_> {
    fn decode(&mut self, n: usize, block: &mut Block) -> Result<(), Impossible> {
        if !self.progressive {
            block[0] = self.dc(n)? as i16;
            return self.ac(n, block);
        }
        match (self.first, self.refines) {
            (0, false) => block[0] = (self.dc(n)? << self.shift) as i16,
            (0, true) => {
                if self.coder.decide(&mut { EVEN }) {
                    block[0] |= 1 << self.shift;
                }
            }
            (_, false) => self.ac(n, block)?,
            (_, true) => self.ac_refine(block)?,
        }
        Ok(())
    }
}

impl BlockDecoder for Arithmetic<'_> {
    fn block(&mut self, n: usize, block: &mut Block) {
        if !self.broken && self.decode(n, block).is_err() {
            self.broken = true;
            self.damages += 1;
        }
    }

    fn finish_mcu(&mut self) {}

    /// Zeros at the end of the data are not written, so it never runs out.
    fn exhausted(&self) -> bool {
        false
    }

    fn restart(&mut self, position: usize, _: bool) {
        self.coder = Coder::new(self.coder.data, position);
        *self.dc = [[0; DC_CONTEXTS]; 16];
        *self.ac = [[0; AC_CONTEXTS]; 16];
        (self.predictions, self.chosen) = ([0; 4], [0; 4]);
        self.broken = false;
    }

    fn end(&self) -> usize {
        self.coder.position
    }

    fn ahead(&self) -> usize {
        0
    }

    fn file_ended(&self) -> bool {
        self.coder.file_ended
    }

    fn damages(&self) -> usize {
        self.damages
    }
}

/// The coder of yes and no (T.81, Annex D.2).
struct Coder<'a> {
    data: &'a [u8],
    position: usize,
    /// The code register, and the size of the interval it lies in.
    code: u64,
    interval: u64,
    /// Bits until the next byte is needed.
    bits: i32,
    file_ended: bool,
}

impl<'a> Coder<'a> {
    fn new(data: &'a [u8], position: usize) -> Self {
        Coder { data, position, code: 0, interval: 0, bits: -16, file_ended: false }
    }

    /// The next byte of the segment, and zeros after it.
    fn byte(&mut self) -> u64 {
        let rest = &self.data[self.position..];
        let Some((byte, length)) = data_byte(rest) else {
            self.file_ended |= rest.iter().all(|byte| *byte == 0xFF);
            return 0;
        };
        self.position += length;
        u64::from(byte)
    }

    /// Decodes one decision in a context, whose highest bit is the more probable symbol.
    fn decide(&mut self, context: &mut u8) -> bool {
        while self.interval < 0x8000 {
            self.bits -= 1;
            if self.bits < 0 {
                self.code = (self.code << 8 | self.byte()) & 0xFFFF_FFFF;
                self.bits += 8;
                if self.bits < 0 {
                    self.bits += 1;
                    if self.bits == 0 {
                        self.interval = 0x8000;
                    }
                }
            }
            self.interval <<= 1;
        }
        let (probability, after_less, after_more, switch) = STATES[usize::from(*context & 127).min(113)];
        let probability = u64::from(probability);
        let likely = *context & 128;
        let less = likely ^ switch << 7 | after_less;
        let more = likely | after_more;
        self.interval -= probability;
        let bound = self.interval << self.bits;
        let (next, symbol) = if self.code >= bound {
            self.code -= bound;
            let exchanged = self.interval < probability;
            self.interval = probability;
            if exchanged { (more, likely) } else { (less, likely ^ 128) }
        } else if self.interval < 0x8000 {
            if self.interval < probability { (less, likely ^ 128) } else { (more, likely) }
        } else {
            return likely != 0;
        };
        *context = next;
        symbol != 0
    }

    /// The bits of a magnitude below its highest, all in one context; the result is one more, as 0 is coded apart.
    fn magnitude(&mut self, highest: u32, context: &mut u8) -> i32 {
        let (mut value, mut bit) = (highest, highest >> 1);
        while bit > 0 {
            if self.decide(context) {
                value |= bit;
            }
            bit >>= 1;
        }
        value as i32 + 1
    }
}
