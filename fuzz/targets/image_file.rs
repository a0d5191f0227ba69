//! Image files of every format that is read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use retune::data::decode::{DecodeLimits, decode};

fuzz_target!(|bytes: &[u8]| {
    // A small limit, so that time is not spent on filling large images.
    let _ = decode(bytes, &DecodeLimits { max_pixels: 1 << 16 });
});
