//! Resizing, by the names and with the arithmetic of the three libraries that models are trained with.
//!
//! How pixels are resized is part of a model: a network trained on antialiased images sees something
//! else when it is evaluated on point-sampled ones, even where both libraries say "bilinear". So each
//! library's variant has a name of its own here, and each is checked against that library's output.
//!
//! | names | library | antialiased | agreement |
//! | --- | --- | --- | --- |
//! | `nearest`, `box`, `bilinear`, `hamming`, `bicubic`, `lanczos` | Pillow `Image.resize` | yes | every bit |
//! | `opencv-*` | OpenCV `cv2.resize` | only `opencv-area` | within one gray level |
//! | `pytorch-*` | `torch.nn.functional.interpolate` | no | within one gray level |

#[cfg(test)]
pub(crate) mod fixtures;
mod opencv;
mod pillow;
mod pytorch;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use image::RgbImage;
use serde::{Deserialize, Serialize};

/// How pixels are computed when an image changes size.
///
/// The unprefixed names are Pillow's filters, which widen with the reduction (antialiasing); they are
/// what timm, torchvision and their `pretrained_cfg`s mean. The prefixed ones are for measuring what
/// another library's resizing does to a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Interpolation {
    /// Pillow `NEAREST`: the source pixel under the center of each output pixel.
    Nearest,
    /// Pillow `BOX`: the mean of the source pixels that an output pixel covers.
    Box,
    /// Pillow `BILINEAR`: a triangle filter, support 1.
    Bilinear,
    /// Pillow `HAMMING`: a sinc windowed by a Hamming window, support 1.
    Hamming,
    /// Pillow `BICUBIC`: Keys' cubic convolution with a = −0.5, support 2.
    Bicubic,
    /// Pillow `LANCZOS`: a sinc windowed by a sinc, support 3.
    Lanczos,
    /// OpenCV `INTER_NEAREST`: the source pixel under the corner of each output pixel.
    OpencvNearest,
    /// OpenCV `INTER_LINEAR`: 2×2 source pixels, whatever the reduction.
    OpencvBilinear,
    /// OpenCV `INTER_CUBIC`: 4×4 source pixels, a = −0.75.
    OpencvBicubic,
    /// OpenCV `INTER_AREA`: the area mean when shrinking, a kind of linear interpolation otherwise.
    OpencvArea,
    /// OpenCV `INTER_LANCZOS4`: 8×8 source pixels.
    OpencvLanczos4,
    /// PyTorch `interpolate(mode="nearest")`.
    PytorchNearest,
    /// PyTorch `interpolate(mode="bilinear", align_corners=False, antialias=False)`.
    PytorchBilinear,
    /// PyTorch `interpolate(mode="bicubic", align_corners=False, antialias=False)`.
    PytorchBicubic,
}

impl Interpolation {
    /// Every interpolation, Pillow's first.
    pub const ALL: [Interpolation; 14] = [
        Interpolation::Nearest,
        Interpolation::Box,
        Interpolation::Bilinear,
        Interpolation::Hamming,
        Interpolation::Bicubic,
        Interpolation::Lanczos,
        Interpolation::OpencvNearest,
        Interpolation::OpencvBilinear,
        Interpolation::OpencvBicubic,
        Interpolation::OpencvArea,
        Interpolation::OpencvLanczos4,
        Interpolation::PytorchNearest,
        Interpolation::PytorchBilinear,
        Interpolation::PytorchBicubic,
    ];

    /// The name used on the command line and in files, for example `opencv-bilinear`.
    pub fn name(self) -> &'static str {
        match self {
            Interpolation::Nearest => "nearest",
            Interpolation::Box => "box",
            Interpolation::Bilinear => "bilinear",
            Interpolation::Hamming => "hamming",
            Interpolation::Bicubic => "bicubic",
            Interpolation::Lanczos => "lanczos",
            Interpolation::OpencvNearest => "opencv-nearest",
            Interpolation::OpencvBilinear => "opencv-bilinear",
            Interpolation::OpencvBicubic => "opencv-bicubic",
            Interpolation::OpencvArea => "opencv-area",
            Interpolation::OpencvLanczos4 => "opencv-lanczos4",
            Interpolation::PytorchNearest => "pytorch-nearest",
            Interpolation::PytorchBilinear => "pytorch-bilinear",
            Interpolation::PytorchBicubic => "pytorch-bicubic",
        }
    }
}

impl Interpolation {
    /// Pillow's filter that comes nearest: what a program uses that knows no other.
    pub fn pillow(self) -> Self {
        match self {
            Self::OpencvNearest | Self::PytorchNearest => Self::Nearest,
            Self::OpencvBilinear | Self::PytorchBilinear => Self::Bilinear,
            Self::OpencvBicubic | Self::PytorchBicubic => Self::Bicubic,
            Self::OpencvArea => Self::Box,
            Self::OpencvLanczos4 => Self::Lanczos,
            own => own,
        }
    }
}

impl fmt::Display for Interpolation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// The error of [`Interpolation::from_str`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown interpolation `{name}`: use one of {}",
    Interpolation::ALL.map(Interpolation::name).join(", ")
)]
pub struct UnknownInterpolation {
    /// The name that was given.
    pub name: String,
}

impl FromStr for Interpolation {
    type Err = UnknownInterpolation;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Interpolation::ALL
            .into_iter()
            .find(|interpolation| interpolation.name() == name)
            .ok_or_else(|| UnknownInterpolation { name: name.to_owned() })
    }
}

impl Interpolation {
    /// Whether colors count by their opacity: Pillow's filters do that, the other libraries mix channels apart.
    pub(super) fn weighs_by_opacity(self) -> bool {
        matches!(Implementation::of(self), Implementation::PillowFilter(_))
    }
}

/// Resizes `image` to `width` × `height` pixels.
///
/// An image that already has the size is returned unchanged, whatever the interpolation. A source or
/// target without pixels gives a black image of the target size.
pub fn resize(image: &RgbImage, width: u32, height: u32, interpolation: Interpolation) -> RgbImage {
    resize_part(image, whole(image), Target::new(width, height), interpolation)
}

/// Resizes the part of `image` inside `source` (left, top, right, bottom, in pixels, fractions
/// allowed) to `width` × `height` pixels: the `box` argument of Pillow's `Image.resize`.
///
/// Unlike cropping first, Pillow's filters see the pixels around the box. The box is confined to the
/// image. OpenCV and PyTorch have no such argument: for their interpolations the box is rounded to
/// whole pixels and cut out first. (torchvision's `RandomResizedCrop` also cuts first.)
pub fn resize_box(
    image: &RgbImage,
    source: [f64; 4],
    width: u32,
    height: u32,
    interpolation: Interpolation,
) -> RgbImage {
    resize_part(image, source, Target::new(width, height), interpolation)
}

/// Resizes `image` to `width` × `height` pixels and returns only the part of the result inside
/// `window`: the same pixels as resizing and then cropping, without computing those cut away.
///
/// The window is confined to the resized image.
pub fn resize_window(
    image: &RgbImage,
    width: u32,
    height: u32,
    window: Window,
    interpolation: Interpolation,
) -> RgbImage {
    let target = Target {
        columns: window.left.min(width)..window.left.saturating_add(window.width).min(width),
        rows: window.top.min(height)..window.top.saturating_add(window.height).min(height),
        ..Target::new(width, height)
    };
    resize_part(image, whole(image), target, interpolation)
}

/// A rectangle of whole pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Columns to the left of it.
    pub left: u32,
    /// Rows above it.
    pub top: u32,
    /// Its columns.
    pub width: u32,
    /// Its rows.
    pub height: u32,
}

/// The size to resize to, and which part of it to compute.
#[derive(Clone, Debug)]
struct Target {
    width: u32,
    height: u32,
    columns: Range<u32>,
    rows: Range<u32>,
}

impl Target {
    fn new(width: u32, height: u32) -> Self {
        Target { width, height, columns: 0..width, rows: 0..height }
    }

    /// A black image of the size that is computed.
    fn blank(&self) -> RgbImage {
        RgbImage::new(self.columns.len() as u32, self.rows.len() as u32)
    }
}

/// The box that is all of `image`.
fn whole(image: &RgbImage) -> [f64; 4] {
    [0.0, 0.0, f64::from(image.width()), f64::from(image.height())]
}

/// Dispatches to the library that `interpolation` follows.
fn resize_part(image: &RgbImage, source: [f64; 4], target: Target, interpolation: Interpolation) -> RgbImage {
    let limits = whole(image);
    let source: [f64; 4] = std::array::from_fn(|edge| source[edge].clamp(0.0, limits[edge % 2 + 2]));
    // Written so that a box with a NaN counts as empty.
    let has_area = source[2] > source[0] && source[3] > source[1];
    if !has_area || target.columns.is_empty() || target.rows.is_empty() {
        return target.blank();
    }
    let is_whole = source == limits;
    if is_whole && image.dimensions() == (target.width, target.height) {
        return cut_out(image, &target.columns, &target.rows);
    }
    match Implementation::of(interpolation) {
        Implementation::PillowNearest => pillow::nearest(image, source, &target),
        Implementation::PillowFilter(filter) => pillow::resample(image, source, &target, filter),
        Implementation::Sampler(sample) if is_whole => sample(image, &target),
        Implementation::Sampler(sample) => sample(&cut_out_nearest(image, source), &target),
    }
}

/// The three shapes of implementation behind an [`Interpolation`].
enum Implementation {
    PillowNearest,
    PillowFilter(&'static pillow::Filter),
    Sampler(fn(&RgbImage, &Target) -> RgbImage),
}

impl Implementation {
    fn of(interpolation: Interpolation) -> Self {
        match interpolation {
            Interpolation::Nearest => Self::PillowNearest,
            Interpolation::Box => Self::PillowFilter(&pillow::BOX),
            Interpolation::Bilinear => Self::PillowFilter(&pillow::BILINEAR),
            Interpolation::Hamming => Self::PillowFilter(&pillow::HAMMING),
            Interpolation::Bicubic => Self::PillowFilter(&pillow::BICUBIC),
            Interpolation::Lanczos => Self::PillowFilter(&pillow::LANCZOS),
            Interpolation::OpencvNearest => Self::Sampler(opencv::nearest),
            Interpolation::OpencvBilinear => Self::Sampler(opencv::bilinear),
            Interpolation::OpencvBicubic => Self::Sampler(opencv::bicubic),
            Interpolation::OpencvArea => Self::Sampler(opencv::area),
            Interpolation::OpencvLanczos4 => Self::Sampler(opencv::lanczos4),
            Interpolation::PytorchNearest => Self::Sampler(pytorch::nearest),
            Interpolation::PytorchBilinear => Self::Sampler(pytorch::bilinear),
            Interpolation::PytorchBicubic => Self::Sampler(pytorch::bicubic),
        }
    }
}

/// The given columns and rows of `image`, which must have them.
fn cut_out(image: &RgbImage, columns: &Range<u32>, rows: &Range<u32>) -> RgbImage {
    let (width, height) = (columns.len() as u32, rows.len() as u32);
    image::imageops::crop_imm(image, columns.start, rows.start, width, height).to_image()
}

/// The whole pixels nearest to `source`, at least one in each direction.
fn cut_out_nearest(image: &RgbImage, source: [f64; 4]) -> RgbImage {
    let left = (source[0].round() as u32).min(image.width() - 1);
    let top = (source[1].round() as u32).min(image.height() - 1);
    let right = (source[2].round() as u32).max(left + 1);
    let bottom = (source[3].round() as u32).max(top + 1);
    cut_out(image, &(left..right), &(top..bottom))
}

/// A view of packed RGB bytes as whole pixels.
pub(super) fn as_pixels(bytes: &[u8]) -> &[[u8; 3]] {
    bytes.as_chunks().0
}

/// A mutable view of packed RGB bytes as whole pixels.
fn as_pixels_mut(bytes: &mut [u8]) -> &mut [[u8; 3]] {
    bytes.as_chunks_mut().0
}

#[cfg(test)]
mod tests;
