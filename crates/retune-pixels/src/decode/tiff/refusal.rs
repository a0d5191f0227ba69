//! What a TIFF holds that is not read, in plain words.

use super::chunk::JPEG;
use super::{BLACK_IS_ZERO, PALETTE, Page, RGB, WHITE_IS_ZERO, YCBCR};

const CMYK: u16 = 5;
/// Values of the tag `SampleFormat`.
const SIGNED: u16 = 2;
const FLOATING_POINT: u16 = 3;
const COMPLEX: [u16; 2] = [5, 6];

/// Why neither decoder reads a page; `None` where its tags do not tell.
pub(super) fn reason(page: &Page) -> Option<String> {
    of_compression(page.compression).or_else(|| of_values(page)).or_else(|| of_colors(page))
}

/// As [`reason`], of the compression alone.
pub(super) fn of_compression(compression: u16) -> Option<String> {
    let name = match compression {
        1..=5 | 7 | 8 | 32_773 | 32_946 => return None,
        6 => "the JPEG compression of before 1995",
        34_676 | 34_677 => "SGI LogLuv",
        33_003 | 33_005 | 34_712 => "JPEG 2000",
        34_887 => "LERC",
        34_925 => "LZMA",
        34_933 => "PNG",
        34_892 | 34_934 | 22_610 => "JPEG XR",
        50_000 => "Zstandard",
        50_001 => "WebP",
        50_002 | 52_546 => "JPEG XL",
        other => return Some(format!("its pixels are compressed by method {other}, which is not read")),
    };
    Some(format!("its pixels are compressed with {name}, which is not read"))
}

fn of_values(page: &Page) -> Option<String> {
    let bits = page.bits;
    match page.sample_format {
        FLOATING_POINT => Some(format!(
            "its values are {bits}-bit floating-point numbers, none of which is agreed to be white; map the range that \
             matters to 0–255"
        )),
        SIGNED => Some(format!("its values are {bits}-bit numbers with a sign; map the range that matters to 0–255")),
        format if COMPLEX.contains(&format) => Some("its values are complex numbers".to_owned()),
        _ if bits > 16 => Some(format!("its values are {bits}-bit numbers; map the range that matters to 0–255")),
        _ if !matches!(bits, 1 | 2 | 4 | 8 | 16) => Some(format!("its values have {bits} bits")),
        _ => None,
    }
}

fn of_colors(page: &Page) -> Option<String> {
    let samples = page.samples;
    let (name, colors) = match page.photometric {
        WHITE_IS_ZERO | BLACK_IS_ZERO => ("gray", 1),
        RGB => ("RGB", 3),
        PALETTE => ("palette", 1),
        CMYK => ("CMYK", 4),
        YCBCR if page.compression == JPEG => ("YCbCr", 3),
        YCBCR => return Some("its colors are YCbCr without JPEG compression".to_owned()),
        4 => return Some("it is a mask for another image".to_owned()),
        8..=10 => return Some("its colors are CIE L*a*b*".to_owned()),
        32_803 => return Some("it holds a camera's raw values, which have yet to become colors".to_owned()),
        32_844 | 32_845 => return Some("its colors are LogLuv".to_owned()),
        _ => return Some("its colors are neither gray, RGB, CMYK nor a palette".to_owned()),
    };
    if page.compression == JPEG && page.planar {
        return Some("each of its colors is a JPEG of its own (separate planes)".to_owned());
    }
    (samples > colors).then(|| {
        format!("each of its pixels has {samples} values, where {name} has {colors}; choose the bands to show as RGB")
    })
}
