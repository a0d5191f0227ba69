use std::collections::BTreeSet;

use proptest::prelude::*;
use rand::RngExt;

use super::super::source::tests::memory_dataset;
use super::*;
use crate::sources::{DataSource, Dataset, SplitBy};

/// Images with these labels and groups.
fn grouped(samples: &[(usize, u32)]) -> Dataset {
    let labels: Vec<usize> = samples.iter().map(|(label, _)| *label).collect();
    let mut dataset = memory_dataset(&labels, 1, 1);
    for (sample, (_, group)) in dataset.samples.iter_mut().zip(samples) {
        sample.group = Some(format!("p{group:02}").into());
    }
    dataset
}

fn split_of(dataset: &Dataset, fraction: f64, seed: u64) -> Result<GroupedSplit, DataError> {
    split(&dataset.samples, &dataset.classes, &dataset.root, fraction, seed)
}

fn groups(dataset: &Dataset, indices: &[usize]) -> BTreeSet<String> {
    indices.iter().filter_map(|&index| Some(dataset.samples[index].group.as_deref()?.to_owned())).collect()
}

fn source(splits: &[(SplitName, &Dataset)]) -> DataSource {
    DataSource {
        root: "data".into(),
        classes: splits[0].1.classes.clone(),
        splits: splits.iter().map(|(name, dataset)| (name.clone(), dataset.samples.clone())).collect(),
        empty_class_folders: Vec::new(),
        notes: Vec::new(),
        corruptions: Vec::new(),
    }
}

/// Twenty patients with 6 to 14 images of one of two classes, as in the report that images of 18 of them were on both sides.
fn patients() -> Dataset {
    let images = (0..20u32).flat_map(|patient| (0..6 + patient % 9).map(move |_| ((patient % 2) as usize, patient)));
    grouped(&images.collect::<Vec<_>>())
}

#[test]
fn no_patient_is_on_both_sides_and_classes_keep_their_proportions() {
    let dataset = patients();
    let totals = dataset.class_counts();
    let mut chosen = BTreeSet::new();
    for seed in 0..20 {
        let split = split_of(&dataset, 0.2, seed).unwrap();
        assert!(split.not_validated.is_empty());
        let (train, validation) = (&split.indices.train, &split.indices.validation);
        assert_eq!(train.len() + validation.len(), dataset.len());
        assert!(groups(&dataset, train).is_disjoint(&groups(&dataset, validation)));
        let counts = dataset.select(validation).class_counts();
        for (count, total) in counts.iter().zip(&totals) {
            // A patient is up to 14 of about 100 images of a class, so half of one is the least that can be promised.
            assert!((*count as f64 / *total as f64 - 0.2).abs() < 0.07, "{counts:?} of {totals:?}");
        }
        chosen.insert(groups(&dataset, validation));
        assert_eq!(split.indices, split_of(&dataset, 0.2, seed).unwrap().indices);
    }
    assert!(chosen.len() > 10, "seeds draw different patients");
}

#[test]
fn the_order_of_the_images_does_not_matter() {
    let dataset = patients();
    let mut reversed = dataset.clone();
    reversed.samples.reverse();
    let held_out = |dataset: &Dataset| groups(dataset, &split_of(dataset, 0.3, 5).unwrap().indices.validation);
    assert_eq!(held_out(&dataset), held_out(&reversed));
}

#[test]
fn what_cannot_be_split_by_group_is_named() {
    let error = split_of(&memory_dataset(&[0, 1], 1, 1), 0.2, 0).unwrap_err().to_string();
    assert!(error.contains("names no groups"), "{error}");
    let error = split_of(&grouped(&[(0, 1), (0, 2), (1, 3), (1, 3)]), 0.2, 0).unwrap_err().to_string();
    assert!(error.contains("the class `class1` belong to the group `p03`"), "{error}");
}

/// Of three groups that share three classes in pairs, none can be held out together with another, and any one leaves a
/// class without validation images. One is held out, and the class is told.
#[test]
fn a_class_that_cannot_be_validated_is_told() {
    let pairs = [(0, 1), (0, 2), (1, 2), (1, 3), (2, 1), (2, 3)];
    let split = split_of(&grouped(&pairs), 0.3, 0).unwrap();
    assert_eq!((split.indices.validation.len(), split.not_validated.len()), (2, 1));
    let dataset = grouped(&pairs);
    let sets = source(&[(SplitName::All, &dataset)]).train_and_validation(0.3, SplitBy::Group, 0).unwrap();
    let [held_out, not_validated] = &sets.notes[..] else { panic!("{:?}", sets.notes) };
    assert!(matches!(held_out, DataNote::HeldOut { images: 2, of: 6, .. }), "{held_out}");
    assert!(not_validated.to_string().contains("is not validated"), "{not_validated}");
}

#[test]
fn images_without_a_group_are_groups_of_their_own() {
    let mut dataset = grouped(&[(0, 1); 8].into_iter().chain([(1, 2); 8]).collect::<Vec<_>>());
    for index in [4, 5, 6, 7, 12, 13, 14, 15] {
        dataset.samples[index].group = None;
    }
    let split = split_of(&dataset, 0.25, 3).unwrap();
    assert_eq!(dataset.select(&split.indices.validation).class_counts(), [2, 2]);
    assert!(groups(&dataset, &split.indices.validation).is_empty());
}

#[test]
fn groups_on_both_sides_are_told() {
    let dataset = patients();
    let notes = |source: &DataSource, by| source.train_and_validation(0.2, by, 0).unwrap().notes;
    let whole = source(&[(SplitName::All, &dataset)]);
    assert!(matches!(notes(&whole, SplitBy::Group)[..], [DataNote::HeldOut { .. }]));
    let found = notes(&whole, SplitBy::Image);
    assert!(
        matches!(&found[..], [DataNote::SharedGroups { avoidable: true, shared, .. }] if *shared > 10),
        "{found:?}"
    );
    assert!(found[0].to_string().contains("groups in val are in train too, such as `p"), "{}", found[0]);

    let (first, second) = (grouped(&[(0, 1), (1, 2), (0, 3)]), grouped(&[(0, 1), (1, 4)]));
    let given = source(&[(SplitName::Train, &first), (SplitName::Validation, &second), ("test".into(), &first)]);
    let found = notes(&given, SplitBy::Image);
    let note = |split: SplitName, groups, shared| DataNote::SharedGroups {
        split,
        groups,
        shared,
        example: "p01".into(),
        avoidable: false,
    };
    assert_eq!(found, [note(SplitName::Validation, 2, 1), note("test".into(), 3, 3)]);
}

/// The least sum of squares of any split that keeps every class on both sides, by trying all.
fn least_loss(groups: &[Group], classes: usize, fraction: f64) -> Option<f64> {
    let mut sides = Sides::of(groups, classes + 1, fraction);
    let mut least: Option<f64> = None;
    for chosen in 0u32..1 << groups.len() {
        for group in 0..groups.len() {
            if sides.held_out[group] != (chosen >> group & 1 == 1) {
                sides.turn(group);
            }
        }
        let is_valid = |class: usize| {
            let (total, held_out) = (sides.totals[class], sides.validation[class]);
            total == 0 || (held_out > 0 && held_out < total)
        };
        if (1..=classes).all(is_valid) {
            let loss = sides.total_loss(0.0);
            least = Some(least.map_or(loss, |least| least.min(loss)));
        }
    }
    least
}

/// Of small data every split can be tried. One order of the groups often ends in a split that no single step makes better
/// and that is far from the best (up to 0.27 in this measure); the best of 32 orders hardly ever does.
#[test]
fn a_split_is_near_the_best_there_is() {
    let (mut gaps, mut not_validated) = (Vec::new(), 0);
    for seed in 0..150u64 {
        let mut random = retune_random::generator(seed, &[]);
        let count = random.random_range(10..50);
        let samples: Vec<(usize, u32)> =
            (0..count).map(|_| (random.random_range(0..3), random.random_range(0..8))).collect();
        let fraction = random.random_range(0.1..0.5);
        let dataset = grouped(&samples);
        let Ok(split) = split_of(&dataset, fraction, seed) else { continue };
        not_validated += split.not_validated.len();
        let groups = Group::all(&dataset.samples, seed);
        let mut sides = Sides::of(&groups, dataset.classes.len() + 1, fraction);
        for (number, group) in groups.iter().enumerate() {
            if split.indices.validation.contains(&group.samples[0]) {
                sides.turn(number);
            }
        }
        if let Some(least) = least_loss(&groups, dataset.classes.len(), fraction) {
            gaps.push(sides.total_loss(0.0) - least);
        }
    }
    assert!(gaps.len() > 100 && not_validated == 0, "{} {not_validated}", gaps.len());
    // In a model of the method, 15 of 679 such splits were not the best, by 0.0003 on average over all.
    assert!(gaps.iter().sum::<f64>() / (gaps.len() as f64) < 0.003, "{gaps:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_split_by_groups_is_a_partition(
        samples in proptest::collection::vec((0usize..3, 0u32..10), 1..60),
        fraction in 0.1..0.5f64,
        seed: u64,
    ) {
        let dataset = grouped(&samples);
        let Ok(split) = split_of(&dataset, fraction, seed) else { return Ok(()) };
        let (train, validation) = (&split.indices.train, &split.indices.validation);
        let mut all = [train.clone(), validation.clone()].concat();
        all.sort_unstable();
        prop_assert_eq!(all, (0..samples.len()).collect::<Vec<_>>());
        prop_assert!(groups(&dataset, train).is_disjoint(&groups(&dataset, validation)));
        let (totals, kept) = (dataset.class_counts(), dataset.select(train).class_counts());
        prop_assert!(totals.iter().zip(&kept).all(|(total, kept)| *total == 0 || *kept > 0));
    }
}

/// The notes of a split by group into a fifth and the rest.
fn notes(dataset: &Dataset, by: SplitBy) -> Vec<String> {
    let source = source(&[(SplitName::All, dataset)]);
    let single = source.train_and_validation(0.2, by, 0).unwrap().notes;
    // As images with several labels, they get the same notes.
    let several = source.train_and_validation_of_labels(0.2, by, 0).unwrap().notes;
    assert_eq!(single, several);
    single.iter().map(ToString::to_string).collect()
}

#[test]
fn groups_that_are_held_out_are_named_and_images_without_one_are_counted() {
    let samples: Vec<(usize, u32)> = (0..40).map(|index| (index % 2, index as u32 / 4)).collect();
    let mut dataset = grouped(&samples);
    let [held_out] = &notes(&dataset, SplitBy::Group)[..] else { panic!("one note") };
    assert!(held_out.starts_with("validation is 8 of the 40 images: the groups p0"), "{held_out}");
    assert!(held_out.contains(" (4) and p0") && held_out.ends_with(" (4)"), "{held_out}");

    dataset.samples[39].group = None;
    let found = notes(&dataset, SplitBy::Group);
    let expected =
        "1 of the 40 images names no group and is split one by one: images that belong together may be on both sides";
    assert_eq!(found[1], expected, "{found:?}");
    // Image by image, what was told is that groups are on both sides.
    let found = notes(&dataset, SplitBy::Image);
    assert!(found.len() == 1 && found[0].ends_with("splitting by group keeps each group on one side"), "{found:?}");
}

#[test]
fn a_validation_split_stays_as_it_is_and_that_is_said() {
    let dataset = grouped(&[(0, 1), (1, 1), (0, 2), (1, 2)]);
    let source = source(&[(SplitName::Train, &dataset), (SplitName::Validation, &dataset)]);
    for by in [SplitBy::Image, SplitBy::Group] {
        let notes = source.train_and_validation(0.2, by, 0).unwrap().notes;
        let is_said = notes.contains(&DataNote::SplitAlready { root: "data".into() });
        assert_eq!(is_said, by == SplitBy::Group, "{notes:?}");
        assert!(notes.iter().any(|note| matches!(note, DataNote::SharedGroups { shared: 2, .. })), "{notes:?}");
    }
}
