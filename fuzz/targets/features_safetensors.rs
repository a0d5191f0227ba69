//! Features in safetensors.
#![no_main]

mod scratch;

use libfuzzer_sys::fuzz_target;
use retune::features;

fuzz_target!(|bytes: &[u8]| {
    let _ = features::read(&scratch::write("features.safetensors", bytes));
});
