use rand::RngExt;
use retune_random::{generator, truncated_normal};

use super::*;

/// Row-major features of `n` images, each a mix of the same `latent` causes and of noise of its own.
fn features(n: usize, width: usize, latent: usize, noise: f32, seed: u64) -> Vec<f32> {
    let mut causes = generator(1, &[n as u64]);
    let causes: Vec<f32> = (0..n * latent).map(|_| truncated_normal(&mut causes)).collect();
    let mut random = generator(seed, &[2]);
    let mixing: Vec<f32> = (0..latent * width).map(|_| truncated_normal(&mut random)).collect();
    let offset: f32 = random.random_range(-20.0..20.0);
    let mut values = Vec::with_capacity(n * width);
    for image in 0..n {
        for feature in 0..width {
            let mixed = (0..latent).map(|cause| causes[image * latent + cause] * mixing[cause * width + feature]);
            values.push(mixed.sum::<f32>() + noise * truncated_normal(&mut random) + offset);
        }
    }
    values
}

/// CKA as the papers' formulas have it, by loops over plain matrices: nothing is shared with the code under test.
mod direct {
    type Matrix = Vec<Vec<f64>>;

    fn kernel(values: &[f32], width: usize, bandwidth: Option<f64>) -> Matrix {
        let rows: Vec<&[f32]> = values.chunks_exact(width).collect();
        let distance = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum::<f64>().sqrt()
        };
        let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        let each = |value: &dyn Fn(&[f32], &[f32]) -> f64| {
            rows.iter().map(|a| rows.iter().map(|b| value(a, b)).collect()).collect()
        };
        let Some(bandwidth) = bandwidth else { return each(&product) };
        let mut distances = Vec::new();
        for (index, row) in rows.iter().enumerate() {
            distances.extend(rows[..index].iter().map(|other| distance(row, other)));
        }
        distances.sort_by(f64::total_cmp);
        let sigma = bandwidth * distances[distances.len() / 2];
        each(&|a, b| (-distance(a, b).powi(2) / (2.0 * sigma * sigma)).exp())
    }

    fn multiply(a: &Matrix, b: &Matrix) -> Matrix {
        let n = a.len();
        (0..n).map(|i| (0..n).map(|j| (0..n).map(|k| a[i][k] * b[k][j]).sum()).collect()).collect()
    }

    fn trace(a: &Matrix) -> f64 {
        (0..a.len()).map(|i| a[i][i]).sum()
    }

    /// tr(KHLH) / (n − 1)².
    fn gretton(k: &Matrix, l: &Matrix) -> f64 {
        let n = k.len();
        let h: Matrix =
            (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j)) - 1.0 / n as f64).collect()).collect();
        trace(&multiply(&multiply(k, &h), &multiply(l, &h))) / ((n - 1) * (n - 1)) as f64
    }

    /// Song et al. 2012, equation 5.
    fn song(k: &Matrix, l: &Matrix) -> f64 {
        let n = k.len();
        let hollow = |a: &Matrix| -> Matrix {
            (0..n).map(|i| (0..n).map(|j| if i == j { 0.0 } else { a[i][j] }).collect()).collect()
        };
        let (k, l) = (hollow(k), hollow(l));
        let total = |a: &Matrix| a.iter().flatten().sum::<f64>();
        let kl = multiply(&k, &l);
        let n = n as f64;
        (trace(&kl) + total(&k) * total(&l) / ((n - 1.0) * (n - 2.0)) - 2.0 / (n - 2.0) * total(&kl)) / (n * (n - 3.0))
    }

    pub fn cka(x: (&[f32], usize), y: (&[f32], usize), bandwidth: Option<f64>, debiased: bool) -> f64 {
        let (k, l) = (kernel(x.0, x.1, bandwidth), kernel(y.0, y.1, bandwidth));
        let hsic = if debiased { song } else { gretton };
        hsic(&k, &l) / (hsic(&k, &k) * hsic(&l, &l)).sqrt()
    }
}

#[test]
fn cka_is_what_the_formulas_say() {
    // More images than features and fewer, so that both forms of the linear kernel are met; n of more than one task.
    for (n, one_width, other_width) in [(40, 5, 7), (40, 70, 7), (70, 200, 90), (4, 3, 3)] {
        let (one, other) = (features(n, one_width, 3, 0.5, 11), features(n, other_width, 3, 0.5, 12));
        for (kernel, bandwidth) in [
            (Kernel::Linear, None),
            (Kernel::Rbf { bandwidth: 0.8 }, Some(0.8)),
            (Kernel::Rbf { bandwidth: 0.3 }, Some(0.3)),
        ] {
            for estimator in Estimator::ALL {
                let rows = [Rows { values: &one, width: one_width }, Rows { values: &other, width: other_width }];
                let cka = compare(rows[0], rows[1], kernel, estimator).unwrap();
                let debiased = estimator == Estimator::Debiased;
                let expected = direct::cka((&one, one_width), (&other, other_width), bandwidth, debiased);
                // Doubles through sums of a few thousand terms, whose mean is up to 20 deviations from 0.
                assert!((cka - expected).abs() < 1e-9, "{n} {kernel:?} {estimator}: {cka} {expected}");
            }
        }
    }
}

#[test]
fn cka_is_what_numpy_computes() {
    let cases = include_str!("../../tests/fixtures/cka/cka.json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(cases).unwrap();
    for case in &cases {
        let floats = |name: &str| -> Vec<f32> { serde_json::from_value(case[name].clone()).unwrap() };
        let (one, other) = (floats("one"), floats("other"));
        let [width, other_width]: [usize; 2] = serde_json::from_value(case["widths"].clone()).unwrap();
        let rows = [Rows { values: &one, width }, Rows { values: &other, width: other_width }];
        for (name, kernel) in [("linear", Kernel::Linear), ("rbf", Kernel::Rbf { bandwidth: 0.8 })] {
            for estimator in Estimator::ALL {
                let cka = compare(rows[0], rows[1], kernel, estimator).unwrap();
                let expected = case[name][estimator.name()].as_f64().unwrap();
                assert!((cka - expected).abs() < 1e-9, "{name} {estimator}: {cka} {expected}");
            }
        }
        let mut alignment = Alignment::new(2, vec![(0, 1)], Estimator::Debiased, 0, 0);
        for (one, other) in one.chunks(8 * width).zip(other.chunks(8 * other_width)) {
            let parts = [Rows { values: one, width }, Rows { values: other, width: other_width }];
            alignment.add(parts.map(|rows| Gram::of(rows, Kernel::Linear)).into());
        }
        let cka = alignment.finish()[0].value.unwrap();
        let expected = case["minibatches_of_8"].as_f64().unwrap();
        assert!((cka - expected).abs() < 1e-9, "{cka} {expected}");
    }
}

#[test]
fn both_forms_of_the_linear_kernel_agree() {
    let (one, other) = (features(60, 9, 3, 0.5, 21), features(60, 14, 3, 0.5, 22));
    let rows = [Rows { values: &one, width: 9 }, Rows { values: &other, width: 14 }];
    for estimator in Estimator::ALL {
        let mut alignment = Alignment::new(2, vec![(0, 1)], estimator, 0, 0);
        alignment.add(rows.map(|rows| Gram::of(rows, Kernel::Linear)).into());
        let by_images = alignment.finish()[0].value.unwrap();
        let by_features = feature_space::compare(rows[0], rows[1], estimator).unwrap();
        assert!((by_images - by_features).abs() < 1e-12, "{by_images} {by_features}");
    }
}

#[test]
fn independent_features_are_alike_only_to_the_biased_estimator() {
    let (n, width) = (50, 500);
    let mut biased = 0.0;
    let mut debiased = 0.0;
    for trial in 0..8 {
        let mut random = generator(trial, &[5]);
        let mut draw = || (0..n * width).map(|_| truncated_normal(&mut random)).collect::<Vec<f32>>();
        let (one, other) = (draw(), draw());
        let rows = [Rows { values: &one, width }, Rows { values: &other, width }];
        biased += compare(rows[0], rows[1], Kernel::Linear, Estimator::Biased).unwrap() / 8.0;
        debiased += compare(rows[0], rows[1], Kernel::Linear, Estimator::Debiased).unwrap() / 8.0;
    }
    // By the sizes of the terms, the biased value is near (d / n) / (1 + d / n) = 0.91. The debiased one has expectation
    // 0 and a deviation near 1 / n in a trial.
    assert!(biased > 0.85, "{biased}");
    assert!(debiased.abs() < 0.03, "{debiased}");
}

#[test]
fn what_has_no_cka_says_why() {
    let good = features(6, 3, 2, 0.5, 1);
    let rows = |values, width| Rows { values, width };
    let debiased = |one, other| compare(one, other, Kernel::Linear, Estimator::Debiased).unwrap_err();
    let constant = [1.5f32; 18];
    assert_eq!(debiased(rows(&good, 3), rows(&constant, 3)), CkaError::Undefined(Undefined::ConstantFeatures));
    assert_eq!(debiased(rows(&constant[..6], 1), rows(&good, 3)), CkaError::Undefined(Undefined::ConstantFeatures));
    // Corners of a simplex: all distances are the same.
    let simplex: Vec<f32> = (0..36).map(|at| f32::from(u8::from(at % 7 == 0))).collect();
    assert_eq!(debiased(rows(&good, 3), rows(&simplex, 6)), CkaError::Undefined(Undefined::NoStructure));
    let few = Undefined::TooFewImages { n: 3, estimator: Estimator::Debiased };
    assert_eq!(debiased(rows(&good[..9], 3), rows(&good[9..], 3)), CkaError::Undefined(few));
    assert_eq!(debiased(rows(&good, 3), rows(&good, 2)), CkaError::Images { one: 6, other: 9 });
    assert_eq!(debiased(rows(&good, 4), rows(&good, 3)), CkaError::Shape { values: 18, width: 4 });
    assert_eq!(debiased(rows(&[], 0), rows(&good, 3)), CkaError::Shape { values: 0, width: 0 });
    let mut spoiled = good.clone();
    spoiled[7] = f32::NAN;
    assert_eq!(debiased(rows(&good, 3), rows(&spoiled, 3)), CkaError::NotFinite { row: 2 });
    let mut twins = vec![0.0f32; 18];
    twins[17] = 1.0;
    let rbf = Kernel::Rbf { bandwidth: 0.8 };
    let error = compare(rows(&good, 3), rows(&twins, 3), rbf, Estimator::Debiased).unwrap_err();
    assert_eq!(error, CkaError::Undefined(Undefined::NoBandwidth));
}

/// Minibatches of the images of two representations.
fn in_minibatches(parts: usize, resamples: usize) -> Estimate {
    let n = 240;
    let (one, other) = (features(n, 30, 3, 1.0, 31), features(n, 12, 3, 1.0, 32));
    let mut alignment = Alignment::new(2, vec![(0, 1)], Estimator::Debiased, resamples, 9);
    for (one, other) in one.chunks(30 * n / parts).zip(other.chunks(12 * n / parts)) {
        let grams = [Rows { values: one, width: 30 }, Rows { values: other, width: 12 }];
        alignment.add(grams.map(|rows| Gram::of(rows, Kernel::Linear)).into());
    }
    alignment.finish()[0]
}

#[test]
fn minibatches_estimate_the_same_and_threads_change_no_bit() {
    let (whole, parts) = (in_minibatches(1, 100), in_minibatches(6, 100));
    let [low, high] = whole.interval.unwrap();
    let value = parts.value.unwrap();
    assert!(low < value && value < high && high - low < 0.2, "{value}, {low} to {high}");
    for threads in [1, 2, 7] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| in_minibatches(6, 100)), parts);
    }
}

#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    // Two features that share a part of their variance. For one feature each, the population's linear CKA is the squared
    // correlation: here of x and x + y, which is 1 / 2.
    const TRIALS: u64 = 200;
    let n = 80;
    let held = (0..TRIALS).filter(|&trial| {
        let mut random = generator(trial, &[77]);
        let one: Vec<f32> = (0..n).map(|_| truncated_normal(&mut random)).collect();
        let other: Vec<f32> = one.iter().map(|value| value + truncated_normal(&mut random)).collect();
        let mut alignment = Alignment::new(2, vec![(0, 1)], Estimator::Debiased, 100, trial);
        alignment.add([&one, &other].map(|values| Gram::of(Rows { values, width: 1 }, Kernel::Linear)).into());
        let [low, high] = alignment.finish()[0].interval.unwrap();
        low <= 0.5 && 0.5 <= high
    });
    let share = held.count() as f64 / TRIALS as f64;
    // 95 % are meant. Halves of 40 make them a little narrow; the share itself strays by 0.015 (one deviation).
    assert!((0.89..=0.99).contains(&share), "{share}");
}
