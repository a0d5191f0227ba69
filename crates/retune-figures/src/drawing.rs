//! A drawn figure and its files.

use std::io::Cursor;
use std::path::{Path, PathBuf};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{self, Tree};

use crate::font;

/// Pixels of a PNG for each pixel of CSS: sharp on today's screens and in print at half the size.
const SCALE: f64 = 2.0;
/// Pixels on a side of a PNG, at most.
const MAX_PIXELS: f64 = 16_000.0;

/// A figure as SVG.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawing {
    pub(crate) svg: String,
    /// Width in pixels of CSS.
    pub width: f64,
    /// Height in pixels of CSS.
    pub height: f64,
}

/// Why a drawing could not be turned into a file's bytes.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrawingError {
    /// The renderer does not take the SVG.
    #[error("cannot render the figure: {0}")]
    Render(#[from] usvg::Error),
    /// There is no memory for a picture of this size.
    #[error("a picture of {0} × {1} pixels is too large")]
    Size(u32, u32),
    /// The picture cannot be encoded.
    #[error("cannot encode the figure: {0}")]
    Encode(String),
    /// The ending of a file's name stands for no format.
    #[error("{path} must end with {endings}", path = .0.display(), endings = FileFormat::ENDINGS)]
    UnknownFormat(PathBuf),
}

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileFormat {
    /// Scalable, with text that stays text.
    Svg,
    /// Pixels.
    Png,
    /// Pixels, for images.
    Jpeg,
    /// Scalable, for papers.
    #[cfg(feature = "pdf")]
    Pdf,
}

impl FileFormat {
    /// The endings of files that are known, as a sentence has them.
    pub const ENDINGS: &'static str =
        if cfg!(feature = "pdf") { ".svg, .png, .jpg, or .pdf" } else { ".svg, .png, or .jpg" };

    /// The format of a file by its name's ending; `None` if it stands for none.
    pub fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_lowercase().as_str() {
            "svg" => Some(Self::Svg),
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            #[cfg(feature = "pdf")]
            "pdf" => Some(Self::Pdf),
            _ => None,
        }
    }
}

impl Drawing {
    /// The drawing as SVG.
    pub fn svg(&self) -> &str {
        &self.svg
    }

    /// The bytes of a file in a format.
    ///
    /// # Errors
    /// A drawing that is too large for a picture.
    pub fn encode(&self, format: FileFormat) -> Result<Vec<u8>, DrawingError> {
        match format {
            FileFormat::Svg => Ok(self.svg.clone().into_bytes()),
            FileFormat::Png => self.png(),
            FileFormat::Jpeg => self.jpeg(),
            #[cfg(feature = "pdf")]
            FileFormat::Pdf => self.pdf(),
        }
    }

    /// The bytes of a file by its name's ending.
    ///
    /// # Errors
    /// An ending that stands for no format; a drawing that is too large for a picture.
    pub fn encode_for(&self, path: &Path) -> Result<Vec<u8>, DrawingError> {
        let format = FileFormat::of(path).ok_or_else(|| DrawingError::UnknownFormat(path.to_owned()))?;
        self.encode(format)
    }

    /// The SVG as the renderer understands it, with texts laid out: for tests of where things are.
    ///
    /// # Errors
    /// An SVG that the renderer does not take.
    pub fn tree(&self) -> Result<Tree, DrawingError> {
        Ok(Tree::from_str(&self.svg, &font::options_for(&self.svg))?)
    }

    fn pixels(&self) -> Result<Pixmap, DrawingError> {
        let scale = SCALE.min(MAX_PIXELS / self.width.max(self.height));
        let [width, height] = [self.width, self.height].map(|side| ((side * scale).round() as u32).max(1));
        let mut pixels = Pixmap::new(width, height).ok_or(DrawingError::Size(width, height))?;
        pixels.fill(resvg::tiny_skia::Color::WHITE);
        let scale = scale as f32;
        resvg::render(&self.tree()?, Transform::from_scale(scale, scale), &mut pixels.as_mut());
        Ok(pixels)
    }

    fn rgb(&self) -> Result<image::RgbImage, DrawingError> {
        let pixels = self.pixels()?;
        // The background is opaque, so premultiplied channels are plain ones.
        let channels = pixels.data().chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
        image::RgbImage::from_raw(pixels.width(), pixels.height(), channels)
            .ok_or(DrawingError::Size(pixels.width(), pixels.height()))
    }

    fn png(&self) -> Result<Vec<u8>, DrawingError> {
        use image::ImageEncoder;
        use image::codecs::png::{CompressionType, FilterType, PngEncoder};
        let pixels = self.rgb()?;
        let mut bytes = Vec::new();
        // Flat colors and text compress best without a filter.
        PngEncoder::new_with_quality(&mut bytes, CompressionType::Default, FilterType::Adaptive)
            .write_image(&pixels, pixels.width(), pixels.height(), image::ExtendedColorType::Rgb8)
            .map_err(|error| DrawingError::Encode(error.to_string()))?;
        Ok(bytes)
    }

    fn jpeg(&self) -> Result<Vec<u8>, DrawingError> {
        let mut bytes = Cursor::new(Vec::new());
        self.rgb()?
            .write_to(&mut bytes, image::ImageFormat::Jpeg)
            .map_err(|error| DrawingError::Encode(error.to_string()))?;
        Ok(bytes.into_inner())
    }

    #[cfg(feature = "pdf")]
    fn pdf(&self) -> Result<Vec<u8>, DrawingError> {
        svg2pdf::to_pdf(&self.tree()?, svg2pdf::ConversionOptions::default(), svg2pdf::PageOptions::default())
            .map_err(|error| DrawingError::Encode(error.to_string()))
    }
}
