//! Weights as PyTorch pickles them, in any of its containers.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use retune::models::weights;

fuzz_target!(|bytes: &[u8]| {
    let mut file = tempfile::Builder::new().suffix(".pth").tempfile().unwrap();
    file.write_all(bytes).unwrap();
    let _ = weights::read_tensors(file.path());
});
