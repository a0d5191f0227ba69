//! Sequential Huffman coding (T.81, F.2).

use std::sync::Arc;

use crate::bits::BitReader;
use crate::error::JpegError;
use crate::frame::{Block, Frame};
use crate::huffman::{COMPLETE, HuffmanTable, extend};
use crate::huffman_scan::{BlockCoding, HuffmanScan};
use crate::output::Output;
use crate::restarts::Restarts;
use crate::scan::{BlockDecoder, Scan};
use crate::tables::ZIGZAG;
use crate::transform;
use crate::vectors::{self, Vectors, Work};

/// The coding of a scan's blocks, each complete.
pub(crate) struct Sequential {
    pub components: Vec<SequentialComponent>,
}

pub(crate) struct SequentialComponent {
    pub dc: Arc<HuffmanTable>,
    pub ac: Arc<HuffmanTable>,
    /// What coefficients are multiplied by.
    pub scale: Block,
    /// The DC coefficient before.
    pub prediction: i32,
}

impl HuffmanScan<'_, Sequential> {
    /// Decodes an image that is one scan, strip by strip; returns at how many places it was damaged.
    pub fn decode_image(
        &mut self,
        frame: &Frame,
        scan: &Scan,
        interval: usize,
        output: &mut Output,
    ) -> Result<usize, JpegError> {
        let mut restarts = Restarts::new(interval);
        for row in 0..frame.mcus_high {
            let strip = Strip { decoder: self, frame, scan, row, restarts: &mut restarts, output };
            vectors::dispatch(strip)?;
            if self.file_ended() {
                return Err(JpegError::EndsEarly);
            }
            output.finish_strip(row);
        }
        Ok(self.damages() + restarts.damages)
    }

    #[inline(always)]
    fn decode_strip(
        &mut self,
        vectors: impl Vectors,
        frame: &Frame,
        scan: &Scan,
        row: usize,
        restarts: &mut Restarts,
        output: &mut Output,
    ) -> Result<(), JpegError> {
        // A frame's only component has blocks for MCUs, whatever its sampling factors are.
        let single = scan.components.len() == 1;
        let rows = if single { frame.components[0].vertical } else { 1 };
        for part in 0..rows {
            if single && row * rows + part >= frame.components[0].blocks_high {
                break;
            }
            let wide = if single { frame.components[0].blocks_wide } else { frame.mcus_wide };
            for column in 0..wide {
                if restarts.due() {
                    let bytes = self.reader.data();
                    restarts.pass(bytes, self)?;
                }
                for (n, &index) in scan.components.iter().enumerate() {
                    let component = &frame.components[index];
                    let (h, v) = if single { (1, 1) } else { (component.horizontal, component.vertical) };
                    for y in 0..v {
                        for x in 0..h {
                            let mut block = [0; 64];
                            let mut used = 0;
                            if !self.exhausted() {
                                let component = &mut self.coding.components[n];
                                used = component.block(&mut self.reader, &mut block, &mut self.damages);
                            }
                            let (samples, stride) = output.block(index, row, part + y, column * h + x);
                            transform::inverse(vectors, &block, used, samples, stride);
                        }
                    }
                }
                self.finish_mcu();
            }
        }
        Ok(())
    }
}

/// The decoding of one strip.
struct Strip<'s, 'a, 'f> {
    decoder: &'s mut HuffmanScan<'a, Sequential>,
    frame: &'s Frame,
    scan: &'s Scan,
    row: usize,
    restarts: &'s mut Restarts,
    output: &'s mut Output<'f>,
}

impl Work for Strip<'_, '_, '_> {
    type Output = Result<(), JpegError>;

    #[inline(always)]
    fn run<V: Vectors>(self, vectors: V) -> Result<(), JpegError> {
        self.decoder.decode_strip(vectors, self.frame, self.scan, self.row, self.restarts, self.output)
    }
}

impl SequentialComponent {
    /// Decodes one block; returns the positions of its AC coefficients, one or another.
    #[inline(always)]
    fn block(&mut self, shared: &mut BitReader, block: &mut Block, damages: &mut usize) -> usize {
        // A copy stays in registers.
        let mut copy = *shared;
        let reader = &mut copy;
        reader.refill();
        let entry = self.dc.entry(reader);
        let difference = if entry & COMPLETE != 0 {
            reader.consume(entry & 0x7F);
            entry as i32 >> 16
        } else {
            let bits = u32::from(self.dc.symbol_of(entry, reader));
            extend(reader.take(bits), bits)
        };
        self.prediction = self.prediction.wrapping_add(difference);
        block[0] = (self.prediction as i16).wrapping_mul(self.scale[0]);
        let mut used = 0;
        let mut k = 1;
        while k < 64 {
            reader.refill();
            let entry = self.ac.entry(reader);
            let value = if entry & COMPLETE != 0 {
                reader.consume(entry & 0x7F);
                k += (entry >> 12 & 15) as usize;
                (entry >> 16) as i16
            } else {
                let symbol = self.ac.symbol_of(entry, reader);
                let (run, bits) = (usize::from(symbol >> 4), u32::from(symbol & 15));
                if bits == 0 {
                    if run < 15 {
                        break;
                    }
                    k += 16;
                    continue;
                }
                k += run;
                extend(reader.take(bits), bits) as i16
            };
            let position = usize::from(ZIGZAG[k & 127]) & 63;
            block[position] = value.wrapping_mul(self.scale[position]);
            used |= position;
            k += 1;
        }
        *shared = copy;
        if k > 64 {
            *damages += 1;
        }
        used
    }
}

impl BlockCoding for Sequential {
    #[inline(always)]
    fn block(&mut self, n: usize, reader: &mut BitReader, block: &mut Block, damages: &mut usize) {
        self.components[n].block(reader, block, damages);
    }

    fn restart(&mut self) {
        for component in &mut self.components {
            component.prediction = 0;
        }
    }
}
