//! Scan by scan from a file to pixels.

use std::sync::Arc;

use crate::arithmetic::Arithmetic;
use crate::bits::BitReader;
use crate::color::ColorSpace;
use crate::error::JpegError;
use crate::frame::{Block, Frame};
use crate::huffman::HuffmanTable;
use crate::output::Output;
use crate::progressive::{Progress, Progressive};
use crate::segments::{END_OF_IMAGE, Jpeg, START_OF_SCAN, Segments, define};
use crate::sequential::{Sequential, SequentialComponent};
use crate::tables::Tables;

/// Bytes between the end of a scan and the next marker that are taken for padding; more are image data
/// that the scan did not need, so something in it was wrong.
const MOST_STRAY: usize = 4096;

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
    fn parse(segment: &[u8], frame: &Frame) -> Result<Scan, JpegError> {
        let damaged = JpegError::Damaged("a scan header is not as the standard has it");
        let [count, rest @ ..] = segment else { return Err(damaged) };
        let count = usize::from(*count);
        if !(1..=4).contains(&count) || rest.len() != 2 * count + 3 {
            return Err(damaged);
        }
        let mut scan = Scan { components: vec![], slots: vec![], first: 0, last: 63, before: 0, shift: 0 };
        for &[id, slots] in rest[..2 * count].as_chunks::<2>().0 {
            let found = frame.components.iter().position(|component| component.id == id);
            let Some(component) = found.filter(|found| !scan.components.contains(found)) else {
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

    /// Refuses a scan whose data could not hold its blocks, before memory is spent on them: a Huffman code
    /// has a bit at least, except that AC coefficients of many blocks may end in one code.
    fn check_data(&self, frame: &Frame, available: usize) -> Result<(), JpegError> {
        let (wide, high) = self.mcus(frame);
        let least_bits =
            if self.first > 0 || frame.coding.arithmetic { 0 } else { wide * high * self.components.len() };
        if least_bits > available.saturating_mul(8) { Err(JpegError::EndsEarly) } else { Ok(()) }
    }
}

/// What decodes the blocks of a scan in turn.
pub(crate) trait BlockDecoder {
    /// Decodes the next block, of the scan's n-th component, into coefficients not yet scaled.
    fn block(&mut self, n: usize, block: &mut Block) -> Result<(), JpegError>;
    /// Forgets what it knows of earlier blocks, and goes on at a position in the file.
    fn restart(&mut self, position: usize);
    /// Where the data read so far ends.
    fn end(&self) -> usize;
    /// Whether more was read than there is.
    fn overran(&self) -> bool;
}

/// Decodes all scans.
pub(crate) fn decode(jpeg: Jpeg, color_space: ColorSpace) -> Result<Vec<u8>, JpegError> {
    let Jpeg { mut segments, mut frame, mut tables, first_scan, .. } = jpeg;
    let scan = Scan::parse(first_scan, &frame)?;
    latch_quantization(&mut frame, &scan, &tables)?;
    scan.check_data(&frame, segments.bytes.len() - segments.position)?;
    let coding = frame.coding;
    if !coding.progressive && !coding.arithmetic && scan.components.len() == frame.components.len() {
        let mut output = Output::new(&frame, color_space);
        let mut decoder = sequential(&frame, &scan, &tables, &segments, true)?;
        decoder.decode_image(&frame, &scan, tables.restart_interval, &mut output)?;
        finish(&mut segments, decoder.end())?;
        return Ok(output.into_pixels());
    }
    let mut coefficients: Vec<Vec<Block>> =
        frame.components.iter().map(|component| vec![[0; 64]; component.padded_wide * component.padded_high]).collect();
    let mut progress = Progress::new(&frame);
    let mut scan = scan;
    loop {
        progress.begin(&scan)?;
        let end = decode_scan(&frame, &scan, &tables, &segments, &mut coefficients)?;
        if progress.complete() {
            if coding.arithmetic {
                // Arithmetic coding leaves out zeros at the end, so only a marker tells that nothing is missing.
                segments.position = end;
                segments.marker().ok_or(JpegError::EndsEarly)?;
            } else {
                finish(&mut segments, end)?;
            }
            break;
        }
        segments.position = end;
        scan = next_scan(&mut segments, &frame, &mut tables)?;
        latch_quantization(&mut frame, &scan, &tables)?;
        scan.check_data(&frame, segments.bytes.len() - segments.position)?;
    }
    let mut output = Output::new(&frame, color_space);
    output.transform(&coefficients);
    Ok(output.into_pixels())
}

/// Goes to the next scan's data.
fn next_scan(segments: &mut Segments, frame: &Frame, tables: &mut Tables) -> Result<Scan, JpegError> {
    loop {
        match segments.next()?.ok_or(JpegError::EndsEarly)? {
            (START_OF_SCAN, contents) => return Scan::parse(contents, frame),
            (END_OF_IMAGE, _) => {
                return Err(JpegError::Damaged("it lacks scans: parts of the image were never written, or were lost"));
            }
            (marker, contents) => define(tables, marker, contents)?,
        }
    }
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

/// Looks at what follows the last scan. A file may lack its end marker if nothing else is missing; bytes
/// that belong to nothing, such as the zeros of an unfinished download, mean that the image is not whole.
fn finish(segments: &mut Segments, end: usize) -> Result<(), JpegError> {
    segments.position = end;
    let rest = segments.bytes.len() - end;
    match segments.marker() {
        Some(_) if segments.position - end <= MOST_STRAY => Ok(()),
        None if rest == 0 || segments.bytes[end..] == [0xFF] => Ok(()),
        _ => Err(JpegError::Damaged("its data goes on after the image is complete, so a part of it was lost")),
    }
}

fn sequential<'a>(
    frame: &Frame,
    scan: &Scan,
    tables: &Tables,
    segments: &Segments<'a>,
    scaled: bool,
) -> Result<Sequential<'a>, JpegError> {
    let components = scan.components.iter().zip(&scan.slots).map(|(&component, &(dc, ac))| {
        let scale = frame.components[component].quantization.filter(|_| scaled).unwrap_or([1; 64]);
        Ok(SequentialComponent { dc: tables.dc(dc)?, ac: tables.ac(ac)?, scale, prediction: 0 })
    });
    let reader = BitReader::new(segments.bytes, segments.position);
    Ok(Sequential { reader, components: components.collect::<Result<_, _>>()? })
}

/// Decodes one scan into coefficients; returns where its data ends.
fn decode_scan(
    frame: &Frame,
    scan: &Scan,
    tables: &Tables,
    segments: &Segments,
    coefficients: &mut [Vec<Block>],
) -> Result<usize, JpegError> {
    let interval = tables.restart_interval;
    if frame.coding.arithmetic {
        let mut decoder = Arithmetic::new(frame.coding.progressive, scan, tables, segments);
        return visit_blocks(frame, scan, interval, segments.bytes, coefficients, &mut decoder);
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
        let mut decoder = Progressive::new(reader, huffman, scan);
        return visit_blocks(frame, scan, interval, segments.bytes, coefficients, &mut decoder);
    }
    let mut decoder = sequential(frame, scan, tables, segments, false)?;
    visit_blocks(frame, scan, interval, segments.bytes, coefficients, &mut decoder)
}

/// Visits the blocks of a scan in the order in which they are coded; returns where the data ends.
fn visit_blocks(
    frame: &Frame,
    scan: &Scan,
    interval: usize,
    bytes: &[u8],
    coefficients: &mut [Vec<Block>],
    decoder: &mut impl BlockDecoder,
) -> Result<usize, JpegError> {
    let (wide, high) = scan.mcus(frame);
    let mut restarts = Restarts::new(interval);
    for row in 0..high {
        for column in 0..wide {
            if restarts.due() {
                restarts.pass(bytes, decoder)?;
            }
            if let [only] = scan.components[..] {
                let stride = frame.components[only].padded_wide;
                decoder.block(0, &mut coefficients[only][row * stride + column])?;
                continue;
            }
            for (n, &component) in scan.components.iter().enumerate() {
                let (blocks, component) = (&mut coefficients[component], &frame.components[component]);
                for y in 0..component.vertical {
                    let start = (row * component.vertical + y) * component.padded_wide + column * component.horizontal;
                    for block in &mut blocks[start..start + component.horizontal] {
                        decoder.block(n, block)?;
                    }
                }
            }
        }
        if decoder.overran() {
            return Err(JpegError::EndsEarly);
        }
    }
    Ok(decoder.end())
}

/// Counts MCUs to the next restart marker.
pub(crate) struct Restarts {
    interval: usize,
    left: usize,
    next: u8,
}

impl Restarts {
    pub fn new(interval: usize) -> Self {
        Restarts { interval, left: interval, next: 0 }
    }

    /// Whether a restart marker comes before the next MCU.
    #[inline(always)]
    pub fn due(&mut self) -> bool {
        if self.interval == 0 {
            return false;
        }
        if self.left == 0 {
            return true;
        }
        self.left -= 1;
        false
    }

    /// Goes past the restart marker, which must be the next in turn.
    #[cold]
    pub fn pass(&mut self, bytes: &[u8], decoder: &mut impl BlockDecoder) -> Result<(), JpegError> {
        if decoder.overran() {
            return Err(JpegError::EndsEarly);
        }
        let mut segments = Segments { bytes, position: decoder.end() };
        let marker = segments.marker().ok_or(JpegError::EndsEarly)?;
        if marker != 0xD0 + self.next {
            return Err(JpegError::Damaged("a restart marker is missing or out of turn"));
        }
        self.next = (self.next + 1) % 8;
        self.left = self.interval - 1;
        decoder.restart(segments.position);
        Ok(())
    }
}
