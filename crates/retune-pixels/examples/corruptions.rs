//! A sheet of all corruptions of an image: a column for each of five corruptions, three rows of five columns, each with
//! severities 1, 3 and 5 from top to bottom.
//!
//!     cargo run --release -p retune-pixels --example corruptions -- IMAGE SHEET.png

use std::error::Error;

use image::{Rgb, RgbImage, imageops};
use retune_pixels::corruption::{ALL, Corruption};

const SEVERITIES: [u8; 3] = [1, 3, 5];
const COLUMNS: u32 = 5;
const GAP: u32 = 2;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(input), Some(output)) = (arguments.next(), arguments.next()) else {
        return Err("give an image and the sheet to write".into());
    };
    let image = image::open(input)?.into_rgb8();
    let (width, height) = (image.width() + GAP, image.height() + GAP);
    let rows = ALL.len() as u32 / COLUMNS * SEVERITIES.len() as u32;
    let mut sheet = RgbImage::from_pixel(COLUMNS * width, rows * height, Rgb([255; 3]));
    for (number, kind) in (0u32..).zip(ALL) {
        for (row, severity) in (0u32..).zip(SEVERITIES) {
            let corrupted = Corruption::new(kind, severity).apply(&image, 0, 0);
            let top = (number / COLUMNS * SEVERITIES.len() as u32 + row) * height;
            imageops::replace(&mut sheet, &corrupted, i64::from(number % COLUMNS * width), i64::from(top));
        }
    }
    // Small images are shown larger, pixel by pixel.
    let scale = (96 / image.width()).max(1);
    imageops::resize(&sheet, sheet.width() * scale, sheet.height() * scale, imageops::FilterType::Nearest)
        .save(output)?;
    Ok(())
}
