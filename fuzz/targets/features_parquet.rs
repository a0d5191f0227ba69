//! Features in Parquet.
#![no_main]

mod scratch;

use libfuzzer_sys::fuzz_target;
use retune::features;

fuzz_target!(init: scratch::report_uncaught_only(), |bytes: &[u8]| {
    let _ = features::read(&scratch::write("features.parquet", bytes));
});
