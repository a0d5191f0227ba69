//! Image files of every format that is read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use retune::pixels::decode::{DecodeLimits, catches_panics, decode, decode_with_alpha};

/// Panics of the decoders are caught, and are no findings.
fn report_others_only() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| if !catches_panics() { report(panic) }));
}

fuzz_target!(init: report_others_only(), |bytes: &[u8]| {
    // A small limit, so that time is not spent on filling large images.
    let limits = DecodeLimits { max_pixels: 1 << 16, ..DecodeLimits::default() };
    let _ = decode(bytes, &limits);
    let _ = decode_with_alpha(bytes, &limits);
});
