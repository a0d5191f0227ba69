//! Weights in safetensors.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use retune::models::weights;

fuzz_target!(|bytes: &[u8]| {
    let _ = weights::parse_safetensors(bytes, Path::new("model.safetensors"));
});
