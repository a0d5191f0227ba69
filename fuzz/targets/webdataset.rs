//! A tar archive of samples.
#![no_main]

mod scratch;

use libfuzzer_sys::fuzz_target;
use retune::sources::DataSource;
use retune::pixels::decode::DecodeLimits;

fuzz_target!(|bytes: &[u8]| {
    let path = scratch::write("train-000000.tar", bytes);
    let Ok(source) = DataSource::open(path) else { return };
    for sample in source.all().samples.iter().take(3) {
        let _ = sample.image.load(&DecodeLimits::default());
    }
});
