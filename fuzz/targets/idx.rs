//! A folder of IDX files: the first byte says where the labels begin.
#![no_main]

mod scratch;

use libfuzzer_sys::fuzz_target;
use retune::sources::DataSource;
use retune::pixels::decode::DecodeLimits;

fuzz_target!(|bytes: &[u8]| {
    let Some((&at, bytes)) = bytes.split_first() else { return };
    let (labels, images) = bytes.split_at(bytes.len().min(usize::from(at)));
    scratch::write("train-images-idx3-ubyte", images);
    match labels {
        [] => scratch::remove("train-labels-idx1-ubyte"),
        labels => _ = scratch::write("train-labels-idx1-ubyte", labels),
    }
    let Ok(source) = DataSource::open(scratch::folder()) else { return };
    for sample in source.all().samples.iter().take(3) {
        let _ = sample.image.load(&DecodeLimits::default());
    }
});
