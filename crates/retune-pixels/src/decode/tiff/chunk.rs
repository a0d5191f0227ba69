//! Strips and tiles of a TIFF: compressed bytes in, samples out.

use std::io::Read;

use fax::Color;
use fax::decoder::{Group3Decoder, pels};
use flate2::read::ZlibDecoder;
use weezl::{BitOrder, LzwStatus, decode};

use super::{DecodeError, damaged, refusal, unsupported};

const UNCOMPRESSED: u16 = 1;
/// Fax runs without line ends, which are not read.
pub(super) const FAX_RUNS: u16 = 2;
pub(super) const FAX_GROUP_3: u16 = 3;
const LZW: u16 = 5;
pub(super) const JPEG: u16 = 7;
const DEFLATE: u16 = 8;
const PACK_BITS: u16 = 32773;
const OLD_DEFLATE: u16 = 32946;

/// How the samples of a page are written.
pub(super) struct Coding {
    pub compression: u16,
    /// Bits of a sample.
    pub bits: u16,
    /// Samples of a pixel in one chunk.
    pub samples: usize,
    pub big_endian: bool,
    pub predictor: u16,
    /// Bits of a byte are written from the lowest on.
    pub low_bit_first: bool,
    /// The tag T4Options.
    pub fax_options: u32,
}

impl Coding {
    /// The first `rows` of a chunk whose rows are `width` pixels wide.
    pub(super) fn samples(&self, contents: &[u8], width: usize, rows: usize) -> Result<Vec<u16>, DecodeError> {
        if !matches!(self.bits, 1 | 2 | 4 | 8 | 16) {
            return Err(unsupported(&format!("its values have {} bits", self.bits)));
        }
        let reversed: Vec<u8>;
        let contents = match self.low_bit_first {
            true => {
                reversed = contents.iter().map(|byte| byte.reverse_bits()).collect();
                &reversed
            }
            false => contents,
        };
        if matches!(self.compression, FAX_GROUP_3 | FAX_RUNS) {
            return self.fax(contents, width, rows);
        }
        let too_large = || damaged("its rows are too long");
        let row_values = width.checked_mul(self.samples).ok_or_else(too_large)?;
        let row_bytes = row_values.checked_mul(self.bits.into()).ok_or_else(too_large)?.div_ceil(8);
        let bytes = self.decompress(contents, row_bytes.checked_mul(rows).ok_or_else(too_large)?)?;
        let mut samples = Vec::with_capacity(row_values * rows);
        for row in bytes.chunks_exact(row_bytes) {
            let start = samples.len();
            self.unpack(row, row_values, &mut samples);
            self.undo_prediction(&mut samples[start..])?;
        }
        Ok(samples)
    }

    fn decompress(&self, contents: &[u8], length: usize) -> Result<Vec<u8>, DecodeError> {
        // Zeroed memory costs nothing until it is written to, so a false length claims none.
        let mut bytes = vec![0; length];
        let complete = match self.compression {
            UNCOMPRESSED => contents.get(..length).map(|contents| bytes.copy_from_slice(contents)).is_some(),
            DEFLATE | OLD_DEFLATE => ZlibDecoder::new(contents).read_exact(&mut bytes).is_ok(),
            LZW => lzw(contents, &mut bytes),
            PACK_BITS => pack_bits(contents, &mut bytes),
            other => {
                let reason = refusal::of_compression(other);
                return Err(unsupported(reason.as_deref().unwrap_or("its compression does not go with its colors")));
            }
        };
        if complete { Ok(bytes) } else { Err(damaged("its compressed pixels end early or make no sense")) }
    }

    fn unpack(&self, row: &[u8], values: usize, samples: &mut Vec<u16>) {
        match self.bits {
            16 if self.big_endian => {
                samples.extend(row.as_chunks::<2>().0.iter().map(|&pair| u16::from_be_bytes(pair)))
            }
            16 => samples.extend(row.as_chunks::<2>().0.iter().map(|&pair| u16::from_le_bytes(pair))),
            8 => samples.extend(row.iter().map(|&byte| u16::from(byte))),
            bits => {
                let (bits, each) = (usize::from(bits), 8 / usize::from(bits));
                let mask = (1 << bits) - 1;
                samples.extend(
                    (0..values).map(|index| u16::from(row[index / each] >> (8 - bits - index % each * bits)) & mask),
                );
            }
        }
    }

    /// Undoes "horizontal differencing": each value was written as its difference from the pixel before.
    fn undo_prediction(&self, row: &mut [u16]) -> Result<(), DecodeError> {
        match (self.predictor, self.bits) {
            (1, _) => return Ok(()),
            (2, 8 | 16) => {}
            _ => return Err(unsupported("its values are written as differences of an unusual kind")),
        }
        let mask = if self.bits == 8 { 0xFF } else { 0xFFFF };
        for index in self.samples..row.len() {
            row[index] = row[index].wrapping_add(row[index - self.samples]) & mask;
        }
        Ok(())
    }

    /// Fax group 3, coded along the row only: white pixels are 0, black ones 1.
    fn fax(&self, contents: &[u8], width: usize, rows: usize) -> Result<Vec<u16>, DecodeError> {
        if self.compression == FAX_RUNS || self.fax_options & 0b11 != 0 {
            return Err(unsupported(match (self.compression, self.fax_options & 1) {
                (FAX_RUNS, _) => "it is a fax whose rows have no ends between them (modified Huffman)",
                (_, 1) => "it is a fax of group 3 whose rows are coded by their difference from the row before (2-D)",
                _ => "it is a fax of group 3 that switches to uncompressed pixels",
            }));
        }
        let (1, 1, Ok(columns)) = (self.bits, self.samples, u16::try_from(width)) else {
            return Err(unsupported("it has colors in fax compression, or is wider than 65535 pixels"));
        };
        let garbled = || damaged("its fax rows end early or make no sense");
        // Line ends before and after: files may leave out the first, and have none after the last row.
        let line_end = [0, 1].into_iter();
        let bits = line_end.clone().chain(contents.iter().copied()).chain(line_end);
        let mut decoder = Group3Decoder::new(bits.map(Ok::<u8, std::convert::Infallible>)).map_err(|_| garbled())?;
        let mut samples = vec![0; width * rows];
        let mut row = 0;
        while row < rows {
            decoder.advance().map_err(|_| garbled())?;
            match decoder.transitions() {
                // Two line ends in a row.
                [] => continue,
                changes if changes.last() == Some(&columns) => {
                    let colors = pels(changes, columns);
                    for (sample, color) in samples[row * width..].iter_mut().zip(colors) {
                        *sample = u16::from(color == Color::Black);
                    }
                    row += 1;
                }
                _ => return Err(garbled()),
            }
        }
        Ok(samples)
    }
}

/// Whether all of `out` was filled.
fn lzw(mut contents: &[u8], mut out: &mut [u8]) -> bool {
    let mut decoder =
        decode::Configuration::with_tiff_size_switch(BitOrder::Msb, 8).with_yield_on_full_buffer(true).build();
    while !out.is_empty() {
        let step = decoder.decode_bytes(contents, out);
        contents = &contents[step.consumed_in..];
        out = &mut out[step.consumed_out..];
        if !matches!(step.status, Ok(LzwStatus::Ok)) {
            break;
        }
    }
    out.is_empty()
}

/// Whether all of `out` was filled.
fn pack_bits(contents: &[u8], out: &mut [u8]) -> bool {
    let (mut input, mut filled) = (contents.iter().copied(), 0);
    while filled < out.len() {
        let Some(header) = input.next() else { return false };
        match header {
            128 => {}
            // As many bytes as they are.
            0..128 => {
                for _ in 0..=header {
                    let Some(byte) = input.next() else { return false };
                    if let Some(place) = out.get_mut(filled) {
                        *place = byte;
                    }
                    filled += 1;
                }
            }
            // One byte, repeated.
            129.. => {
                let Some(byte) = input.next() else { return false };
                let end = (filled + 257 - usize::from(header)).min(out.len());
                out[filled..end].fill(byte);
                filled = end;
            }
        }
    }
    true
}
