//! What all Huffman-coded scans have in common: where the data is, whether any is left, and how damaged it is.

use crate::bits::BitReader;
use crate::frame::Block;
use crate::scan::BlockDecoder;

/// How the blocks of a Huffman-coded scan are coded.
pub(crate) trait BlockCoding {
    /// Decodes the next block, of the scan's n-th component, into coefficients not yet scaled. Adds what no encoder
    /// writes to `damages`.
    fn block(&mut self, n: usize, reader: &mut BitReader, block: &mut Block, damages: &mut usize);
    /// Forgets what it knows of earlier blocks.
    fn restart(&mut self);
}

/// Decodes one Huffman-coded scan.
pub(crate) struct HuffmanScan<'a, C> {
    pub reader: BitReader<'a>,
    pub coding: C,
    /// Whether the data ended before the next restart.
    exhausted: bool,
    /// Impossible blocks, and places where the data ended early.
    pub damages: usize,
}

impl<'a, C> HuffmanScan<'a, C> {
    pub fn new(reader: BitReader<'a>, coding: C) -> Self {
        HuffmanScan { reader, coding, exhausted: false, damages: 0 }
    }
}

impl<C: BlockCoding> BlockDecoder for HuffmanScan<'_, C> {
    #[inline(always)]
    fn block(&mut self, n: usize, block: &mut Block) {
        self.coding.block(n, &mut self.reader, block, &mut self.damages);
    }

    #[inline(always)]
    fn finish_mcu(&mut self) {
        if self.reader.overran() && !self.exhausted {
            self.exhausted = true;
            self.damages += 1;
        }
    }

    #[inline(always)]
    fn exhausted(&self) -> bool {
        self.exhausted
    }

    fn restart(&mut self, position: usize, at_marker: bool) {
        self.reader.restart(position);
        self.exhausted &= at_marker;
        self.coding.restart();
    }

    fn end(&self) -> usize {
        self.reader.end()
    }

    fn ahead(&self) -> usize {
        self.reader.ahead()
    }

    fn file_ended(&self) -> bool {
        self.exhausted && self.reader.file_ended()
    }

    fn damages(&self) -> usize {
        self.damages + self.reader.bad_codes()
    }
}
