//! Progressive Huffman coding (T.81, G.1.2 and G.2).

use std::sync::Arc;

use crate::bits::BitReader;
use crate::error::JpegError;
use crate::frame::{Block, Frame};
use crate::huffman::{HuffmanTable, extend};
use crate::scan::{BlockDecoder, Scan};
use crate::tables::ZIGZAG;

/// How far each coefficient of each component has come: nothing yet, or by how many bits it is still shifted.
pub(crate) struct Progress {
    shifts: Vec<[Option<u32>; 64]>,
}

impl Progress {
    pub fn new(frame: &Frame) -> Self {
        Progress { shifts: vec![[None; 64]; frame.components.len()] }
    }

    /// Notes what a scan will deliver.
    pub fn begin(&mut self, scan: &Scan) -> Result<(), JpegError> {
        for &component in &scan.components {
            for shift in &mut self.shifts[component][scan.first..=scan.last] {
                let follows = match shift {
                    None => scan.before == 0,
                    Some(shift) => scan.before > 0 && scan.before == *shift,
                };
                if !follows {
                    return Err(JpegError::Damaged("a scan repeats another, or comes before one that it needs"));
                }
                *shift = Some(scan.shift);
            }
        }
        Ok(())
    }

    /// Whether every coefficient has all its bits.
    pub fn complete(&self) -> bool {
        self.shifts.iter().flatten().all(|shift| *shift == Some(0))
    }
}

/// Decodes one scan of a progressive image.
pub(crate) struct Progressive<'a> {
    reader: BitReader<'a>,
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

impl<'a> Progressive<'a> {
    pub fn new(reader: BitReader<'a>, tables: Vec<Option<Arc<HuffmanTable>>>, scan: &Scan) -> Self {
        let Scan { first, last, before, shift, .. } = *scan;
        Progressive { reader, tables, first, last, shift, refines: before > 0, predictions: [0; 4], ended: 0 }
    }

    fn dc_first(&mut self, n: usize, block: &mut Block) -> Result<(), JpegError> {
        let Some(table) = &self.tables[n] else { return Ok(()) };
        self.reader.refill();
        let bits = u32::from(table.symbol(&mut self.reader)?);
        let difference = extend(self.reader.take(bits), bits);
        self.predictions[n] = self.predictions[n].wrapping_add(difference);
        block[0] = (self.predictions[n] << self.shift) as i16;
        Ok(())
    }

    fn ac_first(&mut self, block: &mut Block) -> Result<(), JpegError> {
        if self.ended > 0 {
            self.ended -= 1;
            return Ok(());
        }
        let Some(table) = &self.tables[0] else { return Ok(()) };
        // A copy stays in registers.
        let mut reader = self.reader;
        let mut k = self.first;
        while k <= self.last {
            reader.refill();
            let symbol = table.symbol(&mut reader)?;
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
            if k > self.last {
                return Err(JpegError::Damaged("a block has more coefficients than its scan"));
            }
            block[usize::from(ZIGZAG[k & 127]) & 63] = (value << self.shift) as i16;
            k += 1;
        }
        self.reader = reader;
        Ok(())
    }

    fn ac_refine(&mut self, block: &mut Block) -> Result<(), JpegError> {
        let bit = 1_i16 << self.shift;
        let mut reader = self.reader;
        let mut k = self.first;
        if self.ended == 0 {
            let Some(table) = &self.tables[0] else { return Ok(()) };
            while k <= self.last {
                reader.refill();
                let symbol = table.symbol(&mut reader)?;
                let (run, bits) = (usize::from(symbol >> 4), symbol & 15);
                let new = match bits {
                    0 if run < 15 => {
                        self.ended = (1 << run) + reader.take(run as u32);
                        break;
                    }
                    0 => 0,
                    1 if reader.take(1) == 1 => bit,
                    1 => -bit,
                    _ => return Err(JpegError::Damaged("a refined coefficient is not 1 or -1")),
                };
                k = refine(&mut reader, block, k, self.last, run, bit);
                if new != 0 {
                    if k > self.last {
                        return Err(JpegError::Damaged("a block has more coefficients than its scan"));
                    }
                    block[usize::from(ZIGZAG[k & 127]) & 63] = new;
                }
                k += 1;
            }
        }
        if self.ended > 0 {
            refine(&mut reader, block, k, self.last, usize::MAX, bit);
            self.ended -= 1;
        }
        self.reader = reader;
        Ok(())
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

impl BlockDecoder for Progressive<'_> {
    #[inline(always)]
    fn block(&mut self, n: usize, block: &mut Block) -> Result<(), JpegError> {
        match (self.first, self.refines) {
            (0, false) => self.dc_first(n, block),
            (0, true) => {
                if self.reader.bit() {
                    block[0] |= 1 << self.shift;
                }
                Ok(())
            }
            (_, false) => self.ac_first(block),
            (_, true) => self.ac_refine(block),
        }
    }

    fn restart(&mut self, position: usize) {
        self.reader.restart(position);
        (self.predictions, self.ended) = ([0; 4], 0);
    }

    fn end(&self) -> usize {
        self.reader.end()
    }

    fn overran(&self) -> bool {
        self.reader.overran()
    }
}
