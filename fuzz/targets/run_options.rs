//! `run.toml` and `summary.json`, as `--resume` reads them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use retune::run::{FitOptions, Summary};

fuzz_target!(|text: &str| {
    let _ = FitOptions::from_toml(text);
    let _ = Summary::from_json(text);
});
