//! Commands inside another program: the same results as the program's, and failures and progress as values.

mod common;

use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use common::{Workplace, model};
use retune::monitor::{Monitor, Silent};
use retune_cli::{Failure, embedded};
use serde_json::Value;

fn typed(line: &str) -> Vec<OsString> {
    std::iter::once("retune").chain(line.split_whitespace()).map(OsString::from).collect()
}

fn failure(line: &str) -> Failure {
    embedded::run(&typed(line), Arc::new(Silent)).unwrap_err()
}

#[test]
fn results_are_those_of_the_program() {
    let place = Workplace::new();
    let data = place.path("data").display().to_string();
    let line = format!("predict {data}/red/03.png {data}/green/11.png --model {}", model());
    let found = embedded::run(&typed(&line), Arc::new(Silent)).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&found.json).unwrap(), place.json(&format!("{line} --json")));
    assert_eq!(found.text.trim_end(), place.succeeds(&line).trim_end());
    let plan = format!("plan --model {} --toml", model());
    let found = embedded::run(&typed(&plan), Arc::new(Silent)).unwrap();
    assert_eq!((found.json.as_str(), found.text.as_str()), ("null", place.succeeds(&plan).trim_end()));
}

#[test]
fn features_in_memory_are_those_of_the_file() {
    let place = Workplace::new();
    let (data, out) = (place.path("data").display().to_string(), place.path("features.npz"));
    let line = format!("features --model {} --data {data} --layer layer2 --out {}", model(), out.display());
    place.succeeds(&line);
    let written = retune::features::read(&out).unwrap();
    assert_eq!(embedded::features(&typed(&line), None, Arc::new(Silent)).unwrap(), written);
    let loaded = embedded::load_model(&typed(&format!("layers --model {}", model())), Arc::new(Silent)).unwrap();
    let without_model = typed(&format!("features --data {data} --layer layer2 --out unused.npz --threads 1"));
    assert_eq!(embedded::features(&without_model, Some(&loaded), Arc::new(Silent)).unwrap(), written);
}

#[test]
fn failures_say_what_kind_they_are() {
    let place = Workplace::new();
    let (data, out) = (place.path("data").display().to_string(), place.path("run").display().to_string());
    let fit = format!("fit --model {} --data {data} --out {out}", model());
    assert!(matches!(failure(&format!("{fit} --epoch 3")), Failure::Mistake(text) if text.contains("--epochs")));
    assert!(matches!(failure(&format!("{fit} --lr 0")), Failure::Mistake(text) if !text.starts_with("error")));
    let absent = fit.replace(&data, "absent");
    assert!(matches!(failure(&absent), Failure::Missing(text) if text.contains("no data at")));
    assert!(matches!(failure("layers --model absent"), Failure::Missing(_)));
    let diverging = format!("{fit} --method ft --lr 1e30 --epochs 2");
    assert!(matches!(failure(&diverging), Failure::Diverged(text) if text.contains("--clip-norm 1")));
}

/// Counts units, and stops once some are done.
#[derive(Default)]
struct Watch {
    units: AtomicUsize,
    stop_after: usize,
    stopped: AtomicBool,
    tasks: Mutex<Vec<(String, usize)>>,
}

impl Monitor for Watch {
    fn start(&self, task: &str, total: usize) {
        self.tasks.lock().unwrap().push((task.to_owned(), total));
    }
    fn advance(&self, units: usize) {
        if self.units.fetch_add(units, Ordering::Relaxed) + units >= self.stop_after {
            self.stopped.store(true, Ordering::Relaxed);
        }
    }
    fn finish(&self) {}
    fn message(&self, _: &str) {}
    fn canceled(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }
}

#[test]
fn a_program_sees_progress_and_stops_the_work() {
    let place = Workplace::new();
    let (data, out) = (place.path("data").display().to_string(), place.path("f.npz").display().to_string());
    let line = format!("features --model {} --data {data} --batch-size 4 --out {out}", model());
    let watch = Arc::new(Watch { stop_after: usize::MAX, ..Watch::default() });
    embedded::run(&typed(&line), watch.clone()).unwrap();
    assert_eq!(*watch.tasks.lock().unwrap(), [("features".to_owned(), 48)]);
    assert_eq!(watch.units.load(Ordering::Relaxed), 48);
    std::fs::remove_file(&out).unwrap();
    let watch = Arc::new(Watch { stop_after: 8, ..Watch::default() });
    let stopped = embedded::run(&typed(&line), watch).unwrap_err();
    assert!(matches!(stopped, Failure::Interrupted(Some(advice)) if advice.contains("run the same command again")));
}
