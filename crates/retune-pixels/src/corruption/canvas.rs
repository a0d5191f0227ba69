//! An image in floating point, and what several corruptions do with one.

use image::RgbImage;

/// Planes of values in 0 to 1, row by row: three of an image, one of a layer.
#[derive(Clone, Debug)]
pub(super) struct Canvas {
    pub width: usize,
    pub height: usize,
    pub planes: Vec<Vec<f32>>,
}

impl Canvas {
    pub fn new(image: &RgbImage) -> Self {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let plane = |channel: usize| image.pixels().map(|pixel| f32::from(pixel[channel]) / 255.0).collect();
        Self { width, height, planes: (0..3).map(plane).collect() }
    }

    pub fn layer(width: usize, height: usize, values: Vec<f32>) -> Self {
        Self { width, height, planes: vec![values] }
    }

    /// Clips to 0 to 1 and rounds down to gray levels, as the original does.
    pub fn into_image(self) -> RgbImage {
        let mut image = RgbImage::new(self.width as u32, self.height as u32);
        for (index, pixel) in image.pixels_mut().enumerate() {
            for channel in 0..3 {
                // A value a rounding error under its gray level still means that level.
                pixel[channel] = (self.planes[channel][index].clamp(0.0, 1.0) * 255.0 + 1e-3) as u8;
            }
        }
        image
    }

    /// Every plane changed by `change`.
    pub fn map_planes(&self, change: impl Fn(&[f32]) -> Vec<f32>) -> Self {
        Self { planes: self.planes.iter().map(|plane| change(plane)).collect(), ..*self }
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut f32> {
        self.planes.iter_mut().flatten()
    }

    /// Gray by the weights of the luma of BT.601.
    pub fn gray(&self) -> Vec<f32> {
        let [red, green, blue] = [0, 1, 2].map(|channel| &self.planes[channel]);
        red.iter().zip(green).zip(blue).map(|((red, green), blue)| 0.299 * red + 0.587 * green + 0.114 * blue).collect()
    }

    /// Smoothed by a normal curve of these deviations down and across, cut off at `truncate`
    /// deviations, beyond its edges continued by `border`.
    pub fn smoothed(&self, sigma: [f32; 2], truncate: f32, border: Border) -> Self {
        let [down, across] = sigma.map(|sigma| normal_kernel(sigma, (truncate * sigma + 0.5) as usize));
        self.map_planes(|plane| {
            let smoothed = convolve(plane, self.height, self.width, (self.width, 1), &down, border);
            convolve(&smoothed, self.width, self.height, (1, self.width), &across, border)
        })
    }

    /// Enlarged about its center and cut to its own size; `None` of the places that rounding leaves
    /// uncovered.
    pub fn zoomed(&self, factor: f64) -> Vec<Vec<Option<f32>>> {
        let part = |side: usize| {
            let kept = (side as f64 / factor).ceil() as usize;
            ((side - kept) / 2, kept, (kept as f64 * factor).round_ties_even() as usize)
        };
        let (top, kept_down, down) = part(self.height);
        let (left, kept_across, across) = part(self.width);
        // The corners of both grids coincide.
        let step = |kept: usize, enlarged: usize| (kept - 1) as f64 / (enlarged.max(2) - 1) as f64;
        let (step_down, step_across) = (step(kept_down, down), step(kept_across, across));
        let sample = |plane: &Vec<f32>| {
            let mut values = vec![None; self.width * self.height];
            for y in 0..down.min(self.height) {
                for x in 0..across.min(self.width) {
                    let at = (top as f64 + y as f64 * step_down, left as f64 + x as f64 * step_across);
                    values[y * self.width + x] = Some(self.between(plane, at.0 as f32, at.1 as f32));
                }
            }
            values
        };
        self.planes.iter().map(sample).collect()
    }

    /// The value between pixels, linear, the image mirrored at its edges.
    pub fn between(&self, plane: &[f32], y: f32, x: f32) -> f32 {
        let (top, left) = (y.floor(), x.floor());
        let (down, across) = (y - top, x - left);
        let at = |row: f32, column: f32| {
            let row = Border::Mirror.index(row as isize, self.height);
            let column = Border::Mirror.index(column as isize, self.width);
            plane[row * self.width + column]
        };
        let upper = at(top, left) * (1.0 - across) + at(top, left + 1.0) * across;
        let lower = at(top + 1.0, left) * (1.0 - across) + at(top + 1.0, left + 1.0) * across;
        upper * (1.0 - down) + lower * down
    }

    /// Blurred along a line by the right half of a normal curve: `radius` pixels' width on each
    /// side, a deviation of `sigma` pixels, the direction in degrees. The edges are continued.
    pub fn moved(&self, radius: usize, sigma: f32, degrees: f32) -> Self {
        let width = 2 * radius + 1;
        let curve: Vec<f32> = (0..width).map(|step| (-(step as f32 / sigma).powi(2) / 2.0).exp()).collect();
        let total: f32 = curve.iter().sum();
        let (sine, cosine) = f64::from(degrees).to_radians().sin_cos();
        let mut blurred = self.map_planes(|plane| vec![0.0; plane.len()]);
        for (step, weight) in curve.into_iter().enumerate() {
            let shift = |direction: f64| -((step as f64 * direction - 0.5).ceil() as isize);
            let (down, across) = (shift(sine), shift(cosine));
            if down.unsigned_abs() >= self.height || across.unsigned_abs() >= self.width {
                break;
            }
            for (target, plane) in blurred.planes.iter_mut().zip(&self.planes) {
                for y in 0..self.height {
                    let row = (y as isize - down).clamp(0, self.height as isize - 1) as usize * self.width;
                    for x in 0..self.width {
                        let column = (x as isize - across).clamp(0, self.width as isize - 1) as usize;
                        target[y * self.width + x] += weight / total * plane[row + column];
                    }
                }
            }
        }
        blurred
    }
}

/// How an image goes on beyond its edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Border {
    /// The last pixel again and again.
    Nearest,
    /// Mirrored, the last pixel twice (`dcba|abcd|dcba`).
    Mirror,
    /// Mirrored about the last pixel (`dcb|abcd|cba`).
    MirrorOnce,
}

impl Border {
    /// The pixel that stands at `index`.
    pub fn index(self, index: isize, length: usize) -> usize {
        let length = length as isize;
        let wrapped = match self {
            Self::Nearest => index.clamp(0, length - 1),
            Self::Mirror => {
                let within = index.rem_euclid(2 * length);
                within.min(2 * length - 1 - within)
            }
            Self::MirrorOnce => {
                let period = (2 * length - 2).max(1);
                let within = index.rem_euclid(period);
                within.min(period - within).min(length - 1)
            }
        };
        wrapped as usize
    }
}

/// A normal curve of this deviation at whole distances up to `radius`, of sum 1.
pub(super) fn normal_kernel(sigma: f32, radius: usize) -> Vec<f32> {
    let at = |distance: f32| if sigma > 0.0 { (-(distance / sigma).powi(2) / 2.0).exp() } else { 0.0 };
    let mut kernel: Vec<f32> = (0..=2 * radius).map(|index| at(index as f32 - radius as f32)).collect();
    if sigma <= 0.0 {
        kernel[radius] = 1.0;
    }
    let total: f32 = kernel.iter().sum();
    kernel.iter_mut().for_each(|value| *value /= total);
    kernel
}

/// One-dimensional convolution of `lines` lines of `length` values that lie `along` apart, the lines
/// `across` apart (given as `(along, across)`).
fn convolve(
    plane: &[f32],
    length: usize,
    lines: usize,
    (along, across): (usize, usize),
    kernel: &[f32],
    border: Border,
) -> Vec<f32> {
    let radius = (kernel.len() / 2) as isize;
    let mut result = vec![0.0; plane.len()];
    for line in 0..lines {
        for at in 0..length {
            let weighted = kernel.iter().enumerate().map(|(offset, weight)| {
                let source = border.index(at as isize + offset as isize - radius, length);
                weight * plane[line * across + source * along]
            });
            result[line * across + at * along] = weighted.sum();
        }
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn borders_continue_as_their_names_say() {
        let continued = |border: Border| (-3..7).map(|at| border.index(at, 4)).collect::<Vec<_>>();
        assert_eq!(continued(Border::Nearest), [0, 0, 0, 0, 1, 2, 3, 3, 3, 3]);
        assert_eq!(continued(Border::Mirror), [2, 1, 0, 0, 1, 2, 3, 3, 2, 1]);
        assert_eq!(continued(Border::MirrorOnce), [3, 2, 1, 0, 1, 2, 3, 2, 1, 0]);
        for border in [Border::Nearest, Border::Mirror, Border::MirrorOnce] {
            assert!((-9..9).all(|at| border.index(at, 1) == 0));
        }
    }

    #[test]
    fn smoothing_keeps_the_mean_of_a_flat_image() {
        let flat = Canvas::layer(5, 3, vec![0.25; 15]);
        let smoothed = flat.smoothed([1.0, 2.0], 4.0, Border::Mirror);
        assert!(smoothed.planes[0].iter().all(|value| (value - 0.25).abs() < 1e-6));
    }
}
