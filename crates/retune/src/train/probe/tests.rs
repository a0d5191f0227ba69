//! Against scikit-learn's optima (`tests/fixtures/probe/generate.py`), and the errors.

use super::*;
use crate::collective::Processes;
use crate::collective::threads::on_threads;
use crate::files::little_endian;
use crate::inference::Tally;
use crate::sources::positional::write_all_at;
use rand::RngExt;
use serde::Deserialize;

#[derive(Deserialize)]
struct Fixture {
    columns: usize,
    classes: usize,
    features: Vec<f32>,
    labels: Vec<usize>,
    validation_features: Vec<f32>,
    validation_labels: Vec<usize>,
    raw: Vec<Optimum>,
    balanced: Vec<Optimum>,
    scaled: Vec<Optimum>,
}

#[derive(Deserialize)]
struct Optimum {
    inverse_strength: f64,
    coef: Vec<f64>,
    intercept: Vec<f64>,
    objective: f64,
}

impl Fixture {
    fn load() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/probe/digits.json");
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    fn train(&self) -> FeatureMatrix<'_> {
        FeatureMatrix::new(&self.features, self.columns).unwrap()
    }

    fn validation(&self) -> FeatureMatrix<'_> {
        FeatureMatrix::new(&self.validation_features, self.columns).unwrap()
    }

    fn fit_path(&self, options: &ProbeOptions) -> Result<Probe, ProbeError> {
        fit_path(self.train(), &self.labels, self.validation(), &self.validation_labels, self.classes, options, |_| {
            ControlFlow::Continue(())
        })
    }
}

fn precise(class_weights: Option<Vec<f64>>) -> SolverOptions {
    SolverOptions { max_iterations: 2000, tolerance: 1e-6, class_weights }
}

fn assert_same_optimum(fitted: &LinearClassifier, expected: &Optimum) {
    // A gradient below 1e-6 of its start puts the objective within about 1e-10 of the optimum; what is left is the
    // single-precision rounding of each row's loss.
    let relative = (fitted.diagnostics.objective - expected.objective).abs() / expected.objective;
    assert!(relative < 1e-6, "C = {}: {relative:e}", expected.inverse_strength);
    let largest = expected.coef.iter().fold(0.0_f64, |largest, w| largest.max(w.abs()));
    for (fitted, expected) in fitted.weight.iter().zip(&expected.coef) {
        // Where the loss is flat, weights are known less well than the loss.
        assert!((f64::from(*fitted) - expected).abs() < 1e-3 * largest, "{fitted} {expected}");
    }
    // scikit-learn leaves the sum of the biases where it started, at zero; so does a gradient method here.
    for (fitted, expected) in fitted.bias.iter().zip(&expected.intercept) {
        assert!((f64::from(*fitted) - expected).abs() < 2e-3 * (1.0 + expected.abs()), "{fitted} {expected}");
    }
}

#[test]
fn fit_one_finds_scikit_learns_optimum() {
    let fixture = Fixture::load();
    for expected in &fixture.raw {
        let fitted =
            fit_one(fixture.train(), &fixture.labels, fixture.classes, expected.inverse_strength, &precise(None))
                .unwrap();
        assert_same_optimum(&fitted, expected);
    }
}

#[test]
fn balanced_class_weights_find_scikit_learns_balanced_optimum() {
    let fixture = Fixture::load();
    // scikit-learn's `class_weight="balanced"`: n / (classes · images of the class).
    let images = |class: usize| fixture.labels.iter().filter(|&&label| label == class).count() as f64;
    let even_share = fixture.labels.len() as f64 / fixture.classes as f64;
    let weights: Vec<f64> = (0..fixture.classes).map(|class| even_share / images(class)).collect();
    for expected in &fixture.balanced {
        let fitted = fit_one(
            fixture.train(),
            &fixture.labels,
            fixture.classes,
            expected.inverse_strength,
            &precise(Some(weights.clone())),
        )
        .unwrap();
        assert_same_optimum(&fitted, expected);
    }
}

/// What users give scikit-learn's `LogisticRegression(C=…)` on the features as they are; `fit_one` is compared with that
/// above.
#[test]
fn the_inverse_strength_over_the_square_of_the_scale_is_scikit_learns_c() {
    let fixture = Fixture::load();
    let options = ProbeOptions { inverse_strengths: vec![0.1], solver: precise(None), ..Default::default() };
    let probe = fixture.fit_path(&options).unwrap();
    let c = probe.inverse_strength / probe.scale.powi(2);
    let alone = fit_one(fixture.train(), &fixture.labels, fixture.classes, c, &precise(None)).unwrap();
    let largest = alone.weight.iter().fold(0.0_f32, |largest, weight| largest.max(weight.abs()));
    // Both descents end at a gradient of 1e-6 of its start, from different coordinates.
    let far = probe.weight.iter().zip(&alone.weight).any(|(one, other)| (one - other).abs() > 1e-3 * largest);
    assert!(!far, "{:?} {:?}", &probe.weight[..4], &alone.weight[..4]);
    assert!((probe.scale - 1.0).abs() > 0.1, "the scale must matter: {}", probe.scale);
}

#[test]
fn the_path_passes_through_scikit_learns_optima_on_scaled_features() {
    let fixture = Fixture::load();
    let mut inverse_strengths: Vec<f64> = fixture.scaled.iter().map(|optimum| optimum.inverse_strength).collect();
    // The order given does not matter.
    inverse_strengths.reverse();
    let options = ProbeOptions { inverse_strengths, solver: precise(None), ..Default::default() };
    let probe = fixture.fit_path(&options).unwrap();
    assert_eq!(probe.path.len(), fixture.scaled.len());
    for (point, expected) in probe.path.iter().zip(&fixture.scaled) {
        assert_eq!(point.inverse_strength, expected.inverse_strength);
        let relative = (point.diagnostics.objective - expected.objective).abs() / expected.objective;
        assert!(relative < 1e-6, "C = {}: {relative:e}", expected.inverse_strength);
    }

    let chosen = probe.path.iter().find(|point| point.inverse_strength == probe.inverse_strength).unwrap();
    for point in &probe.path {
        assert!(point.validation_accuracy <= chosen.validation_accuracy);
        if point.validation_accuracy == chosen.validation_accuracy {
            assert!(point.validation_loss >= chosen.validation_loss);
        }
    }
    // What is returned is the chosen fit, for the features as they are.
    let classifier = Classifier { weight: probe.weight.clone(), bias: probe.bias.clone() };
    let on_validation = score(fixture.validation(), &fixture.validation_labels, &classifier).unwrap();
    assert_eq!(on_validation.accuracy, chosen.validation_accuracy);
    assert_eq!(on_validation.loss, chosen.validation_loss);
    assert!(chosen.validation_accuracy > 0.6);
}

#[test]
fn a_path_that_ends_early_makes_the_choice_of_the_whole_path() {
    // Noise that tells nothing of labels, of which 70 % are alike: whatever a weak penalty learns makes it worse.
    let (columns, rows, validation_rows) = (60, 100, 1000);
    let mut random = retune_random::generator(1, &[]);
    let mut noise = |rows: usize| (0..rows * columns).map(|_| random.random::<f32>()).collect::<Vec<f32>>();
    let labels = |rows: usize| (0..rows).map(|row| usize::from(row % 10 < 3)).collect::<Vec<usize>>();
    let fixture = Fixture {
        columns,
        classes: 2,
        features: noise(rows),
        labels: labels(rows),
        validation_features: noise(validation_rows),
        validation_labels: labels(validation_rows),
        ..Fixture::load()
    };
    let whole = ProbeOptions::default().inverse_strengths;
    let path = fixture.fit_path(&ProbeOptions::default()).unwrap();
    assert!(path.path.len() < whole.len(), "{}", path.path.len());
    // One strength at a time, none of which can end a path.
    let alone = whole.iter().map(|strength| {
        let options = ProbeOptions { inverse_strengths: vec![*strength], ..Default::default() };
        fixture.fit_path(&options).unwrap().path[0]
    });
    let best =
        alone.reduce(|best, point| if point.is_better_than(&best, Metric::Accuracy) { point } else { best }).unwrap();
    assert_eq!(path.inverse_strength, best.inverse_strength);
}

/// The path of all fits is the same; only which of them is kept differs.
#[test]
fn another_metric_chooses_another_penalty() {
    let fixture = Fixture::load();
    let chosen = |select: Metric| fixture.fit_path(&ProbeOptions { select, ..Default::default() }).unwrap();
    let by_loss = chosen(Metric::Loss);
    let lowest = by_loss.path.iter().map(|point| point.validation_loss).fold(f64::INFINITY, f64::min);
    let kept = by_loss.path.iter().find(|point| point.inverse_strength == by_loss.inverse_strength).unwrap();
    assert_eq!(kept.validation_loss, lowest);
    for metric in [Metric::BalancedAccuracy, Metric::MacroF1, Metric::Auroc] {
        let probe = chosen(metric);
        let number = |probe: &Probe| {
            let mut tally = Tally::of(metric, fixture.validation_labels.len(), fixture.classes);
            let logits = probe.logits(&fixture.validation_features);
            let rows = logits.chunks_exact(fixture.classes).zip(&fixture.validation_labels);
            rows.for_each(|(row, &label)| tally.add(row, label, None));
            tally.evaluation()
        };
        // As good as every fit by itself, and the path goes to its end.
        assert_eq!(probe.path.len(), 50);
        let best = number(&probe);
        for &strength in ProbeOptions::default().inverse_strengths.iter().step_by(7) {
            let options = ProbeOptions { inverse_strengths: vec![strength], ..Default::default() };
            let alone = number(&fixture.fit_path(&options).unwrap());
            // Fits of a path start from the one before, and end a rounding away.
            let by = |evaluation: &Evaluation| match metric {
                Metric::BalancedAccuracy => evaluation.balanced_accuracy,
                Metric::MacroF1 => evaluation.macro_f1.unwrap(),
                _ => evaluation.auroc.unwrap(),
            };
            assert!(by(&best) >= by(&alone) - 0.02, "{metric:?}: {} at {strength}", by(&alone));
        }
    }
}

#[test]
fn the_path_does_not_depend_on_the_scale_of_the_features() {
    let fixture = Fixture::load();
    let options = ProbeOptions { inverse_strengths: vec![1e-2], solver: precise(None), ..Default::default() };
    let original = fixture.fit_path(&options).unwrap();
    // A power of two scales single-precision numbers without rounding.
    let scaled = Fixture {
        features: fixture.features.iter().map(|value| value * 64.0).collect(),
        validation_features: fixture.validation_features.iter().map(|value| value * 64.0).collect(),
        ..Fixture::load()
    };
    let rescaled = scaled.fit_path(&options).unwrap();
    for (original, rescaled) in original.weight.iter().zip(&rescaled.weight) {
        assert!((original - rescaled * 64.0).abs() < 1e-5);
    }
}

#[test]
fn the_path_has_the_same_bits_on_any_number_of_threads() {
    let fixture = Fixture::load();
    let options = ProbeOptions { inverse_strengths: vec![1e-3, 1.0], ..Default::default() };
    let fit = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| fixture.fit_path(&options).unwrap())
    };
    assert_eq!(fit(1), fit(3));
}

#[test]
fn the_path_has_the_same_bits_from_memory_and_from_a_file() {
    let fixture = Fixture::load();
    let options = ProbeOptions { inverse_strengths: vec![1e-3, 1.0], ..Default::default() };
    let file = |features: &[f32]| {
        let file = tempfile::tempfile().unwrap();
        write_all_at(&file, &little_endian(features), 0).unwrap();
        file
    };
    let (train, validation) = (file(&fixture.features), file(&fixture.validation_features));
    let [train, validation] = [&train, &validation].map(|file| FeatureMatrix::in_file(file, fixture.columns).unwrap());
    let (labels, validation_labels) = (&fixture.labels, &fixture.validation_labels);
    let probe =
        fit_path(
            train,
            labels,
            validation,
            validation_labels,
            fixture.classes,
            &options,
            |_| ControlFlow::Continue(()),
        );
    assert_eq!(probe.unwrap(), fixture.fit_path(&options).unwrap());
}

/// What each of several processes finds that hold some of the rows, in memory or in a file.
fn fit_together(fixture: &Fixture, options: &ProbeOptions, size: usize, in_files: bool) -> Vec<Probe> {
    on_threads(size, |processes: &Processes| {
        let columns = fixture.columns;
        let files = [&fixture.features, &fixture.validation_features].map(|all| {
            let held = FeatureMatrix::rows_held_by(processes, all.len() / columns, columns);
            let file = tempfile::tempfile().unwrap();
            write_all_at(&file, &little_endian(&all[held.start * columns..held.end * columns]), 0).unwrap();
            file
        });
        let [mut train, mut validation] = [&fixture.features, &fixture.validation_features]
            .map(|features| FeatureMatrix::held(features, columns, processes));
        if in_files {
            let held = |file, rows| FeatureMatrix::in_file(file, columns).unwrap().of_all(rows, processes).unwrap();
            (train, validation) = (held(&files[0], train.rows()), held(&files[1], validation.rows()));
        }
        let (labels, validation_labels) = (&fixture.labels, &fixture.validation_labels);
        let go_on = |_| ControlFlow::Continue(());
        fit_path(train, labels, validation, validation_labels, fixture.classes, options, go_on).unwrap()
    })
}

/// 200 and 100 rows are seven parts and four; of five processes, one has no validation row.
#[test]
fn the_path_has_the_same_bits_by_any_number_of_processes() {
    let fixture = Fixture::load();
    let class_weights = Some((0..fixture.classes).map(|class| 1.0 + class as f64 / 3.0).collect());
    let solver = SolverOptions { class_weights, ..SolverOptions::default() };
    for select in [Metric::Accuracy, Metric::Auroc] {
        let inverse_strengths = vec![1e-3, 1.0];
        let options = ProbeOptions { inverse_strengths, select, solver: solver.clone() };
        let alone = fixture.fit_path(&options).unwrap();
        for size in 1..=5 {
            for in_files in [false, true] {
                let found = fit_together(&fixture, &options, size, in_files);
                assert!(found.iter().all(|probe| *probe == alone), "{select:?} by {size} processes");
            }
        }
    }
}

/// Features of few rows have a diagonal preconditioner, and more columns than one process has rows.
#[test]
fn wide_features_have_the_same_bits_by_any_number_of_processes() {
    let (columns, rows) = (150, 170);
    let mut random = retune_random::generator(2, &[]);
    let mut noise = || (0..rows * columns).map(|_| random.random::<f32>()).collect::<Vec<f32>>();
    let labels: Vec<usize> = (0..rows).map(|row| row * row % 3).collect();
    let fixture = Fixture {
        columns,
        classes: 3,
        features: noise(),
        labels: labels.clone(),
        validation_features: noise(),
        validation_labels: labels,
        ..Fixture::load()
    };
    let options = ProbeOptions { inverse_strengths: vec![1e-3, 1.0], ..ProbeOptions::default() };
    let alone = fixture.fit_path(&options).unwrap();
    for size in [2, 3] {
        assert!(fit_together(&fixture, &options, size, false).iter().all(|probe| *probe == alone), "{size}");
    }
}

/// One value in the last place, as another kind of processor may compute it.
#[test]
fn processes_that_compute_different_numbers_notice() {
    let fixture = Fixture::load();
    let ended = on_threads(2, |processes: &Processes| {
        let features = FeatureMatrix::held(&fixture.features, fixture.columns, processes);
        let mut numbers = [1.0 / 3.0, 0.25];
        let same = features.all_have(&numbers);
        numbers[1] = if processes.is_root() { 0.25 } else { 0.25_f64.next_up() };
        (same, features.all_have(&numbers))
    });
    assert_eq!(ended, [(true, false); 2]);
}

#[test]
fn a_file_that_is_cut_meanwhile_is_an_error() {
    let file = tempfile::tempfile().unwrap();
    write_all_at(&file, &little_endian(&[0.0, 1.0, 2.0, 3.0]), 0).unwrap();
    let features = FeatureMatrix::in_file(&file, 1).unwrap();
    file.set_len(8).unwrap();
    let error = fit_one(features, &[0, 1, 0, 1], 2, 1.0, &SolverOptions::default()).unwrap_err();
    assert!(matches!(error, ProbeError::Unreadable { .. }), "{error}");
    file.set_len(7).unwrap();
    assert!(matches!(FeatureMatrix::in_file(&file, 1), Err(ProbeError::Unreadable { .. })));
}

#[test]
fn a_class_without_rows_and_constant_features_are_no_obstacle() {
    let features = vec![2.0_f32; 6 * 3];
    let labels = [0, 1, 0, 0, 1, 0];
    let features = FeatureMatrix::new(&features, 3).unwrap();
    let options = ProbeOptions { inverse_strengths: vec![1.0], ..Default::default() };
    let probe = fit_path(features, &labels, features, &labels, 3, &options, |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(probe.path[0].validation_accuracy, 4.0 / 6.0);
    assert!(probe.weight.iter().chain(&probe.bias).all(|value| value.is_finite()));
}

#[test]
fn progress_counts_and_can_interrupt() {
    let fixture = Fixture::load();
    let mut seen = Vec::new();
    let result = fit_path(
        fixture.train(),
        &fixture.labels,
        fixture.validation(),
        &fixture.validation_labels,
        fixture.classes,
        &ProbeOptions { inverse_strengths: vec![0.1, 1.0], ..Default::default() },
        |progress| {
            seen.push(progress);
            if progress.fitted == 1 && progress.iteration == 2 {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        },
    );
    assert_eq!(result, Err(ProbeError::Interrupted));
    assert_eq!(seen[0], ProbeProgress { fitted: 0, strengths: 2, iteration: 1 });
    assert_eq!(seen.last(), Some(&ProbeProgress { fitted: 1, strengths: 2, iteration: 2 }));
}

#[test]
fn errors_name_the_place() {
    let options = ProbeOptions { inverse_strengths: vec![1.0], ..Default::default() };
    let fit = |train: &[f32], labels: &[usize], validation: &[f32], options: &ProbeOptions| {
        let train = FeatureMatrix::new(train, 2)?;
        let validation = FeatureMatrix::new(validation, 2)?;
        let validation_labels = vec![0; validation.rows()];
        fit_path(train, labels, validation, &validation_labels, 2, options, |_| ControlFlow::Continue(()))
    };
    let message = |result: Result<Probe, ProbeError>| result.unwrap_err().to_string();
    let good = [0.0, 1.0, 2.0, 3.0];

    assert_eq!(
        message(fit(&[0.0, 1.0, f32::NAN, 3.0], &[0, 1], &good, &options)),
        "row 1 of the training set holds NaN as feature 0; features must be finite"
    );
    assert_eq!(
        message(fit(&good, &[0, 1], &[0.0, 1.0, 2.0, f32::INFINITY], &options)),
        "row 1 of the validation set holds inf as feature 1; features must be finite"
    );
    assert_eq!(
        message(fit(&good, &[0, 2], &good, &options)),
        "row 1 of the training set has label 2, but there are 2 classes (0 to 1)"
    );
    assert_eq!(message(fit(&good, &[0], &good, &options)), "the training set has 2 rows of features but 1 labels");
    assert_eq!(
        message(fit(&good, &[0, 1], &[], &options)),
        "the validation set has no images; a linear probe needs at least one"
    );
    assert_eq!(
        message(fit(&good[..3], &[0, 1], &good, &options)),
        "3 feature values do not make whole rows of 2 features"
    );
    let negative = ProbeOptions { inverse_strengths: vec![-1.0], ..Default::default() };
    assert_eq!(message(fit(&good, &[0, 1], &good, &negative)), "inverse strength must be a positive number, not -1");
    // Four rows of class 0 add up to more than single precision holds before the four of class 1 take it back.
    let enormous = FeatureMatrix::new(&[3e38; 16], 2).unwrap();
    let overflow = fit_one(enormous, &[0, 0, 0, 0, 1, 1, 1, 1], 2, 1.0, &SolverOptions::default());
    assert!(matches!(overflow, Err(ProbeError::Overflow { .. })));
}
