//! New images on an existing map (`umap-learn`'s `transform`): each is placed among its neighbors on the map and then moved,
//! while the mapped images stay where they are. So a new image has its place whatever others come with it.

use rand::{Rng, RngExt};
use rayon::prelude::*;
use retune_random::generator;

use super::descent::{DRAWS, LARGEST, NEAREST};
use super::{FEW_IMAGES, SPREAD, UmapError, UmapOptions, check, curve, graph};
use crate::neighbors::Points;

/// The first step's share of a movement, a quarter of what a map begins with.
const FIRST_RATE: f64 = 0.25;
/// Keeps these draws apart from those of a map of the same seed.
const TRANSFORM: u64 = 0x7472_616e_7366_6f72;

/// Images that have their place on a map.
#[derive(Clone, Copy, Debug)]
pub struct Mapped<'a> {
    /// Row-major, a row for each image.
    pub features: &'a [f32],
    /// Features of each image.
    pub width: usize,
    /// The images' places.
    pub layout: &'a [[f32; 2]],
}

/// Places new images, by their features, on a map that was made with these options. The epochs are a third of those that
/// the options name; without any, 100, or 30 on a map of more than 10,000 images.
///
/// # Errors
/// As [`umap`](super::umap), for either set of features; a map of another number of images than there are features of, or
/// with places that are not finite.
pub fn place(mapped: Mapped, features: &[f32], options: &UmapOptions) -> Result<Vec<[f32; 2]>, UmapError> {
    let Mapped { features: known, width, layout } = mapped;
    let or_constant = |checked: Result<(), UmapError>| match checked {
        // Whatever has the same features belongs to the same place.
        Err(UmapError::Constant) => Ok(()),
        other => other,
    };
    or_constant(check(known, width, options))?;
    or_constant(check(features, width, options))?;
    if layout.len() != known.len() / width {
        return Err(UmapError::Places { images: known.len() / width, places: layout.len() });
    }
    if !layout.as_flattened().iter().all(|place| place.is_finite()) {
        return Err(UmapError::Layout("a place of the map is not finite".to_owned()));
    }
    if let [only] = layout {
        return Ok(vec![*only; features.len() / width]);
    }
    let size = options.neighbors.min(layout.len());
    let usual = if layout.len() <= FEW_IMAGES { 100 } else { 30 };
    let epochs = options.epochs.map_or(usual, |epochs| (epochs / 3).max(1));
    let (a, b) = curve::fit(options.minimum_distance, SPREAD);

    let (old, new) = (layout.len(), features.len() / width);
    let rows = [known, features].concat();
    let nearest = Points::new(&rows, width, options.metric).nearest_of(old..old + new, 0..old, size);
    let memberships = graph::memberships_of_new(&nearest, size);
    let descent = Descent { a, b, epochs, layout };
    let places = memberships.into_par_iter().enumerate().map(|(image, edges)| {
        let mut random = generator(options.seed, &[TRANSFORM, image as u64]);
        descent.run(&edges, &mut random)
    });
    let places: Vec<[f32; 2]> = places.collect();
    match places.as_flattened().iter().all(|place| place.is_finite()) {
        true => Ok(places),
        false => Err(UmapError::Layout("points went to infinity; use another seed or fewer epochs".to_owned())),
    }
}

/// The curve `1 / (1 + a d²ᵇ)`, the number of passes, and the places that stay.
struct Descent<'a> {
    a: f64,
    b: f64,
    epochs: usize,
    layout: &'a [[f32; 2]],
}

impl Descent<'_> {
    /// The place of an image with these edges to mapped ones: first their mean by weight, then moved along each edge as
    /// often as its weight says, and away from images drawn at random.
    fn run(&self, edges: &[(usize, f32)], random: &mut impl Rng) -> [f32; 2] {
        let total: f64 = edges.iter().map(|&(_, weight)| f64::from(weight)).sum();
        let mut place = [0, 1].map(|axis| {
            let sum = edges.iter().map(|&(image, weight)| f64::from(weight) * f64::from(self.layout[image][axis]));
            sum.sum::<f64>() / total
        });
        let strongest = edges.iter().map(|&(_, weight)| f64::from(weight)).fold(0.0, f64::max);
        let weakest = strongest / self.epochs as f64;
        let followed = edges.iter().filter(|(_, weight)| f64::from(*weight) >= weakest);
        let interval = |weight: f32| strongest / f64::from(weight);
        let mut edges: Vec<(usize, f64, f64)> =
            followed.map(|&(image, weight)| (image, interval(weight), interval(weight))).collect();
        for epoch in 0..self.epochs {
            let rate = FIRST_RATE * (1.0 - epoch as f64 / self.epochs as f64);
            for (image, interval, next) in &mut edges {
                if *next > epoch as f64 {
                    continue;
                }
                *next += *interval;
                self.attract(&mut place, *image, rate);
                for _ in 0..DRAWS {
                    self.repel(&mut place, random.random_range(0..self.layout.len()), rate);
                }
            }
        }
        place.map(|axis| axis as f32)
    }

    fn attract(&self, place: &mut [f64; 2], image: usize, rate: f64) {
        let (difference, square) = self.to(place, image);
        if square > 0.0 {
            let power = square.powf(self.b);
            let factor = -2.0 * self.a * self.b * power / (square * (1.0 + self.a * power));
            step(place, difference, factor, rate);
        }
    }

    fn repel(&self, place: &mut [f64; 2], image: usize, rate: f64) {
        let (difference, square) = self.to(place, image);
        if square > 0.0 {
            let factor = 2.0 * self.b / ((NEAREST + square) * (1.0 + self.a * square.powf(self.b)));
            step(place, difference, factor, rate);
        }
    }

    fn to(&self, place: &[f64; 2], image: usize) -> ([f64; 2], f64) {
        let difference = [0, 1].map(|axis| place[axis] - f64::from(self.layout[image][axis]));
        (difference, difference[0].powi(2) + difference[1].powi(2))
    }
}

fn step(place: &mut [f64; 2], difference: [f64; 2], factor: f64, rate: f64) {
    for (place, difference) in place.iter_mut().zip(difference) {
        *place += rate * (factor * difference).clamp(-LARGEST, LARGEST);
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{digits, references};
    use super::super::{UmapOptions, umap};
    use super::*;
    use crate::neighbors::Metric;
    use crate::trustworthiness::trustworthiness;

    /// Every fifth of the digits comes later than the map of the others.
    fn divided() -> (Vec<f32>, Vec<f32>) {
        let digits = digits();
        let rows = |is_new: bool| -> Vec<f32> {
            let rows = digits.chunks_exact(64).enumerate().filter(|(row, _)| (row % 5 == 4) == is_new);
            rows.flat_map(|(_, row)| row.iter().copied()).collect()
        };
        (rows(false), rows(true))
    }

    #[test]
    fn new_digits_are_placed_as_well_as_by_umap_learn() {
        let (known, new) = divided();
        for metric in Metric::ALL {
            let options = UmapOptions { metric, ..UmapOptions::default() };
            let layout = umap(&known, 64, &options).unwrap();
            let mapped = Mapped { features: &known, width: 64, layout: &layout };
            let placed = place(mapped, &new, &options).unwrap();
            let found = trustworthiness(&new, 64, &placed, 15, metric).unwrap();
            let seeds = &references()["umap_learn"]["trustworthiness_of_transform_of_three_seeds"][metric.name()];
            let best = seeds.as_array().unwrap().iter().filter_map(|seed| seed.as_f64()).fold(0.0, f64::max);
            assert!(found > best - 0.01, "{metric:?}: {found}, umap-learn {best}");
        }
    }

    #[test]
    fn a_mapped_image_is_placed_where_it_is_and_others_change_nothing() {
        let (known, new) = divided();
        let options = UmapOptions { epochs: Some(60), ..UmapOptions::default() };
        let layout = umap(&known, 64, &options).unwrap();
        let mapped = Mapped { features: &known, width: 64, layout: &layout };
        let extent = layout.iter().map(|place| place[0].abs().max(place[1].abs())).fold(0.0, f32::max);
        let again = place(mapped, &known[..64 * 100], &options).unwrap();
        let near = |a: &[f32; 2], b: &[f32; 2]| (a[0] - b[0]).hypot(a[1] - b[1]) < 0.2 * extent;
        assert!(again.iter().zip(&layout).filter(|(again, first)| near(again, first)).count() >= 95);
        let all = place(mapped, &new, &options).unwrap();
        for threads in [1, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            assert_eq!(pool.install(|| place(mapped, &new[..64 * 7], &options)).unwrap(), all[..7]);
        }
    }

    #[test]
    fn what_does_not_fit_the_map_is_refused() {
        let mapped = Mapped { features: &[0.0, 1.0, 2.0, 3.0], width: 2, layout: &[[0.0; 2], [1.0; 2]] };
        let options = UmapOptions::default();
        assert_eq!(place(mapped, &[1.0, 2.0, 3.0], &options), Err(UmapError::Shape { values: 3, width: 2 }));
        let short = Mapped { layout: &[[0.0; 2]], ..mapped };
        assert_eq!(place(short, &[1.0, 2.0], &options), Err(UmapError::Places { images: 2, places: 1 }));
        assert!(matches!(place(mapped, &[f32::NAN, 2.0], &options), Err(UmapError::NotFinite { row: 0 })));
        let lost = Mapped { layout: &[[0.0; 2], [f32::NAN; 2]], ..mapped };
        assert!(matches!(place(lost, &[1.0, 2.0], &options), Err(UmapError::Layout(_))));
        // The only place there is.
        let single = Mapped { features: &[1.0, 2.0], width: 2, layout: &[[3.0, 4.0]] };
        assert_eq!(place(single, &[1.0, 2.0, 5.0, 5.0], &options).unwrap(), [[3.0, 4.0]; 2]);
    }
}
