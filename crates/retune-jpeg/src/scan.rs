//! Scan by scan from a file to pixels.

use std::sync::Arc;

use crate::arithmetic::Arithmetic;
use crate::bits::BitReader;
use crate::color::ColorSpace;
use crate::error::JpegError;
use crate::frame::{Block, Coding, Frame};
use crate::huffman::HuffmanTable;
use crate::huffman_scan::HuffmanScan;
use crate::output::Output;
use crate::progressive::{Progress, Progressive};
use crate::restarts::Restarts;
use crate::segments::{Decoded, Jpeg, Segments};
use crate::sequential::{Sequential, SequentialComponent};
use crate::smoothing::Smoothing;
use crate::tables::Tables;
use crate::trailer;
use crate::vectors::{self, Vectors, Work};

/// A scan header.
#[derive(Debug)]
pub(crate) struct Scan {
    /// Which components of the frame it has.
    pub components: Vec<usize>,
    /// The slots of their DC and AC tables.
    pub slots: Vec<(usize, usize)>,
    /// The first and last coefficient in zigzag order.
    pub first: usize,
    pub last: usize,
    /// The bits by which the values are shifted: before this scan (0 for the first), and after it.
    pub before: u32,
    pub shift: u32,
}

impl Scan {
    pub fn parse(segment: &[u8], frame: &Frame) -> Result<Scan, JpegError> {
        let damaged = JpegError::Damaged("a scan header is not as the standard has it");
        let [count, rest @ ..] = segment else { return Err(damaged) };
        let count = usize::from(*count);
        if !(1..=4).contains(&count) || rest.len() != 2 * count + 3 {
            return Err(damaged);
        }
        let mut scan = Scan { components: vec![], slots: vec![], first: 0, last: 63, before: 0, shift: 0 };
        for &[id, slots] in rest[..2 * count].as_chunks::<2>().0 {
            // Where components share an identifier, libjpeg's n-th of a scan is none before the frame's n-th.
            let named = |n: usize| frame.components[n].id == id && !scan.components.contains(&n);
            let all = 0..frame.components.len();
            let Some(component) = (scan.components.len()..all.end).chain(all).find(|n| named(*n)) else {
                return Err(JpegError::Damaged("a scan has a component twice, or one that is not in the frame"));
            };
            scan.components.push(component);
            scan.slots.push((usize::from(slots >> 4), usize::from(slots & 15)));
        }
        if frame.coding.progressive {
            let spectral = &rest[2 * count..];
            (scan.first, scan.last) = (usize::from(spectral[0]), usize::from(spectral[1]));
            (scan.before, scan.shift) = (u32::from(spectral[2] >> 4), u32::from(spectral[2] & 15));
            let range = if scan.first == 0 { scan.last == 0 } else { scan.last >= scan.first && count == 1 };
            if !range || scan.last > 63 || scan.shift > 13 || scan.before > 0 && scan.before != scan.shift + 1 {
                return Err(JpegError::Damaged("a progressive scan is not as the standard has it"));
            }
        }
        Ok(scan)
    }

    /// How many MCUs wide and high the scan is. With one component an MCU is a block.
    fn mcus(&self, frame: &Frame) -> (usize, usize) {
        match self.components[..] {
            [only] => (frame.components[only].blocks_wide, frame.components[only].blocks_high),
            _ => (frame.mcus_wide, frame.mcus_high),
        }
    }

    /// Refuses a large image of which hardly anything can be there, before memory is spent on it: a Huffman code
    /// has a bit at least, except that AC coefficients of many blocks may end in one code.
    fn check_data(&self, frame: &Frame, available: usize) -> Result<(), JpegError> {
        let (wide, high) = self.mcus(frame);
        let least_bits =
            if self.first > 0 || frame.coding.arithmetic { 0 } else { wide * high * self.components.len() };
        let missing = least_bits > available.saturating_mul(8);
        if missing && frame.width * frame.height > MAX_UNFOUNDED { Err(JpegError::EndsEarly) } else { Ok(()) }
    }
}

/// Pixels that an image may have though its data cannot be complete.
const MAX_UNFOUNDED: usize = 1 << 26;

/// Scans that a file may have. Encoders write a dozen; without a bound, a small file could ask for hours of work, since
/// each scan visits the whole image.
const MAX_SCANS: usize = 1000;

/// What decodes the blocks of a scan in turn.
pub(crate) trait BlockDecoder {
    /// Decodes the next block, of the scan's n-th component, into coefficients not yet scaled.
    fn block(&mut self, n: usize, block: &mut Block);
    /// Notes whether the data of the MCU's blocks was there.
    fn finish_mcu(&mut self);
    /// Whether there is no data before the next restart, so that blocks are left as they are.
    fn exhausted(&self) -> bool;
    /// Forgets what it knows of earlier blocks, and goes on at a position in the file. If a marker stands there, an
    /// exhausted decoder stays so.
    fn restart(&mut self, position: usize, at_marker: bool);
    /// Where the data read so far ends.
    fn end(&self) -> usize;
    /// Whole bytes before the end that were not needed.
    fn ahead(&self) -> usize;
    /// Whether more was needed than the file has.
    fn file_ended(&self) -> bool;
    /// At how many places the data was damaged.
    fn damages(&self) -> usize;
}

/// Decodes all scans.
pub(crate) fn decode(jpeg: Jpeg, color_space: ColorSpace) -> Result<Decoded, JpegError> {
    let Jpeg { mut segments, mut frame, mut tables, first_scan, .. } = jpeg;
    let scan = Scan::parse(first_scan, &frame)?;
    latch_quantization(&mut frame, &scan, &tables)?;
    scan.check_data(&frame, segments.bytes.len() - segments.position)?;
    let Coding { progressive, arithmetic } = frame.coding;
    if !progressive && !arithmetic {
        tables.fill_standard();
    }
    if progressive || scan.components.len() < frame.components.len() {
        return decode_scans(segments, frame, tables, scan, color_space);
    }
    let mut output = Output::new(&frame, color_space);
    let end = if arithmetic {
        let mut coefficients = no_coefficients(&frame);
        let end = decode_scan(&frame, &scan, &tables, &segments, &mut coefficients)?;
        output.transform(&coefficients);
        end
    } else {
        let mut decoder = sequential(&frame, &scan, &tables, &segments, true)?;
        let damages = decoder.decode_image(&frame, &scan, tables.restart_interval, &mut output)?;
        ScanEnd { position: decoder.end(), ahead: decoder.ahead(), last_strip: 0, damages }
    };
    segments.position = end.position;
    let damages = end.damages + trailer::check(&segments, &frame, &mut tables, &end)?;
    Ok(Decoded { pixels: output.into_pixels(), damages })
}

/// Decodes an image that may have several scans.
fn decode_scans(
    mut segments: Segments,
    mut frame: Frame,
    mut tables: Tables,
    mut scan: Scan,
    color_space: ColorSpace,
) -> Result<Decoded, JpegError> {
    let mut coefficients = no_coefficients(&frame);
    let mut progress = Progress::new(&frame);
    let mut damages = 0;
    let last_strip = loop {
        if progress.scans == MAX_SCANS {
            return Err(JpegError::Damaged("it has more scans than any image needs"));
        }
        damages += progress.begin(&scan);
        let end = decode_scan(&frame, &scan, &tables, &segments, &mut coefficients)?;
        damages += end.damages;
        segments.position = end.position;
        let next = trailer::next_scan(&mut segments, &frame, &mut tables).and_then(|(next, skipped)| {
            damages += usize::from(skipped + end.ahead > 0);
            if let Some(next) = &next {
                latch_quantization(&mut frame, next, &tables)?;
                next.check_data(&frame, segments.bytes.len() - segments.position)?;
            }
            Ok(next)
        });
        match next {
            Ok(Some(next)) => scan = next,
            Ok(None) => break end.last_strip,
            // Whatever follows, the image is complete.
            Err(_) if damages == 0 && progress.complete() => break end.last_strip,
            Err(error) => return Err(error),
        }
    };
    damages += usize::from(!progress.complete());
    let mut output = Output::new(&frame, color_space);
    match Smoothing::new(&frame, &progress, last_strip) {
        Some(smoothing) => output.transform(&smoothing.apply(&frame, &coefficients)),
        None => output.transform(&coefficients),
    }
    Ok(Decoded { pixels: output.into_pixels(), damages })
}

/// Zeros for the coefficients of every component, with its padding.
fn no_coefficients(frame: &Frame) -> Vec<Vec<Block>> {
    frame.components.iter().map(|component| vec![[0; 64]; component.padded_wide * component.padded_high]).collect()
}

/// A component's quantization table is the one that is defined when its first scan begins.
fn latch_quantization(frame: &mut Frame, scan: &Scan, tables: &Tables) -> Result<(), JpegError> {
    for &component in &scan.components {
        let component = &mut frame.components[component];
        if component.quantization.is_none() {
            component.quantization = Some(tables.quantization(component.quantization_slot)?);
        }
    }
    Ok(())
}

fn sequential<'a>(
    frame: &Frame,
    scan: &Scan,
    tables: &Tables,
    segments: &Segments<'a>,
    scaled: bool,
) -> Result<HuffmanScan<'a, Sequential>, JpegError> {
    let components = scan.components.iter().zip(&scan.slots).map(|(&component, &(dc, ac))| {
        let scale = frame.components[component].quantization.filter(|_| scaled).unwrap_or([1; 64]);
        Ok(SequentialComponent { dc: tables.dc(dc)?, ac: tables.ac(ac)?, scale, prediction: 0 })
    });
    let reader = BitReader::new(segments.bytes, segments.position);
    Ok(HuffmanScan::new(reader, Sequential { components: components.collect::<Result<_, _>>()? }))
}

/// How the decoding of a scan ended.
pub(crate) struct ScanEnd {
    /// Where its data ends, and how many whole bytes before that were not needed.
    pub position: usize,
    pub ahead: usize,
    /// The last row of the frame's MCUs for which there was data.
    pub last_strip: usize,
    /// At how many places its data was damaged.
    pub damages: usize,
}

/// Decodes one scan into coefficients.
fn decode_scan(
    frame: &Frame,
    scan: &Scan,
    tables: &Tables,
    segments: &Segments,
    coefficients: &mut [Vec<Block>],
) -> Result<ScanEnd, JpegError> {
    let interval = tables.restart_interval;
    if frame.coding.arithmetic {
        let mut decoder = Arithmetic::new(frame.coding.progressive, scan, tables, segments);
        return vectors::dispatch(Visit {
            frame,
            scan,
            interval,
            bytes: segments.bytes,
            coefficients,
            decoder: &mut decoder,
        });
    }
    if frame.coding.progressive {
        let table = |&(dc, ac): &(usize, usize)| -> Result<Option<Arc<HuffmanTable>>, JpegError> {
            match (scan.first, scan.before) {
                (0, 0) => tables.dc(dc).map(Some),
                (0, _) => Ok(None),
                _ => tables.ac(ac).map(Some),
            }
        };
        let huffman = scan.slots.iter().map(table).collect::<Result<Vec<_>, _>>()?;
        let reader = BitReader::new(segments.bytes, segments.position);
        let mut decoder = HuffmanScan::new(reader, Progressive::new(huffman, scan));
        return vectors::dispatch(Visit {
            frame,
            scan,
            interval,
            bytes: segments.bytes,
            coefficients,
            decoder: &mut decoder,
        });
    }
    let mut decoder = sequential(frame, scan, tables, segments, false)?;
    vectors::dispatch(Visit { frame, scan, interval, bytes: segments.bytes, coefficients, decoder: &mut decoder })
}

/// The blocks of a scan, to be visited in the order in which they are coded.
struct Visit<'v, D> {
    frame: &'v Frame,
    scan: &'v Scan,
    interval: usize,
    bytes: &'v [u8],
    coefficients: &'v mut [Vec<Block>],
    decoder: &'v mut D,
}

impl<D: BlockDecoder> Work for Visit<'_, D> {
    type Output = Result<ScanEnd, JpegError>;

    #[inline(always)]
    fn run<V: Vectors>(self, _: V) -> Result<ScanEnd, JpegError> {
        visit_blocks(self)
    }
}

#[inline(always)]
fn visit_blocks(visit: Visit<impl BlockDecoder>) -> Result<ScanEnd, JpegError> {
    let Visit { frame, scan, interval, bytes, coefficients, decoder } = visit;
    let (wide, high) = scan.mcus(frame);
    let rows_in_strip = if let [only] = scan.components[..] { frame.components[only].vertical } else { 1 };
    let mut restarts = Restarts::new(interval);
    let mut last_strip = 0;
    'rows: for row in 0..high {
        for column in 0..wide {
            if !decoder.exhausted() {
                last_strip = row / rows_in_strip;
            }
            if restarts.due() {
                restarts.pass(bytes, decoder)?;
            }
            if decoder.exhausted() {
                if restarts.any() {
                    continue;
                }
                break 'rows;
            }
            if let [only] = scan.components[..] {
                let stride = frame.components[only].padded_wide;
                decoder.block(0, &mut coefficients[only][row * stride + column]);
                decoder.finish_mcu();
                continue;
            }
            for (n, &component) in scan.components.iter().enumerate() {
                let (blocks, component) = (&mut coefficients[component], &frame.components[component]);
                for y in 0..component.vertical {
                    let start = (row * component.vertical + y) * component.padded_wide + column * component.horizontal;
                    for block in &mut blocks[start..start + component.horizontal] {
                        decoder.block(n, block);
                    }
                }
            }
            decoder.finish_mcu();
        }
        if decoder.file_ended() {
            return Err(JpegError::EndsEarly);
        }
    }
    if decoder.file_ended() {
        return Err(JpegError::EndsEarly);
    }
    let damages = decoder.damages() + restarts.damages;
    Ok(ScanEnd { position: decoder.end(), ahead: decoder.ahead(), last_strip, damages })
}
