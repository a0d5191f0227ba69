//! Noise on single values.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, Poisson, StandardNormal};

use super::canvas::Canvas;

pub(super) fn gaussian(mut canvas: Canvas, level: usize, random: &mut impl Rng) -> Canvas {
    let deviation = [0.08, 0.12, 0.18, 0.26, 0.38][level];
    for value in canvas.values_mut() {
        let normal: f32 = StandardNormal.sample(random);
        *value += deviation * normal;
    }
    canvas
}

/// Each value is a count of so many photons at full brightness.
pub(super) fn shot(mut canvas: Canvas, level: usize, random: &mut impl Rng) -> Canvas {
    let photons = [60.0, 25.0, 12.0, 5.0, 3.0][level];
    for value in canvas.values_mut() {
        // No light, no photon; Poisson's distribution needs a mean above 0.
        *value = Poisson::new(*value * photons).map_or(0.0, |poisson| poisson.sample(random)) / photons;
    }
    canvas
}

/// So many of the values become white or black, half of them each.
pub(super) fn impulse(mut canvas: Canvas, level: usize, random: &mut impl Rng) -> Canvas {
    let amount = [0.03, 0.06, 0.09, 0.17, 0.27][level];
    for value in canvas.values_mut() {
        let (hit, white) = (random.random_bool(amount), random.random_bool(0.5));
        if hit {
            *value = if white { 1.0 } else { 0.0 };
        }
    }
    canvas
}
