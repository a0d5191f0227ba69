//! A folder of IDX files: the first byte says where the labels begin.
#![no_main]

use libfuzzer_sys::fuzz_target;
use retune::data::DataSource;
use retune::data::decode::DecodeLimits;

fuzz_target!(|bytes: &[u8]| {
    let Some((&at, bytes)) = bytes.split_first() else { return };
    let (labels, images) = bytes.split_at(bytes.len().min(usize::from(at)));
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("train-images-idx3-ubyte"), images).unwrap();
    if !labels.is_empty() {
        std::fs::write(folder.path().join("train-labels-idx1-ubyte"), labels).unwrap();
    }
    let Ok(source) = DataSource::open(folder.path()) else { return };
    for sample in source.all().samples.iter().take(3) {
        let _ = sample.image.load(&DecodeLimits::default());
    }
});
