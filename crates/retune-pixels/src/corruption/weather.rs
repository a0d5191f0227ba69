//! Weather and light.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

use super::canvas::Canvas;

/// What makes snow of a severity.
struct Snow {
    mean: f32,
    deviation: f32,
    flake: f64,
    threshold: f32,
    radius: usize,
    sigma: f32,
    kept: f32,
}

const SNOW: [Snow; 5] = [
    Snow { mean: 0.1, deviation: 0.3, flake: 3.0, threshold: 0.5, radius: 10, sigma: 4.0, kept: 0.8 },
    Snow { mean: 0.2, deviation: 0.3, flake: 2.0, threshold: 0.5, radius: 12, sigma: 4.0, kept: 0.7 },
    Snow { mean: 0.55, deviation: 0.3, flake: 4.0, threshold: 0.9, radius: 12, sigma: 8.0, kept: 0.7 },
    Snow { mean: 0.55, deviation: 0.3, flake: 4.5, threshold: 0.85, radius: 12, sigma: 8.0, kept: 0.65 },
    Snow { mean: 0.55, deviation: 0.3, flake: 2.5, threshold: 0.85, radius: 12, sigma: 12.0, kept: 0.55 },
];

/// Flakes that fall in two opposite directions over a whitened picture.
pub(super) fn snow(mut canvas: Canvas, level: usize, random: &mut impl Rng) -> Canvas {
    let snow = &SNOW[level];
    let (width, height) = (canvas.width, canvas.height);
    let mut normal = || snow.mean + snow.deviation * Distribution::<f32>::sample(&StandardNormal, random);
    let noise = Canvas::layer(width, height, (0..width * height).map(|_| normal()).collect());
    let flake = |value: &Option<f32>| {
        let value = value.unwrap_or(0.0);
        if value < snow.threshold { 0.0 } else { value.min(1.0) }
    };
    let flakes = noise.zoomed(snow.flake)[0].iter().map(flake).collect();
    let angle = random.random_range(-135.0f32..-45.0);
    let falling = Canvas::layer(width, height, flakes).moved(snow.radius, snow.sigma, angle);
    let falling: Vec<f32> = falling.planes[0].iter().map(|value| (value * 255.0).round_ties_even() / 255.0).collect();

    let gray = canvas.gray();
    for plane in &mut canvas.planes {
        for (index, value) in plane.iter_mut().enumerate() {
            let whitened = snow.kept * *value + (1.0 - snow.kept) * value.max(gray[index] * 1.5 + 0.5);
            *value = whitened + falling[index] + falling[falling.len() - 1 - index];
        }
    }
    canvas
}

/// Crystals over a darkened picture. The original overlays photographs; this texture is ridged
/// fractal noise with the color and spread that those have on average.
pub(super) fn frost(mut canvas: Canvas, level: usize, random: &mut impl Rng) -> Canvas {
    /// Mean gray level of the photographs by channel, and how far crystals and gaps are from it.
    const COLOR: [f32; 3] = [0.57, 0.65, 0.69];
    const SPREAD: f32 = 0.38;
    let (kept, frost) = [(1.0, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)][level];
    let (width, height) = (canvas.width, canvas.height);
    let (coarse, fine) = (Plasma::new(width.max(height), 1.7, random), Plasma::new(width.max(height), 1.2, random));
    for y in 0..height {
        for x in 0..width {
            let ridge = 1.0 - (2.0 * coarse.at(y, x) - 1.0).abs();
            let crystal = 0.7 * ridge * ridge + 0.6 * (fine.at(y, x) - 0.5);
            for (plane, color) in canvas.planes.iter_mut().zip(COLOR) {
                let value = &mut plane[y * width + x];
                let texture = (color + SPREAD * (crystal - 0.35)).clamp(0.0, 1.0);
                *value = kept * *value + frost * texture;
            }
        }
    }
    canvas
}

/// A height map is the fog's density; the whole is scaled back to the image's brightness.
pub(super) fn fog(mut canvas: Canvas, level: usize, random: &mut impl Rng) -> Canvas {
    let (density, decay) = [(1.5, 2.0), (2.0, 2.0), (2.5, 1.7), (2.5, 1.5), (3.0, 1.4)][level];
    let brightest = canvas.planes.iter().flatten().copied().fold(0.0, f32::max);
    let width = canvas.width;
    let plasma = Plasma::new(canvas.width.max(canvas.height), decay, random);
    for plane in &mut canvas.planes {
        for (index, value) in plane.iter_mut().enumerate() {
            *value = (*value + density * plasma.at(index / width, index % width)) * brightest / (brightest + density);
        }
    }
    canvas
}

/// A fractal height map in 0 to 1 by the diamond-square algorithm (Fournier, Fussell & Carpenter
/// 1982), periodic, of a side that is a power of two.
struct Plasma {
    side: usize,
    heights: Vec<f32>,
}

impl Plasma {
    /// At least `side` on a side; displacements shrink by `decay` at each halving.
    fn new(side: usize, decay: f32, random: &mut impl Rng) -> Self {
        let side = side.max(4).next_power_of_two();
        let mut heights = vec![0.0f32; side * side];
        let mut step = side;
        let mut displacement = 100.0f32;
        while step >= 2 {
            let half = step / 2;
            let mut displace = |sum: f32| {
                let reach = displacement * displacement;
                sum / 4.0 + random.random_range(-1.0f32..1.0) * reach
            };
            let at = |y: usize, x: usize| (y % side) * side + x % side;
            let corners =
                |side: usize| (0..side).step_by(step).flat_map(move |y| (0..side).step_by(step).map(move |x| (y, x)));
            for (y, x) in corners(side) {
                let sum = heights[at(y, x)]
                    + heights[at(y + step, x)]
                    + heights[at(y, x + step)]
                    + heights[at(y + step, x + step)];
                heights[at(y + half, x + half)] = displace(sum);
            }
            for (y, x) in corners(side) {
                let above = heights[at(y + half, x + half)] + heights[at(y + side - half, x + half)];
                heights[at(y, x + half)] = displace(above + heights[at(y, x)] + heights[at(y, x + step)]);
                let beside = heights[at(y + half, x + half)] + heights[at(y + half, x + side - half)];
                heights[at(y + half, x)] = displace(beside + heights[at(y, x)] + heights[at(y + step, x)]);
            }
            step = half;
            displacement /= decay;
        }
        let lowest = heights.iter().copied().fold(f32::INFINITY, f32::min);
        let highest = heights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let range = (highest - lowest).max(f32::MIN_POSITIVE);
        heights.iter_mut().for_each(|height| *height = (*height - lowest) / range);
        Self { side, heights }
    }

    fn at(&self, y: usize, x: usize) -> f32 {
        self.heights[y * self.side + x]
    }
}

/// A higher value in the color model of hue, saturation and value: black becomes gray, colors
/// keep their hue and saturation.
pub(super) fn brightness(mut canvas: Canvas, level: usize) -> Canvas {
    let added = [0.1, 0.2, 0.3, 0.4, 0.5][level];
    for index in 0..canvas.width * canvas.height {
        let value = canvas.planes.iter().map(|plane| plane[index]).fold(0.0, f32::max);
        let raised = (value + added).min(1.0);
        for plane in &mut canvas.planes {
            plane[index] = if value > 0.0 { plane[index] / value * raised } else { raised };
        }
    }
    canvas
}
