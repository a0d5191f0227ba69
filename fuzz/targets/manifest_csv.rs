//! Manifests, as `list.csv`.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use retune::sources::{DataSource, SplitBy};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(source) = DataSource::from_manifest(Path::new("seeds/list.csv"), bytes) {
        for by in [SplitBy::Image, SplitBy::Group] {
            let _ = source.train_and_validation(0.5, by, 0);
        }
    }
});
