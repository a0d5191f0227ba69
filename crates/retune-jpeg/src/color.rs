//! From components to RGB.

use crate::vectors::Vectors;

/// What the components of an image are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColorSpace {
    /// One component, of gray.
    Gray,
    /// Luma and two of chroma, as JFIF has them.
    YCbCr,
    /// Red, green and blue.
    Rgb,
    /// Inverted amounts of cyan, magenta, yellow and black ink.
    Cmyk,
    /// As [`ColorSpace::Cmyk`], the first three as luma and chroma.
    Ycck,
}

impl ColorSpace {
    /// How many components there are.
    pub fn components(self) -> usize {
        match self {
            ColorSpace::Gray => 1,
            ColorSpace::YCbCr | ColorSpace::Rgb => 3,
            ColorSpace::Cmyk | ColorSpace::Ycck => 4,
        }
    }
}

/// What a file says of its colors.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hints {
    pub jfif: bool,
    pub adobe_transform: Option<u8>,
}

impl Hints {
    /// libjpeg's rules, by the identifiers of the components.
    pub fn color_space(self, ids: &[u8]) -> ColorSpace {
        match (ids, self.adobe_transform) {
            ([_], _) => ColorSpace::Gray,
            ([_, _, _], _) if self.jfif => ColorSpace::YCbCr,
            ([_, _, _], Some(0)) => ColorSpace::Rgb,
            ([_, _, _], Some(_)) => ColorSpace::YCbCr,
            (b"RGB", None) => ColorSpace::Rgb,
            ([_, _, _], None) => ColorSpace::YCbCr,
            (_, Some(0) | None) => ColorSpace::Cmyk,
            (_, Some(_)) => ColorSpace::Ycck,
        }
    }
}

/// Pixels that are converted at a time.
const GROUP: usize = 32;

/// Converts a row of components, each as long as the row has pixels, to RGB.
#[inline(always)]
pub(crate) fn to_rgb(vectors: impl Vectors, color_space: ColorSpace, components: [&[u8]; 4], out: &mut [u8]) {
    let out = out.as_chunks_mut::<3>().0;
    let n = out.len();
    let [first, second, third, fourth] = components;
    match color_space {
        ColorSpace::Gray => {
            for (pixel, gray) in out.iter_mut().zip(first) {
                *pixel = [*gray; 3];
            }
        }
        ColorSpace::YCbCr => vectors.convert(first, second, third, out),
        ColorSpace::Rgb => {
            let (red, green, blue) = (&first[..n], &second[..n], &third[..n]);
            for x in 0..n {
                out[x] = [red[x], green[x], blue[x]];
            }
        }
        ColorSpace::Cmyk => {
            for x in 0..n {
                out[x] = from_ink([first[x], second[x], third[x]], fourth[x]);
            }
        }
        ColorSpace::Ycck => {
            for x in 0..n {
                // Luma and chroma of the inverted inks give what the paper reflects.
                let reflected = from_luma_and_chroma(first[x], second[x], third[x]);
                out[x] = from_ink(reflected.map(|value| 255 - value), fourth[x]);
            }
        }
    }
}

/// Converts pixels of luma and chroma to RGB.
#[inline(always)]
pub(crate) fn convert(luma: &[u8], cb: &[u8], cr: &[u8], out: &mut [[u8; 3]]) {
    let n = out.len();
    let (luma, cb, cr) = (&luma[..n], &cb[..n], &cr[..n]);
    // Groups of four make three words, which is quicker than bytes one by one.
    let groups = luma.as_chunks::<GROUP>().0.iter().zip(cb.as_chunks::<GROUP>().0).zip(cr.as_chunks::<GROUP>().0);
    for (out, ((luma, cb), cr)) in out.as_chunks_mut::<GROUP>().0.iter_mut().zip(groups) {
        let mut words = [0_u32; GROUP];
        for x in 0..GROUP {
            let [red, green, blue] = from_luma_and_chroma(luma[x], cb[x], cr[x]).map(u32::from);
            words[x] = red | green << 8 | blue << 16;
        }
        let pixels = out.as_flattened_mut().as_chunks_mut::<12>().0;
        for (four, w) in pixels.iter_mut().zip(words.as_chunks::<4>().0) {
            four[..4].copy_from_slice(&(w[0] | w[1] << 24).to_le_bytes());
            four[4..8].copy_from_slice(&(w[1] >> 8 | w[2] << 16).to_le_bytes());
            four[8..].copy_from_slice(&(w[2] >> 16 | w[3] << 8).to_le_bytes());
        }
    }
    for x in n / GROUP * GROUP..n {
        out[x] = from_luma_and_chroma(luma[x], cb[x], cr[x]);
    }
}

/// JFIF's conversion, in integers: `R = Y + 1.402 Cr` and so on, rounded to the nearest. The factors above 1/2
/// are split so that the products stay short.
#[inline(always)]
pub(crate) fn from_luma_and_chroma(luma: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (luma, cb, cr) = (i32::from(luma), i32::from(cb) - 128, i32::from(cr) - 128);
    let red = luma + ((fixed(1.402) * cr + 32768) >> 16);
    let green = luma + ((-fixed(0.34414) * cb - fixed(0.71414) * cr + 32768) >> 16);
    let blue = luma + ((fixed(1.772) * cb + 32768) >> 16);
    [red, green, blue].map(|value| value.clamp(0, 255) as u8)
}

/// A factor of the conversion with 16 fraction bits.
pub(crate) const fn fixed(value: f64) -> i32 {
    (value * 65536.0 + 0.5) as i32
}

/// Pillow's conversion from CMYK, where `inks` and `black` are inverted, as the file has them.
#[inline(always)]
fn from_ink(inks: [u8; 3], black: u8) -> [u8; 3] {
    let white = i32::from(black);
    inks.map(|ink| {
        let product = (255 - i32::from(ink)) * white + 128;
        let covered = ((product >> 8) + product) >> 8;
        (white - covered).clamp(0, 255) as u8
    })
}
