//! Prepares images as a model of 224 × 224 pixels reads them, once for each line on standard input, so that another program can
//! take turns with it: decode, resize the short side to 256 (bicubic), crop, and normalize.
//!
//!     yes | head -5 | cargo run --release -p retune-pixels --example prepare -- IMAGE…
//!
//! Prints the milliseconds that all images took together, on one thread.

use std::error::Error;
use std::io::{BufRead, Write};
use std::time::Instant;

use retune_pixels::channels::Channels;
use retune_pixels::decode::{DecodeLimits, decode_with_alpha};
use retune_pixels::preprocess::{CropMode, Preprocessing};
use retune_pixels::resize::Interpolation;

const SIDE: u32 = 224;

fn main() -> Result<(), Box<dyn Error>> {
    let files: Vec<Vec<u8>> = std::env::args().skip(1).map(std::fs::read).collect::<Result<_, _>>()?;
    let preprocessing = Preprocessing {
        width: SIDE,
        height: SIDE,
        interpolation: Interpolation::Bicubic,
        crop_pct: 0.875,
        crop_mode: CropMode::Center,
        channels: Channels::Rgb,
        mean: vec![0.485, 0.456, 0.406],
        std: vec![0.229, 0.224, 0.225],
        white: None,
    };
    let mut values = vec![0.0; (SIDE * SIDE * 3) as usize];
    let mut out = std::io::stdout();
    for line in std::io::stdin().lock().lines() {
        line?;
        let started = Instant::now();
        for file in &files {
            let picture = decode_with_alpha(file, &DecodeLimits::default())?;
            preprocessing.normalize_into(&preprocessing.apply(&picture), &mut values);
        }
        writeln!(out, "{:.3}", started.elapsed().as_secs_f64() * 1e3)?;
        out.flush()?;
    }
    Ok(())
}
