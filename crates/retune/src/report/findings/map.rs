//! What the features of a map say: whether classes are apart, and which of them overlap.

use retune_analysis::overlap::Overlap;

use super::Findings;
use crate::report::verdict::percent;
use crate::wording::grouped;

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
}

/// A map is as good as its features from this trustworthiness on.
const GOOD: f64 = 0.95;

/// The findings; the next steps depend on where the features are from.
pub fn of(facts: &MapFacts) -> Findings {
    let mut sentences = Vec::new();
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

/// The images that are there.
fn these(count: usize) -> String {
    if count == 1 { "the 1 image".to_owned() } else { format!("these {} images", grouped(count)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlapping_classes_are_named() {
        let classes = ["cat", "dog"].map(str::to_owned);
        let overlap = Overlap { neighbors: 15, same: 0.8, chance: 0.5, pairs: vec![(1, 0, 0.3)] };
        let facts = MapFacts {
            classes: &classes,
            overlap: Some(overlap),
            right: Some((9, 10)),
            trustworthiness: Some((0.98, 15)),
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
