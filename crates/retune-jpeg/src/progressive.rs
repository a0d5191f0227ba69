//! Progressive Huffman coding (T.81, G.1.2 and G.2).

use std::sync::Arc;

use crate::bits::BitReader;
use crate::frame::{Block, Frame};
use crate::huffman::{HuffmanTable, extend};
use crate::huffman_scan::BlockCoding;
use crate::scan::Scan;
use crate::tables::ZIGZAG;

/// How far the coefficients of each component have come.
pub(crate) struct Progress {
    pub components: Vec<ComponentProgress>,
    /// How many scans have begun.
    pub scans: usize,
}

/// How far the coefficients of a component have come: by how many bits they are still shifted, or [`UNKNOWN`].
#[derive(Clone, Copy)]
pub(crate) struct ComponentProgress {
    pub shifts: [i32; 64],
    /// The first ten as they were before the component's last scan; 0 if that was the file's first, as in libjpeg.
    pub before: [i32; 10],
}

/// A coefficient of which nothing is known.
pub(crate) const UNKNOWN: i32 = -1;

impl Progress {
    pub fn new(frame: &Frame) -> Self {
        let unknown = ComponentProgress { shifts: [UNKNOWN; 64], before: [UNKNOWN; 10] };
        Progress { components: vec![unknown; frame.components.len()], scans: 0 }
    }

    /// Notes what a scan will deliver; returns how many of its components it should not have now, because it
    /// repeats another scan or lacks one before it.
    pub fn begin(&mut self, scan: &Scan) -> usize {
        self.scans += 1;
        let (before, shift) = (scan.before as i32, scan.shift as i32);
        let mut out_of_turn = 0;
        for &component in &scan.components {
            let ComponentProgress { shifts, before: kept } = &mut self.components[component];
            for k in scan.first.min(1)..10 {
                kept[k] = if self.scans > 1 { shifts[k] } else { 0 };
            }
            let without_dc = scan.first > 0 && shifts[0] == UNKNOWN;
            let mut follows = !without_dc;
            for known in &mut shifts[scan.first..=scan.last] {
                // libjpeg warns unless `before` is what is known; a repeated scan of all bits deserves it too.
                follows &= if before == 0 { *known == UNKNOWN } else { *known == before };
                *known = shift;
            }
            out_of_turn += usize::from(!follows);
        }
        out_of_turn
    }

    /// Whether every coefficient has all its bits.
    pub fn complete(&self) -> bool {
        self.components.iter().all(|component| component.shifts == [0; 64])
    }
}

/// The coding of a scan's blocks, which refine those of the scans before it.
pub(crate) struct Progressive {
    /// A table for each component of the scan; none where bits refine DC coefficients.
    tables: Vec<Option<Arc<HuffmanTable>>>,
    first: usize,
    last: usize,
    shift: u32,
    refines: bool,
    predictions: [i32; 4],
    /// Blocks, this one included, with nothing more to come in this scan.
    ended: u32,
}

impl Progressive {
    pub fn new(tables: Vec<Option<Arc<HuffmanTable>>>, scan: &Scan) -> Self {
        let Scan { first, last, before, shift, .. } = *scan;
        Progressive { tables, first, last, shift, refines: before > 0, predictions: [0; 4], ended: 0 }
    }

    #[inline(always)]
    fn dc_first(&mut self, n: usize, reader: &mut BitReader, block: &mut Block) {
        let Some(table) = &self.tables[n] else { return };
        reader.refill();
        let bits = u32::from(table.symbol(reader));
        let difference = extend(reader.take(bits), bits);
        self.predictions[n] = self.predictions[n].wrapping_add(difference);
        block[0] = (self.predictions[n] << self.shift) as i16;
    }

    #[inline(always)]
    fn ac_first(&mut self, shared: &mut BitReader, block: &mut Block, damages: &mut usize) {
        if self.ended > 0 {
            self.ended -= 1;
            return;
        }
        let Some(table) = &self.tables[0] else { return };
        // A copy stays in registers.
        let mut reader = *shared;
        let mut k = self.first;
        while k <= self.last {
            reader.refill();
            let symbol = table.symbol(&mut reader);
            let (run, bits) = (usize::from(symbol >> 4), u32::from(symbol & 15));
            if bits == 0 {
                if run < 15 {
                    self.ended = (1 << run) - 1 + reader.take(run as u32);
                    break;
                }
                k += 16;
                continue;
            }
            k += run;
            let value = extend(reader.take(bits), bits);
            // As in libjpeg, a run that is too long ends behind the scan's last coefficient.
            block[usize::from(ZIGZAG[k & 127]) & 63] = (value << self.shift) as i16;
            *damages += usize::from(k > self.last);
            k += 1;
        }
        *shared = reader;
    }

    #[inline(always)]
    fn ac_refine(&mut self, shared: &mut BitReader, block: &mut Block, damages: &mut usize) {
        let bit = 1_i16 << self.shift;
        let mut reader = *shared;
        let mut k = self.first;
        if self.ended == 0 {
            let Some(table) = &self.tables[0] else { return };
            while k <= self.last {
                reader.refill();
                let symbol = table.symbol(&mut reader);
                let (run, bits) = (usize::from(symbol >> 4), symbol & 15);
                let new = match bits {
                    0 if run < 15 => {
                        self.ended = (1 << run) + reader.take(run as u32);
                        break;
                    }
                    0 => 0,
                    _ if reader.take(1) == 1 => bit,
                    _ => -bit,
                };
                k = refine(&mut reader, block, k, self.last, run, bit);
                if new != 0 {
                    block[usize::from(ZIGZAG[k & 127]) & 63] = new;
                    *damages += usize::from(bits > 1 || k > self.last);
                }
                k += 1;
            }
        }
        if self.ended > 0 {
            // Most blocks have nothing to refine, which is quickly seen.
            if block[1..].iter().fold(0, |any, coefficient| any | coefficient) != 0 {
                refine(&mut reader, block, k, self.last, usize::MAX, bit);
            }
            self.ended -= 1;
        }
        *shared = reader;
    }
}

/// Reads the next bit of coefficients that are known not to be 0, until `zeros` others have been passed;
/// returns where the one after them is.
#[inline(always)]
fn refine(reader: &mut BitReader, block: &mut Block, mut k: usize, last: usize, mut zeros: usize, bit: i16) -> usize {
    while k <= last {
        let coefficient = &mut block[usize::from(ZIGZAG[k & 127]) & 63];
        if *coefficient == 0 {
            if zeros == 0 {
                break;
            }
            zeros -= 1;
        } else if reader.bit() && *coefficient & bit == 0 {
            *coefficient = coefficient.wrapping_add(if *coefficient >= 0 { bit } else { -bit });
        }
        k += 1;
    }
    k
}

impl BlockCoding for Progressive {
    #[inline(always)]
    fn block(&mut self, n: usize, reader: &mut BitReader, block: &mut Block, damages: &mut usize) {
        match (self.first, self.refines) {
            (0, false) => self.dc_first(n, reader, block),
            (0, true) => {
                if reader.bit() {
                    block[0] |= 1 << self.shift;
                }
            }
            (_, false) => self.ac_first(reader, block, damages),
            (_, true) => self.ac_refine(reader, block, damages),
        }
    }

    fn restart(&mut self) {
        (self.predictions, self.ended) = ([0; 4], 0);
    }
}
