//! Linear probes by several processes, each of which keeps the features of its images.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::inference::Metric;
use crate::loading::{Loader, LoaderOptions};
use crate::train::kept_features::KeptFeatures;
use crate::train::together::Together;

/// Images that two or three processes divide.
const TRAINING: u32 = 150;
const VALIDATION: u32 = 70;

fn probe_options(select: Metric) -> TrainOptions {
    TrainOptions { select, ..options(8, 1) }
}

fn probed(options: &TrainOptions, monitor: &dyn Monitor) -> Result<Trained, TrainError> {
    let model = model("resnet_basic");
    let plan = Method::LP.plan(model.blocks(), &MethodOptions::default()).unwrap();
    Trainer::new(&images(TRAINING), &images(VALIDATION)).options(options.clone()).run(&plan, model, monitor)
}

#[test]
fn probes_have_the_same_bits_by_any_number_of_processes() {
    for select in [Metric::Accuracy, Metric::MacroF1] {
        let options = probe_options(select);
        let alone = probed(&options, &Silent).unwrap();
        for size in [2, 3] {
            let found = on_threads(size, |processes: &Processes| {
                let options = TrainOptions { processes: processes.clone(), ..options.clone() };
                let trained = probed(&options, &Silent).unwrap();
                (bits(&trained), trained.phases)
            });
            for (weights, phases) in found {
                assert!(weights == bits(&alone), "{select:?} by {size} processes");
                assert_eq!(phases, alone.phases);
            }
        }
    }
}

/// Rows end where parts of 32 rows do, and batches of 12 images where these do not.
#[test]
fn each_process_keeps_the_features_of_its_images() {
    let model = model("resnet_basic");
    let of = |processes: &Processes| {
        let preprocessing = model.config().preprocessing().clone();
        let options = LoaderOptions { processes: processes.clone(), ..LoaderOptions::deterministic(preprocessing, 12) };
        let loader = Loader::new(images(TRAINING), options).unwrap();
        let kept = KeptFeatures::extract(&model, &loader, u64::MAX, "features", &Silent).unwrap();
        let mut rows = Vec::new();
        kept.matrix().unwrap().for_each_rows(|values| rows.extend(values.iter().map(|value| value.to_bits()))).unwrap();
        assert_eq!(kept.memory_bytes() as usize, rows.len() * size_of::<f32>());
        (kept.matrix().unwrap().rows(), rows)
    };
    let (count, alone) = of(&Processes::default());
    assert_eq!(count, TRAINING as usize);
    for size in [2, 3] {
        let found = on_threads(size, of);
        assert!(found.iter().all(|(count, _)| *count == TRAINING as usize));
        let rows: Vec<Vec<u32>> = found.into_iter().map(|(_, rows)| rows).collect();
        assert!(rows.concat() == alone, "{size} processes");
        // Of five parts, one has at most two, or three.
        let largest = rows.iter().map(Vec::len).max().unwrap();
        assert!(largest <= alone.len() * 3 / 5 + alone.len() / 50, "{largest} of {}", alone.len());
    }
}

/// Wants to stop once the probe is being fitted.
#[derive(Default)]
struct StopsInTheProbe(AtomicBool);

impl Monitor for StopsInTheProbe {
    fn start_counting(&self, task: &str, _: usize, _: &str) {
        self.0.store(task == "linear probe", Ordering::Relaxed);
    }
    fn canceled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[test]
fn an_interruption_of_one_process_ends_the_probe_of_all() {
    let ended = on_threads(3, |processes: &Processes| {
        let options = TrainOptions { processes: processes.clone(), ..probe_options(Metric::Accuracy) };
        let (stops, goes_on) = (StopsInTheProbe::default(), Silent);
        let here: &dyn Monitor = if processes.rank() == 1 { &stops } else { &goes_on };
        matches!(probed(&options, &Together { processes, monitor: here }), Err(TrainError::Interrupted))
    });
    assert_eq!(ended, [true; 3]);
}
