//! Blurs.

use rand::{Rng, RngExt};

use super::canvas::{Border, Canvas, normal_kernel};

/// The image under a disk, whose edge is smoothed a little.
pub(super) fn defocus(canvas: &Canvas, level: usize) -> Canvas {
    let (radius, smoothing) = [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)][level];
    let (side, kernel) = disk(radius, smoothing);
    let reach = (side / 2) as isize;
    let taps: Vec<(isize, isize, f32)> = kernel
        .into_iter()
        .enumerate()
        .map(|(at, weight)| ((at / side) as isize - reach, (at % side) as isize - reach, weight))
        .filter(|(_, _, weight)| *weight > 1e-9)
        .collect();
    canvas.map_planes(|plane| {
        let mut blurred = vec![0.0; plane.len()];
        for &(down, across, weight) in &taps {
            let column = |x: usize| Border::MirrorOnce.index(x as isize + across, canvas.width);
            let columns: Vec<usize> = (0..canvas.width).map(column).collect();
            for y in 0..canvas.height {
                let row = Border::MirrorOnce.index(y as isize + down, canvas.height) * canvas.width;
                let line = &mut blurred[y * canvas.width..(y + 1) * canvas.width];
                line.iter_mut().zip(&columns).for_each(|(value, column)| *value += weight * plane[row + column]);
            }
        }
        blurred
    })
}

/// A disk of sum 1 in a square, and the square's side.
fn disk(radius: usize, smoothing: f32) -> (usize, Vec<f32>) {
    let reach = radius.max(8) as isize;
    let side = (2 * reach + 1) as usize;
    let limit = (radius * radius) as isize;
    let inside = |at: usize| {
        let (y, x) = ((at / side) as isize - reach, (at % side) as isize - reach);
        f32::from(u8::from(x * x + y * y <= limit))
    };
    let aliased: Vec<f32> = (0..side * side).map(inside).collect();
    let total: f32 = aliased.iter().sum();
    let kernel = normal_kernel(smoothing, if radius <= 8 { 1 } else { 2 });
    let middle = (kernel.len() / 2) as isize;
    let smoothed = |at: usize| {
        let (y, x) = ((at / side) as isize, (at % side) as isize);
        let mut sum = 0.0;
        for (down, vertical) in (-middle..=middle).zip(&kernel) {
            for (across, horizontal) in (-middle..=middle).zip(&kernel) {
                let row = Border::MirrorOnce.index(y + down, side);
                let column = Border::MirrorOnce.index(x + across, side);
                sum += vertical * horizontal * aliased[row * side + column];
            }
        }
        sum / total
    };
    (side, (0..side * side).map(smoothed).collect())
}

/// Smoothed, then every pixel replaced by one nearby, again and again, then smoothed once more.
///
/// The authors write an exchange of two pixels, but what their array views do is to copy the one
/// over the other; the published images are made so.
pub(super) fn glass(canvas: &Canvas, level: usize, random: &mut impl Rng) -> Canvas {
    let (sigma, reach, rounds) = [(0.7, 1, 2), (0.9, 2, 1), (1.0, 2, 3), (1.1, 3, 2), (1.5, 4, 2)][level];
    let smooth = |canvas: &Canvas| canvas.smoothed([sigma; 2], 4.0, Border::Nearest);
    let mut shuffled = Canvas::new(&smooth(canvas).into_image());
    let (width, height) = (canvas.width, canvas.height);
    for _ in 0..rounds {
        for y in (reach + 1..=height.saturating_sub(reach)).rev() {
            for x in (reach + 1..=width.saturating_sub(reach)).rev() {
                let mut near = |at: usize| (at + random.random_range(0..2 * reach)) - reach;
                let (from_x, from_y) = (near(x), near(y));
                for plane in &mut shuffled.planes {
                    plane[y * width + x] = plane[from_y * width + from_x];
                }
            }
        }
    }
    smooth(&shuffled)
}

pub(super) fn motion(canvas: &Canvas, level: usize, random: &mut impl Rng) -> Canvas {
    let (radius, sigma) = [(10, 3.0), (15, 5.0), (15, 8.0), (15, 12.0), (20, 15.0)][level];
    canvas.moved(radius, sigma, random.random_range(-45.0f32..45.0))
}

/// The average of the image and of its zoomed views.
pub(super) fn zoom(canvas: &Canvas, level: usize) -> Canvas {
    let (views, step) = [(12, 0.01), (16, 0.01), (11, 0.02), (13, 0.02), (11, 0.03)][level];
    let mut sum = canvas.clone();
    for view in 0..views {
        let zoomed = canvas.zoomed(1.0 + f64::from(view) * step);
        for (target, plane) in sum.planes.iter_mut().zip(zoomed) {
            target.iter_mut().zip(plane).for_each(|(value, seen)| *value += seen.unwrap_or(0.0));
        }
    }
    let count = (views + 1) as f32;
    sum.values_mut().for_each(|value| *value /= count);
    sum
}
