//! What the features of a map say: whether classes are apart, and which of them overlap.

use retune_analysis::overlap::Overlap;

use super::Findings;
use crate::report::verdict::percent;
use crate::wording::{counted, grouped};

/// What is known of the images of a map.
#[derive(Clone, Debug, Default)]
pub struct MapFacts<'a> {
    /// The classes that the overlap counts.
    pub classes: &'a [String],
    /// How the classes overlap among the nearest neighbors.
    pub overlap: Option<Overlap>,
    /// Images that are predicted right, and images with a label and a prediction.
    pub right: Option<(usize, usize)>,
    /// Trustworthiness of the map, over how many neighbors.
    pub trustworthiness: Option<(f64, usize)>,
    /// The images that are new on it.
    pub placed: Option<Placed>,
}

/// Images that were placed on a map of others.
#[derive(Clone, Debug)]
pub struct Placed {
    /// How many.
    pub images: usize,
    /// The map's images.
    pub known: usize,
    /// What the map is called.
    pub map: String,
    /// Of those with a label and a prediction, how many are predicted right, and their number.
    pub predicted: (usize, usize),
    /// Of those with a label, how many get their own class from the votes of the nearest images of the map, and their
    /// number.
    pub voted: (usize, usize),
    /// Images that vote.
    pub neighbors: usize,
}

/// A map is as good as its features from this trustworthiness on.
const GOOD: f64 = 0.95;

/// The findings; the next steps depend on where the features are from.
pub fn of(facts: &MapFacts) -> Findings {
    let mut sentences = facts.placed.as_ref().map(of_placed).unwrap_or_default();
    if let Some(overlap) = &facts.overlap {
        let (same, chance) = (percent(overlap.same), percent(overlap.chance));
        let k = overlap.neighbors;
        sentences.push(format!(
            "Among the {k} nearest neighbors of an image, {same} are of its own class (by chance: {chance})."
        ));
        if let Some(&(class, other, share)) = overlap.pairs.first() {
            let (class, other) = (&facts.classes[class], &facts.classes[other]);
            let share = percent(share);
            sentences.push(format!(
                "Classes that overlap most: {class} and {other}; {share} of the neighbors of {class} are {other}."
            ));
        }
    }
    if let Some((right, of)) = facts.right.filter(|(_, of)| *of > 0) {
        let share = percent(right as f64 / of as f64);
        sentences.push(format!("The model predicts {share} of {} correctly.", these(of)));
    }
    if let Some((value, k)) = facts.trustworthiness {
        sentences.push(match value >= GOOD {
            true => format!("The map keeps neighborhoods: trustworthiness {value:.3} over {k} neighbors."),
            false => format!(
                "The map distorts some neighborhoods (trustworthiness {value:.3} over {k} neighbors), so do not read much \
                 into small distances."
            ),
        });
    }
    Findings { sentences, next: Vec::new() }
}

/// What is known of the new images alone; the other sentences are about all.
fn of_placed(placed: &Placed) -> Vec<String> {
    let Placed { images, known, map, neighbors, .. } = placed;
    let share = |(right, of): (usize, usize)| (of > 0).then(|| percent(right as f64 / of as f64));
    let predicted =
        share(placed.predicted).map(|share| format!("The model predicts {share} of the new images correctly."));
    let voted = share(placed.voted).map(|share| {
        format!("{share} of them get their own class from the votes of the {neighbors} nearest images of the map.")
    });
    let are = if *images == 1 { "is" } else { "are" };
    let first = format!("{} {are} placed among the {} of {map}.", counted(*images, "new image"), grouped(*known));
    std::iter::once(first).chain(predicted).chain(voted).collect()
}

/// The images that are there.
fn these(count: usize) -> String {
    if count == 1 { "the 1 image".to_owned() } else { format!("these {} images", grouped(count)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_images_on_a_map_are_told_of_first() {
        let placed = Placed {
            images: 300,
            known: 1278,
            map: "run".into(),
            predicted: (87, 300),
            voted: (90, 300),
            neighbors: 15,
        };
        let facts = MapFacts { placed: Some(placed), right: Some((0, 0)), ..MapFacts::default() };
        assert_eq!(
            of(&facts).sentences,
            [
                "300 new images are placed among the 1,278 of run.",
                "The model predicts 29.0 % of the new images correctly.",
                "30.0 % of them get their own class from the votes of the 15 nearest images of the map.",
            ]
        );
    }

    #[test]
    fn one_new_image_is_singular() {
        let placed =
            Placed { images: 1, known: 20, map: "run".into(), predicted: (0, 0), voted: (0, 0), neighbors: 15 };
        assert_eq!(of_placed(&placed), ["1 new image is placed among the 20 of run."]);
    }

    #[test]
    fn overlapping_classes_are_named() {
        let classes = ["cat", "dog"].map(str::to_owned);
        let overlap = Overlap { neighbors: 15, same: 0.8, chance: 0.5, pairs: vec![(1, 0, 0.3)] };
        let facts = MapFacts {
            classes: &classes,
            overlap: Some(overlap),
            right: Some((9, 10)),
            trustworthiness: Some((0.98, 15)),
            placed: None,
        };
        let found = of(&facts).sentences;
        assert_eq!(
            found[0],
            "Among the 15 nearest neighbors of an image, 80.0 % are of its own class (by chance: 50.0 %)."
        );
        assert_eq!(found[1], "Classes that overlap most: dog and cat; 30.0 % of the neighbors of dog are cat.");
        assert_eq!(found[2], "The model predicts 90.0 % of these 10 images correctly.");
        assert_eq!(found[3], "The map keeps neighborhoods: trustworthiness 0.980 over 15 neighbors.");
    }
}
