//! A Parquet file of images with labels, splits and groups.
#![no_main]

mod scratch;

use libfuzzer_sys::fuzz_target;
use retune::sources::DataSource;
use retune::pixels::decode::DecodeLimits;

fuzz_target!(init: scratch::report_uncaught_only(), |bytes: &[u8]| {
    let file = scratch::write("train.parquet", bytes);
    let Ok(source) = DataSource::open(file) else { return };
    for sample in source.all().samples.iter().take(3) {
        let _ = sample.image.load(&DecodeLimits { max_pixels: 1 << 12, ..DecodeLimits::default() });
    }
});
