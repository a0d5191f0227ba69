//! Weights as PyTorch pickles them, in any of its containers.
#![no_main]

mod scratch;

use libfuzzer_sys::fuzz_target;
use retune::models::weights;

fuzz_target!(|bytes: &[u8]| {
    let _ = weights::read_tensors(&scratch::write("weights.pth", bytes));
});
