//! Pages of differences, looked over before they are decoded.
//!
//! Their decoder makes room for as many lengths as the page says (the encodings `DELTA_BINARY_PACKED`,
//! `DELTA_LENGTH_BYTE_ARRAY` and `DELTA_BYTE_ARRAY` of
//! <https://parquet.apache.org/docs/file-format/data-pages/encodings/>), and a program that asks for more memory than
//! there is ends at once.

use ::parquet::basic::Encoding;
use ::parquet::column::page::Page;

/// Whether a page of such an encoding announces no more values than its header does; true of other pages.
/// `level_kinds` are the repetition and definition levels that its column has, 0 to 2.
pub(super) fn is_sound(page: &Page, level_kinds: usize) -> bool {
    let streams = match page.encoding() {
        Encoding::DELTA_BINARY_PACKED | Encoding::DELTA_LENGTH_BYTE_ARRAY => 1,
        // The lengths that each value shares with the one before, then the lengths of the rest.
        Encoding::DELTA_BYTE_ARRAY => 2,
        _ => return true,
    };
    let mut left = match page {
        Page::DataPage { buf, .. } => (0..level_kinds).try_fold(&buf[..], |left, _| after_levels(left)),
        Page::DataPageV2 { buf, def_levels_byte_len, rep_levels_byte_len, .. } => {
            let levels = u64::from(*def_levels_byte_len) + u64::from(*rep_levels_byte_len);
            usize::try_from(levels).ok().and_then(|levels| buf.get(levels..))
        }
        Page::DictionaryPage { buf, .. } => Some(&buf[..]),
    };
    for _ in 0..streams {
        left = left.and_then(|left| after_stream(left, u64::from(page.num_values())));
    }
    left.is_some()
}

/// What comes after levels in run lengths, which have their length before them.
fn after_levels(bytes: &[u8]) -> Option<&[u8]> {
    let (length, levels) = bytes.split_first_chunk()?;
    levels.get(usize::try_from(u32::from_le_bytes(*length)).ok()?..)
}

/// What comes after packed differences of at most `most` numbers; nothing after ones that end early, which the decoder
/// refuses.
fn after_stream(mut bytes: &[u8], most: u64) -> Option<&[u8]> {
    let [block, parts, count, _first] = [(); 4].map(|()| number(&mut bytes));
    let (block, parts, count) = (block?, usize::try_from(parts?).ok()?, count?);
    let in_part = block.checked_div(parts as u64)?;
    if count > most || in_part == 0 {
        return None;
    }
    let mut left = count.saturating_sub(1);
    while left > 0 {
        number(&mut bytes)?;
        let (widths, packed) = bytes.split_at_checked(parts)?;
        bytes = packed;
        for &width in widths {
            if left == 0 {
                break;
            }
            let length = in_part.checked_mul(u64::from(width))?.div_ceil(u64::from(u8::BITS));
            bytes = usize::try_from(length).ok().and_then(|length| bytes.get(length..)).unwrap_or_default();
            left = left.saturating_sub(in_part);
        }
    }
    Some(bytes)
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

    #[test]
    fn a_stream_is_passed_and_one_of_too_many_numbers_is_not() {
        assert_eq!(after_stream(&STREAM, 5), Some(&[99][..]));
        assert_eq!(after_stream(&STREAM, 4), None);
        assert_eq!(after_stream(&[8, 0, 5, 2, 2, 0], 5), None);
        // A bit for each of eight differences.
        assert_eq!(after_stream(&[8, 1, 5, 2, 2, 1, 0b1010, 99], 5), Some(&[99][..]));
        assert_eq!(after_stream(&[], 5), None);
    }
}
