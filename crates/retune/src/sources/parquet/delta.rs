//! Pages of differences, looked over before they are decoded.
//!
//! Their decoder makes room for as many lengths as the page says (the encodings `DELTA_BINARY_PACKED`,
//! `DELTA_LENGTH_BYTE_ARRAY` and `DELTA_BYTE_ARRAY` of
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/>), and a program that asks for more memory than
//! there is ends at once. And a value that shares its beginning with the one before takes few bytes, however long it is.

use ::parquet::basic::Encoding;
use ::parquet::column::page::Page;

/// How many bytes the values of a page share with the ones before them, which each value repeats once it is decoded
/// (`DELTA_BYTE_ARRAY`; 0 in other pages). `None` where the page announces more values than its header does.
/// `level_kinds` are the repetition and definition levels that its column has, 0 to 2.
pub(super) fn repeated_bytes(page: &Page, level_kinds: usize) -> Option<u64> {
    let (streams, shares_bytes) = match page.encoding() {
        Encoding::DELTA_BINARY_PACKED | Encoding::DELTA_LENGTH_BYTE_ARRAY => (1, false),
        // The lengths that each value shares with the one before, then the lengths of the rest.
        Encoding::DELTA_BYTE_ARRAY => (2, true),
        _ => return Some(0),
    };
    let mut left = match page {
        Page::DataPage { buf, .. } => (0..level_kinds).try_fold(&buf[..], |left, _| after_levels(left)),
        Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, .. } => {
            let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
            usize::try_from(levels).ok().and_then(|levels| buf.get(levels..))
        }
        Page::DictionaryPage { buf, .. } => Some(&buf[..]),
    }?;
    let mut repeated = 0u64;
    for stream in 0..streams {
        left = read_stream(left, u64::from(page.num_values()), |number| {
            // Lengths are whole numbers of 32 bits; the decoder refuses negative ones.
            if shares_bytes && stream == 0 {
                repeated = repeated.saturating_add(u64::try_from(number as i32).unwrap_or_default());
            }
        })?;
    }
    Some(repeated)
}

/// What comes after levels in run lengths, which have their length before them.
fn after_levels(bytes: &[u8]) -> Option<&[u8]> {
    let (length, levels) = bytes.split_first_chunk()?;
    levels.get(usize::try_from(u32::from_le_bytes(*length)).ok()?..)
}

/// Takes packed differences of at most `most` numbers and returns what comes after them; nothing after ones that end
/// early, which the decoder refuses.
fn read_stream(mut bytes: &[u8], most: u64, mut take: impl FnMut(i64)) -> Option<&[u8]> {
    let [block, parts, count, first] = [(); 4].map(|()| number(&mut bytes));
    let (block, parts, count) = (block?, usize::try_from(parts?).ok()?, count?);
    let in_part = block.checked_div(parts as u64)?;
    if count > most || in_part == 0 {
        return None;
    }
    let mut value = signed(first?);
    if count > 0 {
        take(value);
    }
    let mut left = count.saturating_sub(1);
    while left > 0 {
        let least = signed(number(&mut bytes)?);
        let (widths, packed) = bytes.split_at_checked(parts)?;
        bytes = packed;
        for &width in widths {
            if left == 0 {
                break;
            }
            for place in 0..in_part.min(left) {
                value = value.wrapping_add(least).wrapping_add(packed_number(bytes, place, width) as i64);
                take(value);
            }
            let length = in_part.checked_mul(u64::from(width))?.div_ceil(u64::from(u8::BITS));
            bytes = usize::try_from(length).ok().and_then(|length| bytes.get(length..)).unwrap_or_default();
            left = left.saturating_sub(in_part);
        }
    }
    Some(bytes)
}

/// The number at a place among ones of `width` bits, least significant bits first; bits that are not there are 0.
fn packed_number(bytes: &[u8], place: u64, width: u8) -> u64 {
    let start = place.saturating_mul(u64::from(width));
    let first = usize::try_from(start / u64::from(u8::BITS)).unwrap_or(usize::MAX);
    // 64 bits that begin within a byte reach into a ninth.
    let mut window = [0; 16];
    let present = bytes.get(first..).unwrap_or_default();
    let length = present.len().min(window.len());
    window[..length].copy_from_slice(&present[..length]);
    let bits = u128::from_le_bytes(window) >> (start % u64::from(u8::BITS));
    let mask = if width >= 64 { u128::from(u64::MAX) } else { (1 << width) - 1 };
    (bits & mask) as u64
}

/// A signed number from its zigzag form: 0, −1, 1, −2, …
fn signed(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Takes a number in groups of seven bits.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let length = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)? + 1;
    let (number, rest) = bytes.split_at(length);
    *bytes = rest;
    Some(number.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers 1 to 5 as the encoding's description packs them (blocks of 8 in one part, no bits for equal
    /// differences), and something after them.
    const STREAM: [u8; 7] = [8, 1, 5, 2, 2, 0, 99];

    fn read(bytes: &[u8], most: u64) -> Option<(Vec<i64>, &[u8])> {
        let mut numbers = Vec::new();
        let left = read_stream(bytes, most, |number| numbers.push(number))?;
        Some((numbers, left))
    }

    #[test]
    fn a_stream_is_read_and_one_of_too_many_numbers_is_not() {
        let left = &[99][..];
        assert_eq!(read(&STREAM, 5), Some((vec![1, 2, 3, 4, 5], left)));
        assert_eq!(read(&STREAM, 4), None);
        assert_eq!(read(&[8, 0, 5, 2, 2, 0], 5), None);
        // A bit for each of eight differences, of which four are there: 0, 1, 0 and 1 above the least, which is 1.
        assert_eq!(read(&[8, 1, 5, 2, 2, 1, 0b1010, 99], 5), Some((vec![1, 2, 4, 5, 7], left)));
        // The second example of the encoding's description: 7, 5, 3, 1, 2, 3, 4, 5 differ by −2 at least.
        let second = [8, 1, 8, 14, 3, 2, 0b1100_0000, 0b0011_1111, 99];
        assert_eq!(read(&second, 8), Some((vec![7, 5, 3, 1, 2, 3, 4, 5], left)));
        assert_eq!(read(&[], 5), None);
    }

    #[test]
    fn numbers_of_any_width_are_unpacked() {
        let bytes: Vec<u8> = (0..40u8).map(|byte| byte.wrapping_mul(151).wrapping_add(7)).collect();
        let bit = |at: usize| u64::from(bytes.get(at / 8).is_some_and(|byte| byte >> (at % 8) & 1 == 1));
        for width in 0..=64u8 {
            for place in 0..8 {
                let expected = (0..width as usize).map(|at| bit(place * width as usize + at) << at).sum::<u64>();
                assert_eq!(packed_number(&bytes, place as u64, width), expected, "{width} {place}");
            }
        }
    }
}
