//! A CIFAR file: the first byte says which version it is taken for.
#![no_main]

mod scratch;

use libfuzzer_sys::fuzz_target;
use retune::sources::DataSource;
use retune::pixels::decode::DecodeLimits;

fuzz_target!(|bytes: &[u8]| {
    let Some((&version, bytes)) = bytes.split_first() else { return };
    let names = ["data_batch_1", "batches.meta", "test_batch.bin"];
    for (number, name) in names.iter().enumerate() {
        match usize::from(version) % names.len() == number {
            true => _ = scratch::write(name, bytes),
            false => scratch::remove(name),
        }
    }
    let Ok(source) = DataSource::open(scratch::folder()) else { return };
    for sample in source.all().samples.iter().take(3) {
        let _ = sample.image.load(&DecodeLimits::default());
    }
});
