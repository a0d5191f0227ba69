//! A model's preprocessing in ONNX's operators: decoded images of any size to normalized pixels.
//!
//! The arithmetic of sizes is that of [`Preprocessing::apply`], in whole numbers or double precision.

use retune_pixels::preprocess::{CropMode, Preprocessing};
use retune_pixels::resize::Interpolation;

use super::writer::Writer;
use crate::export::ExportError;

/// The name of the graph's input: `[batch, height, width, channels]`, bytes.
pub(super) const INPUT: &str = "pixels";

/// Writes the nodes from [`INPUT`] to `[batch, channels, height, width]` of normalized pixels, and gives the name of the
/// last value.
///
/// # Errors
/// A filter that ONNX does not have, and images with opacity.
pub(super) fn write(preprocessing: &Preprocessing, writer: &mut Writer) -> Result<String, ExportError> {
    let filter =
        Filter::of(preprocessing.interpolation).ok_or(ExportError::Interpolation(preprocessing.interpolation))?;
    if preprocessing.channels.has_alpha() {
        return Err(ExportError::Opacity(preprocessing.channels));
    }
    writer.enter("preprocessing");
    let pixels = writer.node("Transpose", &[INPUT], [("perm", [0, 3, 1, 2].into())]);
    let size = resized_size(preprocessing, writer);
    let resized = filter.resize(&pixels, &size, writer);
    let levels = cropped(preprocessing, &resized, &size, writer);
    let filled = match preprocessing.crop_mode {
        CropMode::Border => with_border(preprocessing, &levels, &size, writer),
        CropMode::Center | CropMode::Squash => levels,
    };
    Ok(normalized(preprocessing, &filled, writer))
}

/// ONNX's numbers of element types, as `Cast` takes them.
const FLOAT: i64 = 1;
const INT64: i64 = 7;
const DOUBLE: i64 = 11;

/// An interpolation as `Resize` has it.
struct Filter {
    mode: &'static str,
    /// Whether it widens with the reduction, as Pillow's filters do.
    antialias: bool,
    /// Keys' coefficient, where it is cubic.
    coefficient: f32,
}

impl Filter {
    /// `None` where ONNX does not have it. Its `nearest` takes a neighbor where the center lies between two pixels, because
    /// runtimes compute places in single precision.
    fn of(interpolation: Interpolation) -> Option<Self> {
        let (mode, antialias, coefficient) = match interpolation {
            Interpolation::Bilinear => ("linear", true, 0.0),
            Interpolation::Bicubic => ("cubic", true, -0.5),
            Interpolation::PytorchBilinear => ("linear", false, 0.0),
            Interpolation::PytorchBicubic => ("cubic", false, -0.75),
            _ => return None,
        };
        Some(Self { mode, antialias, coefficient })
    }

    /// Gray levels of the pixels at another size, in single precision.
    fn resize(&self, pixels: &str, size: &str, writer: &mut Writer) -> String {
        if self.antialias {
            // ONNX Runtime computes antialiased bytes in whole numbers and rounds them twice, as Pillow does.
            let resized = self.resize_values(pixels, size, writer);
            return writer.node("Cast", &[&resized], [("to", FLOAT.into())]);
        }
        // Other bytes it does not round.
        let pixels = writer.node("Cast", &[pixels], [("to", FLOAT.into())]);
        let resized = self.resize_values(&pixels, size, writer);
        let rounded = writer.node("Round", &[&resized], []);
        let (black, white) = (writer.float(0.0), writer.float(255.0));
        writer.node("Clip", &[&rounded, &black, &white], [])
    }

    fn resize_values(&self, pixels: &str, size: &str, writer: &mut Writer) -> String {
        let batch_and_channels = writer.node("Shape", &[pixels], [("start", 0.into()), ("end", 2.into())]);
        let sizes = writer.node("Concat", &[&batch_and_channels, size], [("axis", 0.into())]);
        let attributes = [
            ("mode", self.mode.into()),
            ("antialias", i64::from(self.antialias).into()),
            ("cubic_coeff_a", self.coefficient.into()),
            // Pillow leaves out what lies beyond the border; PyTorch repeats the border.
            ("exclude_outside", i64::from(self.antialias).into()),
            ("coordinate_transformation_mode", "half_pixel".into()),
        ];
        writer.node("Resize", &[pixels, "", "", &sizes], attributes)
    }
}

/// Height and width after resizing and before cropping.
fn resized_size(preprocessing: &Preprocessing, writer: &mut Writer) -> String {
    let scaled = |side: u32| (f64::from(side) / preprocessing.crop_pct).floor() as i64;
    let target = [scaled(preprocessing.height), scaled(preprocessing.width)];
    let own = |writer: &mut Writer| writer.node("Shape", &[INPUT], [("start", 1.into()), ("end", 3.into())]);
    match preprocessing.crop_mode {
        CropMode::Squash => writer.integers(target),
        CropMode::Center if preprocessing.height == preprocessing.width => {
            let size = own(writer);
            short_side(&size, target[0], writer)
        }
        CropMode::Center => {
            let size = own(writer);
            keep_ratio(&size, target, "ReduceMin", writer)
        }
        CropMode::Border => {
            let size = own(writer);
            keep_ratio(&size, target, "ReduceMax", writer)
        }
    }
}

/// The short side gets a length, and the long side is rounded down: `max(side, side · own / other)`.
fn short_side(size: &str, side: i64, writer: &mut Writer) -> String {
    let (side, swapped) = (writer.integers([side]), writer.integers([1, 0]));
    let other = writer.node("Gather", &[size, &swapped], [("axis", 0.into())]);
    let product = writer.node("Mul", &[size, &side], []);
    let long = writer.node("Div", &[&product, &other], []);
    writer.node("Max", &[&long, &side], [])
}

/// Both sides divided by one of the ratios that would make a side fit, and rounded, halves to even.
fn keep_ratio(size: &str, target: [i64; 2], choose: &str, writer: &mut Writer) -> String {
    let target = writer.doubles("resized height and width", &target.map(|side| side as f64));
    let size = writer.node("Cast", &[size], [("to", DOUBLE.into())]);
    let ratios = writer.node("Div", &[&size, &target], []);
    let ratio = writer.node(choose, &[&ratios], [("keepdims", 1.into())]);
    let scaled = writer.node("Div", &[&size, &ratio], []);
    let rounded = writer.node("Round", &[&scaled], []);
    let whole = writer.node("Cast", &[&rounded], [("to", INT64.into())]);
    // A side of an extremely long image may round to nothing.
    let least = writer.integers([1]);
    writer.node("Max", &[&whole, &least], [])
}

/// The middle of an image, at most as large as the model's input.
fn cropped(preprocessing: &Preprocessing, resized: &str, size: &str, writer: &mut Writer) -> String {
    let frame = frame(preprocessing, writer);
    let zero = writer.integers([0]);
    let surplus = writer.node("Sub", &[size, &frame], []);
    let surplus = writer.node("Max", &[&surplus, &zero], []);
    // Halves are rounded to even, as Python does.
    let half = writer.float(0.5);
    let surplus = writer.node("Cast", &[&surplus], [("to", FLOAT.into())]);
    let halved = writer.node("Mul", &[&surplus, &half], []);
    let rounded = writer.node("Round", &[&halved], []);
    let start = writer.node("Cast", &[&rounded], [("to", INT64.into())]);
    let end = writer.node("Add", &[&start, &frame], []);
    let axes = writer.integers([2, 3]);
    writer.node("Slice", &[resized, &start, &end, &axes], [])
}

fn frame(preprocessing: &Preprocessing, writer: &mut Writer) -> String {
    writer.integers([preprocessing.height, preprocessing.width].map(i64::from))
}

/// The mean color beside an image that does not fill the frame. `Pad` has one value for all channels, so the mean color is
/// zero while it pads.
fn with_border(preprocessing: &Preprocessing, levels: &str, size: &str, writer: &mut Writer) -> String {
    let frame = frame(preprocessing, writer);
    let kept = writer.node("Min", &[size, &frame], []);
    let missing = writer.node("Sub", &[&frame, &kept], []);
    let two = writer.integers([2]);
    let before = writer.node("Div", &[&missing, &two], []);
    let after = writer.node("Sub", &[&missing, &before], []);
    let none = writer.integers([0, 0]);
    let pads = writer.node("Concat", &[&none, &before, &none, &after], [("axis", 0.into())]);
    let color = preprocessing.mean_color().map(f32::from);
    let color = per_channel("mean color", &color[..preprocessing.channels.count()], writer);
    let centered = writer.node("Sub", &[levels, &color], []);
    let padded = writer.node("Pad", &[&centered, &pads], [("mode", "constant".into())]);
    writer.node("Add", &[&padded, &color], [])
}

/// `(gray level / 255 − mean) / std`, of a shape that is known.
fn normalized(preprocessing: &Preprocessing, levels: &str, writer: &mut Writer) -> String {
    let [channels, height, width] =
        [preprocessing.channels.count() as i64, preprocessing.height.into(), preprocessing.width.into()];
    let shape = writer.integers([0, channels, height, width]);
    let levels = writer.node("Reshape", &[levels, &shape], []);
    let white = writer.float(255.0);
    let (mean, std) =
        (per_channel("mean", &preprocessing.mean, writer), per_channel("std", &preprocessing.std, writer));
    let scaled = writer.node("Div", &[&levels, &white], []);
    let centered = writer.node("Sub", &[&scaled, &mean], []);
    writer.node("Div", &[&centered, &std], [])
}

/// A value for each channel of `[batch, channels, height, width]`.
fn per_channel(name: &str, values: &[f32], writer: &mut Writer) -> String {
    writer.floats(name, &[values.len(), 1, 1], values)
}
