use std::path::PathBuf;

use rand::RngExt;
use retune_random::{generator, truncated_normal};
use serde_json::Value;

use super::*;
use crate::resampling::{Answers, accuracies, worst_group_accuracies};

fn cases() -> Vec<Value> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/two_way/two_way.json");
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
}

/// 1e-9 relative: sums in another order, and Student's distribution.
fn close(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{what}: {found} {expected}");
}

#[test]
fn everything_is_numpys_on_the_same_resamples() {
    for case in cases() {
        let answer = |value: &Value| value.as_u64().map(|value| value == 1);
        let runs = |name: &str| -> Vec<Answers> {
            let runs = case[name].as_array().unwrap().iter();
            runs.map(|run| run.as_array().unwrap().iter().map(answer).collect()).collect()
        };
        let (one, other) = (runs("one"), runs("other"));
        let images = one[0].len();
        let groups: Option<Vec<Option<usize>>> = case["groups"]
            .as_array()
            .map(|groups| groups.iter().map(|group| group.as_u64().map(|group| group as usize)).collect());
        let all: Vec<Answers> = one.iter().chain(&other).cloned().collect();
        let (resamples, seed) = (case["resamples"].as_u64().unwrap() as usize, case["seed"].as_u64().unwrap());
        let found = match &groups {
            Some(groups) => worst_group_accuracies(&all, groups, resamples, seed),
            None => accuracies(&all, resamples, seed),
        };
        let (of_one, of_other) = found.split_at(one.len());
        for (found, expected) in of_one[0].resampled.iter().zip(numbers(&case["first_resamples"])) {
            close(*found, expected, "a resample");
        }
        let accuracy = TwoWay::of(of_one, images);
        close(accuracy.mean, case["mean"].as_f64().unwrap(), "mean");
        close(accuracy.variance, case["variance"].as_f64().unwrap(), "variance");
        for (found, expected) in accuracy.accuracy().interval.into_iter().zip(numbers(&case["interval"])) {
            close(found, expected, "interval");
        }
        let differences: Vec<Resampled> = of_one.iter().zip(of_other).map(|(one, other)| one.minus(other)).collect();
        let (difference, p) = TwoWay::of(&differences, images).difference();
        for (found, expected) in difference.interval.into_iter().zip(numbers(&case["difference_interval"])) {
            close(found, expected, "interval of the difference");
        }
        close(p, case["p_value"].as_f64().unwrap(), "p-value");
    }
}

#[test]
fn one_run_has_wilsons_interval() {
    let run: Answers = (0..263).map(|image| Some(image < 81)).collect();
    let found = TwoWay::of(&accuracies(&[run], 1_000, 0), 263).accuracy();
    // Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662. The bootstrap's standard error is within a few percent,
    // and so is the interval's width of 0.11.
    assert!((found.interval[0] - 0.2553).abs() < 0.006 && (found.interval[1] - 0.3662).abs() < 0.006, "{found:?}");
    let perfect: Answers = vec![Some(true); 20];
    let found = TwoWay::of(&accuracies(&[perfect], 100, 0), 20).accuracy();
    // Student's quantile for 20 images, 2.093, in Wilson's 1 / (1 + z² / 20), to rounding.
    assert!((found.interval[0] - 0.8203).abs() < 5e-5 && found.interval[1] > 1.0 - 1e-12, "{found:?}");
}

#[test]
fn what_is_equal_is_not_significantly_different() {
    let run: Answers = (0..50).map(|image| Some(image % 3 > 0)).collect();
    let found = accuracies(&[run.clone(), run], 100, 0);
    assert_eq!(TwoWay::of(&[found[0].minus(&found[1])], 50).difference().1, 1.0);
    // Right on three images more and wrong on none fewer: McNemar's exact test gives 0.25.
    let better: Answers = (0..400).map(|image| Some(image < 303)).collect();
    let worse: Answers = (0..400).map(|image| Some(image < 300)).collect();
    let found = accuracies(&[better, worse], 1_000, 0);
    assert!(TwoWay::of(&[found[0].minus(&found[1])], 400).difference().1 > 0.1);
}

/// Two methods that are equally good: how far seeds shift a whole run, how far the methods differ on an image whatever
/// the seed, and how far an image and a seed do.
struct Null {
    seeds: usize,
    of_seed: f32,
    of_image: f32,
    of_both: f32,
}

impl Null {
    /// Whether a difference of the two is called significant.
    fn is_significant(&self, trial: u64) -> bool {
        const IMAGES: usize = 200;
        let mut random = generator(trial, &[self.seeds as u64, u64::from(self.of_seed.to_bits())]);
        // Normal but for the tails, with a deviation of 0.88.
        let mut normal = |scale: f32| scale * truncated_normal(&mut random);
        let ease: Vec<f32> = (0..IMAGES).map(|_| 1.0 + normal(1.0)).collect();
        let of_image: Vec<f32> = (0..IMAGES).map(|_| normal(self.of_image)).collect();
        let mut runs: Vec<Answers> = Vec::new();
        for sign in [0.5, -0.5] {
            for _ in 0..self.seeds {
                let of_seed = normal(self.of_seed);
                let right = |image: usize| ease[image] + sign * of_image[image] + of_seed + normal(self.of_both) > 0.0;
                runs.push((0..IMAGES).map(right).map(Some).collect());
            }
        }
        let found = accuracies(&runs, 150, random.random());
        let (one, other) = found.split_at(self.seeds);
        let differences: Vec<Resampled> = one.iter().zip(other).map(|(one, other)| one.minus(other)).collect();
        // The same as a p-value below the level, which takes longer to find.
        let found = TwoWay::of(&differences, IMAGES);
        found.mean.abs() > found.critical(LEVEL) * found.difference_error()
    }
}

#[test]
fn a_difference_of_nothing_is_called_significant_in_a_twentieth_of_cases() {
    const TRIALS: u64 = 400;
    for seeds in [1, 2, 3, 5, 20] {
        for (of_seed, of_image, of_both) in [(0.0, 0.7, 0.0), (0.05, 0.5, 0.3), (0.2, 0.3, 0.3), (0.6, 0.1, 0.1)] {
            // From one seed, nobody can tell how much seeds differ.
            if seeds == 1 && of_seed > 0.0 {
                continue;
            }
            let null = Null { seeds, of_seed, of_image, of_both };
            let significant = (0..TRIALS).filter(|&trial| null.is_significant(trial)).count();
            // 5 % of 400 are 20, with a standard deviation of 4.4. Above, four of those; the correction is cautious where
            // seeds and images interact, so below there is more room.
            assert!((3..=37).contains(&significant), "{seeds} seeds, {of_seed} {of_image} {of_both}: {significant}");
        }
    }
}
