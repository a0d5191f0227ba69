//! Decompression of pages, by this crate and not by the Parquet reader, because each page then stops at a bound: a few
//! hundred bytes of Brotli or gzip can stand for gigabytes.
//!
//! The codecs are those of <https://parquet.apache.org/docs/file-format/data-pages/compression/>, but for LZO, which no
//! writer in use knows.

use std::io::{self, Read};

use ::parquet::basic::Compression;
use ::parquet::column::page::Page;
use ::parquet::errors::{ParquetError, Result as ParquetResult};
use bytes::Bytes;

/// How much room a page gets at first, in bytes for each of its compressed bytes; encoded images hardly shrink.
const FIRST_GUESS: u64 = 2;

/// What is too large and what is damaged.
#[derive(Debug)]
enum Problem {
    TooLarge,
    Damaged(&'static str),
}

/// The page with its contents decompressed to at most `most` bytes; and how many there are.
pub(super) fn page(page: Page, codec: Compression, most: u64) -> ParquetResult<(Page, u64)> {
    if codec == Compression::UNCOMPRESSED || matches!(page, Page::DataPageV2 { is_compressed: false, .. }) {
        let length = page.buffer().len() as u64;
        return Ok((page, length));
    }
    let general = |problem| {
        ParquetError::General(match problem {
            Problem::TooLarge => "it announces more bytes than it can hold".to_owned(),
            Problem::Damaged(codec) => format!("a page that {codec} compressed cannot be decompressed"),
        })
    };
    // Levels come first and are not compressed in pages of the second version.
    let plain = match &page {
        Page::DataPageV2 { def_levels_byte_len, rep_levels_byte_len, .. } => {
            u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len)
        }
        _ => 0,
    };
    let plain = usize::try_from(plain).unwrap_or(usize::MAX);
    let split = page.buffer().split_at_checked(plain);
    let (levels, compressed) = split.ok_or_else(|| ParquetError::General("its levels are cut short".to_owned()))?;
    let mut contents = levels.to_vec();
    // A page of nothing but nulls may have no bytes at all.
    if !compressed.is_empty() {
        append(codec, compressed, &mut contents, most.saturating_sub(levels.len() as u64)).map_err(general)?;
    }
    let length = contents.len() as u64;
    Ok((with_contents(page, contents.into()), length))
}

fn with_contents(page: Page, contents: Bytes) -> Page {
    match page {
        Page::DataPage { num_values, encoding, def_level_encoding, rep_level_encoding, statistics, .. } => {
            Page::DataPage { buf: contents, num_values, encoding, def_level_encoding, rep_level_encoding, statistics }
        }
        Page::DataPageV2 {
            num_values,
            encoding,
            num_nulls,
            num_rows,
            def_levels_byte_len,
            rep_levels_byte_len,
            statistics,
            ..
        } => Page::DataPageV2 {
            buf: contents,
            num_values,
            encoding,
            num_nulls,
            num_rows,
            def_levels_byte_len,
            rep_levels_byte_len,
            is_compressed: false,
            statistics,
        },
        Page::DictionaryPage { num_values, encoding, is_sorted, .. } => {
            Page::DictionaryPage { buf: contents, num_values, encoding, is_sorted }
        }
    }
}

/// Appends what `input` decompresses to, at most `most` bytes.
fn append(codec: Compression, input: &[u8], contents: &mut Vec<u8>, most: u64) -> Result<(), Problem> {
    let damaged = |name| move |_: io::Error| Problem::Damaged(name);
    match codec {
        Compression::SNAPPY => {
            let invalid = |_| Problem::Damaged("Snappy");
            let length = snap::raw::decompress_len(input).map_err(invalid)?;
            if length as u64 > most {
                return Err(Problem::TooLarge);
            }
            let start = contents.len();
            contents.resize(start + length, 0);
            snap::raw::Decoder::new().decompress(input, &mut contents[start..]).map(|_| ()).map_err(invalid)
        }
        Compression::GZIP(_) => read_bounded(flate2::read::MultiGzDecoder::new(input), contents, most, damaged("gzip")),
        Compression::BROTLI(_) => {
            let decoder = brotli_decompressor::Decompressor::new(input, input.len().min(1 << 16));
            read_bounded(decoder, contents, most, damaged("Brotli"))
        }
        Compression::ZSTD(_) => zstandard(input, contents, most),
        Compression::LZ4_RAW => lz4_block(input, contents, most),
        Compression::LZ4 => lz4_hadoop(input, contents, most),
        // Whoever opens a column has refused the others.
        _ => Err(Problem::Damaged("an unknown codec")),
    }
}

/// The name of a codec that cannot be decompressed.
pub(super) fn unsupported(codec: Compression) -> Option<String> {
    let supported = matches!(
        codec,
        Compression::UNCOMPRESSED
            | Compression::SNAPPY
            | Compression::GZIP(_)
            | Compression::BROTLI(_)
            | Compression::ZSTD(_)
            | Compression::LZ4
            | Compression::LZ4_RAW
    );
    (!supported).then(|| codec.to_string())
}

fn read_bounded(
    decoder: impl Read,
    contents: &mut Vec<u8>,
    most: u64,
    damaged: impl Fn(io::Error) -> Problem,
) -> Result<(), Problem> {
    let read = decoder.take(most.saturating_add(1)).read_to_end(contents).map_err(damaged)?;
    if read as u64 > most { Err(Problem::TooLarge) } else { Ok(()) }
}

/// One frame after the other.
fn zstandard(mut input: &[u8], contents: &mut Vec<u8>, most: u64) -> Result<(), Problem> {
    let start = contents.len();
    while !input.is_empty() {
        let invalid = |_| Problem::Damaged("Zstandard");
        let decoder = ruzstd::decoding::StreamingDecoder::new(&mut input).map_err(invalid)?;
        let used = (contents.len() - start) as u64;
        read_bounded(decoder, contents, most.saturating_sub(used), |_| Problem::Damaged("Zstandard"))?;
    }
    Ok(())
}

/// One block, which does not say how long it gets.
fn lz4_block(input: &[u8], contents: &mut Vec<u8>, most: u64) -> Result<(), Problem> {
    use lz4_flex::block::{DecompressError, decompress_into};

    let start = contents.len();
    let mut room = (input.len() as u64).saturating_mul(FIRST_GUESS).clamp(1 << 12, most.max(1 << 12)).min(most);
    loop {
        let length = usize::try_from(room).map_err(|_| Problem::TooLarge)?;
        contents.resize(start + length, 0);
        match decompress_into(input, &mut contents[start..]) {
            Ok(length) => {
                contents.truncate(start + length);
                return Ok(());
            }
            Err(DecompressError::OutputTooSmall { .. }) if room < most => room = room.saturating_mul(4).min(most),
            Err(DecompressError::OutputTooSmall { .. }) => return Err(Problem::TooLarge),
            Err(_) => return Err(Problem::Damaged("LZ4")),
        }
    }
}

/// Blocks with their lengths before them, both ways, as Hadoop writes them; or a lone block, as old versions of Arrow's
/// C++ library did under the same name.
fn lz4_hadoop(input: &[u8], contents: &mut Vec<u8>, most: u64) -> Result<(), Problem> {
    let start = contents.len();
    match framed_blocks(input, contents, most) {
        Some(()) => Ok(()),
        None => {
            contents.truncate(start);
            lz4_block(input, contents, most)
        }
    }
}

fn framed_blocks(mut input: &[u8], contents: &mut Vec<u8>, mut most: u64) -> Option<()> {
    while !input.is_empty() {
        let (announced, rest) = input.split_first_chunk().map(|(length, rest)| (u32::from_be_bytes(*length), rest))?;
        let (length, rest) = rest.split_first_chunk().map(|(length, rest)| (u32::from_be_bytes(*length), rest))?;
        let (block, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
        most = most.checked_sub(u64::from(announced))?;
        let start = contents.len();
        contents.resize(start.checked_add(usize::try_from(announced).ok()?)?, 0);
        let length = lz4_flex::block::decompress_into(block, &mut contents[start..]).ok()?;
        if length != contents.len() - start {
            return None;
        }
        input = rest;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `hello` as one block: the length of its literals in the upper half of a byte, and no match.
    const BLOCK: &[u8] = b"\x50hello";

    fn decompressed(codec: Compression, input: &[u8], most: u64) -> Option<Vec<u8>> {
        let mut contents = b"<".to_vec();
        append(codec, input, &mut contents, most).ok().map(|()| contents)
    }

    #[test]
    fn blocks_of_hadoop_and_lone_ones_go_by_the_same_name() {
        let framed: Vec<u8> = [&[0, 0, 0, 5, 0, 0, 0, 6][..], BLOCK].concat();
        for (input, expected) in
            [(BLOCK.to_vec(), "<hello"), (framed.clone(), "<hello"), (framed.repeat(2), "<hellohello")]
        {
            assert_eq!(decompressed(Compression::LZ4, &input, 10).as_deref(), Some(expected.as_bytes()));
        }
        assert_eq!(decompressed(Compression::LZ4, &framed.repeat(2), 9), None);
        assert_eq!(decompressed(Compression::LZ4_RAW, BLOCK, 5).as_deref(), Some(&b"<hello"[..]));
        assert_eq!(decompressed(Compression::LZ4_RAW, BLOCK, 4), None);
    }

    #[test]
    fn a_block_of_any_length_gets_room() {
        // A letter, then a match that repeats it 19 + 255 · 1000 + 0 times.
        let mut block = vec![0x1f, b'a', 1, 0];
        block.extend([255].repeat(1000));
        block.push(0);
        // The format ends with literals.
        block.extend(b"\x50hello");
        let length = 1 + 19 + 255 * 1000;
        let contents = decompressed(Compression::LZ4_RAW, &block, 1 << 20).unwrap();
        assert_eq!(contents.len(), 1 + length + 5);
        assert!(contents[1..=length].iter().all(|&byte| byte == b'a'));
        assert_eq!(decompressed(Compression::LZ4_RAW, &block, length as u64), None);
    }

    #[test]
    fn damaged_pages_are_told_by_their_codec() {
        let codecs = [
            (Compression::SNAPPY, "Snappy"),
            (Compression::GZIP(Default::default()), "gzip"),
            (Compression::ZSTD(Default::default()), "Zstandard"),
            (Compression::BROTLI(Default::default()), "Brotli"),
            (Compression::LZ4_RAW, "LZ4"),
        ];
        for (codec, name) in codecs {
            let mut contents = Vec::new();
            let problem = append(codec, &[0xf1, 2, 3, 4, 5], &mut contents, 1 << 20).unwrap_err();
            assert!(matches!(problem, Problem::Damaged(told) if told == name), "{name}");
        }
    }
}
