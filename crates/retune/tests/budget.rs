//! A budget bounds the time of training, whatever the plan asks for, and across interruptions.

mod common;

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{load, training_images};
use retune::methods::{Method, MethodOptions};
use retune::monitor::Monitor;
use retune::plan::{Plan, Search};
use retune::train::metrics;
use retune::train::options::TrainOptions;
use retune::train::{TrainError, Trained, Trainer};

const BUDGET_SECONDS: f64 = 2.0;
/// An epoch's first guess, a slow machine's last epoch, and what comes before the first one: far below the minutes that
/// the plans take.
const MARGIN_SECONDS: f64 = 2.0;

/// Makes every step take 10 ms at least, so that no machine gets far; stops after so many images.
struct Slow {
    images: AtomicUsize,
    stop_after: usize,
}

impl Monitor for Slow {
    fn start(&self, _: &str, _: usize) {}
    fn advance(&self, units: usize) {
        std::thread::sleep(Duration::from_millis(10));
        self.images.fetch_add(units, Ordering::Relaxed);
    }
    fn finish(&self) {}
    fn message(&self, _: &str) {}
    fn canceled(&self) -> bool {
        self.images.load(Ordering::Relaxed) >= self.stop_after
    }
}

fn slow(stop_after: usize) -> Slow {
    Slow { images: AtomicUsize::new(0), stop_after }
}

fn plan(options: MethodOptions) -> Plan {
    Method::FT.plan(load("resnet_basic", None).blocks(), &options).unwrap()
}

fn train(plan: &Plan, directory: &Path, monitor: &Slow, resume: bool) -> Result<Trained, TrainError> {
    let images = training_images();
    let options = TrainOptions { budget: Some("2s".parse().unwrap()), batch_size: 8, ..TrainOptions::default() };
    let trainer = Trainer::new(&images, &images).options(options).directory(directory);
    let model = load("resnet_basic", None);
    if resume { trainer.resume(plan, model, monitor) } else { trainer.run(plan, model, monitor) }
}

#[test]
fn a_training_ends_in_time_and_its_schedule_with_it() {
    let plan = plan(MethodOptions { epochs: 10_000, learning_rates: vec![1e-3], ..MethodOptions::default() });
    let folder = tempfile::tempdir().unwrap();
    let trained = train(&plan, folder.path(), &slow(usize::MAX), false).unwrap();
    assert!(trained.seconds < BUDGET_SECONDS + MARGIN_SECONDS, "{} seconds", trained.seconds);

    let shortened = trained.phases[0].cut.as_ref().unwrap().shortened[0];
    assert_eq!((shortened.learning_rate, shortened.planned), (1e-3, 10_000));
    let rows = metrics::read(&folder.path().join("metrics.jsonl")).unwrap();
    let rates: Vec<f64> = rows.iter().filter_map(|row| Some(row.rates.as_ref()?["head"])).collect();
    assert_eq!(rates.len(), shortened.epochs);
    // An epoch takes about 60 ms, so there are ten at least; the cosine is at 1e-3 first, and at the mean of its last tenth
    // in the end, which is below 2 %.
    assert!(rates.len() >= 4 && rates[0] > 0.99e-3, "{rates:?}");
    assert!(*rates.last().unwrap() < 0.2e-3, "{rates:?}");
    assert!(rates.is_sorted_by(|before, after| after <= before), "{rates:?}");
}

#[test]
fn a_search_leaves_time_for_the_rate_that_it_finds() {
    let learning_rates = vec![1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3];
    let search = Some(Search::Halving);
    let plan = plan(MethodOptions { epochs: 10_000, learning_rates, search, ..MethodOptions::default() });
    let folder = tempfile::tempdir().unwrap();
    let trained = train(&plan, folder.path(), &slow(usize::MAX), false).unwrap();
    assert!(trained.seconds < BUDGET_SECONDS + MARGIN_SECONDS, "{} seconds", trained.seconds);

    let outcome = &trained.phases[0];
    assert_eq!(outcome.tried[0].learning_rate, 1e-4, "the search begins in the middle");
    let cut = outcome.cut.as_ref().unwrap();
    let in_full: Vec<_> = cut.shortened.iter().filter(|training| training.planned == 10_000).collect();
    assert_eq!(in_full.len(), 1, "one training in full, however short");
    assert_eq!(Some(in_full[0].learning_rate), outcome.learning_rate);
    assert_eq!(cut.untried.len() + outcome.tried.len(), 6 + 1);
}

#[test]
fn a_resumed_run_has_what_is_left_of_the_budget() {
    let plan = plan(MethodOptions { epochs: 10_000, learning_rates: vec![1e-3], ..MethodOptions::default() });
    let folder = tempfile::tempdir().unwrap();
    let images = training_images().len();
    assert!(matches!(train(&plan, folder.path(), &slow(5 * images), false), Err(TrainError::Interrupted)));
    let trained = train(&plan, folder.path(), &slow(usize::MAX), true).unwrap();
    assert!(trained.seconds < BUDGET_SECONDS + MARGIN_SECONDS, "{} seconds", trained.seconds);
}
